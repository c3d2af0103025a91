//! A Twilio that is meaner than the real one: for tests, for `rekeyd demo`, and for trying a policy.

mod access;
mod accounts;
mod audit;
pub mod call;
mod chance;
mod faults;
mod keys;
mod page;
mod world;

#[cfg(test)]
mod tests;

pub use accounts::Account;
pub use audit::{Audit, Denial, Entry};
pub use faults::{ErrorStatus, Fault, Faults, Latency, Line, OutOfRange, Random, Rate, Reach};
pub use keys::{Deletion, Key, KeyKind, NewKey};
pub use page::{Page, Paging};
pub use world::{Ticket, World};

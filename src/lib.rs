//! rekeyd rotates Twilio API keys and publishes them to Vault, AWS Secrets Manager, Kubernetes and directories.
//!
//! **The contract.** Consumers that read a sink never hold a key that does not work; no key is deleted that is not ours,
//! or that a sink may still serve; nothing is lost by a crash at any moment.
//!
//! How it is kept: *decide, do, record*. A pure function looks at plain data and says what to do next; the decision is in
//! the journal before the world is changed; what happened is in the journal before anything else is decided.
//!
//! The storeys, from the ground up; each knows only what lies below it:
//!
//! - [`model`]: the nouns. Plain values, without I/O, clock or async.
//! - [`ports`]: every way to touch the world, on one page. [`decide`]: the verbs, pure functions over the nouns.
//! - [`engine`]: does what was decided and writes it down; knows no vendor. [`adapters`]: each knows one vendor.
//! - [`config`], [`describe`], [`hardening`], [`http`], [`metrics`], [`sandbox`], [`telemetry`], [`cli`]: what people and
//!   machines see.
//!
//! Read in this order: [`model::rotation`], [`model::event`], [`model::apply`], [`ports`], [`decide::step`],
//! [`decide::interlock`], `engine/advance.rs`, `engine/perform.rs`. Then you have seen all that can hurt anybody.

pub mod adapters;
pub mod cli;
pub mod config;
pub mod decide;
pub mod describe;
pub mod engine;
pub mod hardening;
pub mod http;
pub mod metrics;
pub mod model;
pub mod ports;
pub mod sandbox;
pub mod telemetry;

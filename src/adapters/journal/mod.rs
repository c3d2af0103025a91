//! The journal: entries, the state they add up to, and what else has to be found quickly.

pub mod index;
mod opening;
mod rows;
mod sqlite;
mod witness;
mod write;

pub use sqlite::{Access, SqliteJournal};

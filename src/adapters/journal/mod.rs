//! The journal: entries, the state they add up to, and what else has to be found quickly.

mod append;
pub mod index;
mod postgres;
mod rows;
mod sql;
mod sqlite;
pub mod transfer;
mod uptime;
pub mod verify;

use crate::model::event::Entry;
use crate::model::names::Instance;
use crate::model::policy::StateUrl;
use crate::model::time::Uptime;
use crate::ports::{Claim, Clock, Journal, JournalError, Ledger, Refused};
pub use postgres::PostgresJournal;
pub use sqlite::SqliteJournal;
use std::sync::Arc;
use std::time::Duration;
pub use uptime::SharedClock;

/// For how long a process that shares its journal takes a credential; it can be renewed.
pub const LEASE: Duration = Duration::from_secs(60);

/// What the journal is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To run the daemon, creating the journal if need be.
    Daemon,
    /// To read it, and to leave requests.
    Visitor,
}

/// A journal, wherever it lies.
#[derive(Clone)]
pub enum AnyJournal {
    /// In a file.
    Sqlite(Arc<SqliteJournal>),
    /// On a server.
    Postgres(Arc<PostgresJournal>),
}

impl AnyJournal {
    /// Opens the journal that the policy names; a new one gets the label key, or one of its own.
    pub async fn open(
        state: &StateUrl,
        instance: &Instance,
        access: Access,
        clock: Arc<dyn Clock>,
        key: Option<[u8; 32]>,
    ) -> Result<Self, JournalError> {
        Ok(match state {
            StateUrl::Sqlite(path) => Self::Sqlite(Arc::new(SqliteJournal::open(path, instance, access, key).await?)),
            StateUrl::Postgres(server) => {
                Self::Postgres(Arc::new(PostgresJournal::open(server, instance, access, clock, key).await?))
            }
        })
    }

    /// As the engine and the command line know it.
    pub fn port(&self) -> Arc<dyn Journal> {
        match self {
            Self::Sqlite(journal) => journal.clone(),
            Self::Postgres(journal) => journal.clone(),
        }
    }

    /// As who makes subaccounts knows it.
    pub fn ledger(&self) -> Arc<dyn Ledger> {
        match self {
            Self::Sqlite(journal) => journal.clone(),
            Self::Postgres(journal) => journal.clone(),
        }
    }

    async fn replay(&self, claim: Claim, entry: Entry) -> Result<Claim, Refused> {
        match self {
            Self::Sqlite(journal) => journal.replay(claim, entry).await,
            Self::Postgres(journal) => journal.replay(claim, entry).await,
        }
    }

    async fn go_on_from(&self, uptime: Uptime) -> Result<(), JournalError> {
        match self {
            Self::Sqlite(journal) => journal.go_on_from(uptime).await,
            Self::Postgres(journal) => journal.go_on_from(uptime).await,
        }
    }

    async fn evidence(&self) -> Result<Vec<String>, JournalError> {
        match self {
            Self::Sqlite(journal) => journal.evidence().await,
            Self::Postgres(journal) => journal.evidence().await,
        }
    }

    /// Closes it; a file only if nobody else holds it, and otherwise the end of the process does.
    pub async fn close(self) {
        match self {
            Self::Sqlite(journal) => {
                if let Ok(journal) = Arc::try_unwrap(journal) {
                    journal.close().await;
                }
            }
            Self::Postgres(journal) => journal.close().await,
        }
    }
}

/// The key given, or a new one.
fn label_key(key: Option<[u8; 32]>) -> Result<[u8; 32], JournalError> {
    if let Some(key) = key {
        return Ok(key);
    }
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| JournalError::Unavailable("no random numbers".into()))?;
    Ok(key)
}

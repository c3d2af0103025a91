//! What the writer writes with: a connection, which is not used again once anything on it has failed.
//!
//! When a disk is full or fails, SQLite may end a transaction by itself (SQLite docs, "Response To Errors Within A
//! Transaction"), while the library still counts it as open and refuses to begin another one on that connection.

use super::opening::options;
use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

pub(super) struct Pen {
    path: PathBuf,
    /// Which file that is, whatever has its name by now.
    file: Option<(u64, u64)>,
    connection: Option<SqliteConnection>,
    /// The count of writes that the journal had at least, as far as is known.
    writes: i64,
}

impl Pen {
    pub(super) fn new(path: PathBuf, connection: SqliteConnection, writes: i64) -> Self {
        Self { file: file(&path), path, connection: Some(connection), writes }
    }

    /// The connection, or another one when the last has failed.
    pub(super) async fn connection(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.reopened().await?,
        };
        Ok(self.connection.insert(connection))
    }

    /// The file is opened by its name: another one was put in its place, and nothing is written to it, for what is read
    /// would still be the first. Nor to the same one if it has come less far.
    async fn reopened(&self) -> Result<SqliteConnection, sqlx::Error> {
        if file(&self.path) != self.file {
            return Err(sqlx::Error::Configuration("another file has its name; restart rekeyd to use that one".into()));
        }
        let mut connection = options(&self.path).connect().await?;
        let writes: i64 = sqlx::query_scalar("SELECT writes FROM installation").fetch_one(&mut connection).await?;
        if writes < self.writes {
            return Err(sqlx::Error::Configuration("the file is older than the one that was open".into()));
        }
        Ok(connection)
    }

    /// So many writes are in the journal.
    pub(super) fn wrote(&mut self, writes: i64) {
        self.writes = writes;
    }

    /// Something failed.
    pub(super) async fn give_up(&mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = connection.close_hard().await;
        }
    }

    pub(super) async fn close(self) {
        if let Some(connection) = self.connection {
            let _ = connection.close().await;
        }
    }
}

fn file(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

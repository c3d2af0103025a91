//! Opening the SQLite file: the lock, the schema, the checks that it is whole and ours, and its witness.

use super::super::rows::{corrupt, count, signed, unavailable};
use super::super::sql::BROKEN;
use super::witness::Witness;
use crate::model::names::Instance;
use crate::model::rotation::DAY;
use crate::model::time::Uptime;
use crate::ports::JournalError;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, SqlSafeStr};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SCHEMA: &str = include_str!("schema.sql");
const SUBACCOUNTS: &str = include_str!("../subaccount.sql");
const BUSY: Duration = Duration::from_secs(5);
/// "reky": tells this file from any other SQLite file (SQLite docs, `PRAGMA application_id`).
const APPLICATION_ID: i64 = 0x7265_6b79;
/// How often the lock is tried for: a look at whether it is taken (`in_use`) holds it for a moment.
const LOCK_TRIES: u32 = 20;

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // In WAL mode NORMAL may lose the last commits on power loss (SQLite docs, `PRAGMA synchronous`).
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        .disable_statement_logging()
}

/// Takes the lock and makes the file, both for the owner only, before SQLite opens it: its other files inherit the mode.
pub(super) async fn prepare(path: &Path) -> Result<File, JournalError> {
    let open = |path: &Path| {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        options.map_err(|error| JournalError::Unavailable(format!("{}: {error}", path.display())))
    };
    let lock = open(&beside(path, "lock"))?;
    for tries in 1.. {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if tries < LOCK_TRIES => pause().await,
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::Unavailable("another rekeyd has it open".into()));
            }
            Err(TryLockError::Error(error)) => {
                return Err(JournalError::Unavailable(format!("it can not be locked: {error}")));
            }
        }
    }
    open(path)?;
    Ok(lock)
}

/// Connects. While somebody else puts the file into WAL mode it is locked for a moment, and SQLite does not wait for that to
/// end, whatever the time limit (SQLite docs, "Write-Ahead Logging", "Sometimes Queries Return SQLITE_BUSY In WAL Mode").
pub(super) async fn connect(path: &Path) -> Result<SqliteConnection, JournalError> {
    // SQLITE_BUSY, and SQLITE_BUSY_RECOVERY (SQLite docs, "Result and Error Codes").
    let busy = |error: &sqlx::Error| {
        error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "5" || code == "261")
    };
    let mut tries = 1;
    loop {
        match options(path).connect().await {
            Err(error) if busy(&error) && tries < LOCK_TRIES => pause().await,
            ended => return ended.map_err(unavailable),
        }
        tries += 1;
    }
}

#[expect(clippy::disallowed_methods, reason = "before the journal is open there is no clock to ask")]
async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Whether a daemon has the journal at this path open.
pub(super) fn in_use(path: &Path) -> bool {
    let lock = File::open(beside(path, "lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<(), JournalError> {
    let first = Migration::new(1, "the journal".into(), MigrationType::Simple, SCHEMA.into_sql_str(), false);
    let second = Migration::new(2, "subaccounts".into(), MigrationType::Simple, SUBACCOUNTS.into_sql_str(), false);
    // A journal written by a newer version holds a migration that is not known here, and is refused.
    Migrator::with_migrations(vec![first, second])
        .run_direct(None, connection, false)
        .await
        .map_err(|error| JournalError::Corrupt(format!("its schema does not fit this version of rekeyd: {error}")))
}

/// The file is whole, it is ours, and the last entry of every credential is the one its state was made from.
pub(super) async fn check(connection: &mut SqliteConnection) -> Result<(), JournalError> {
    let text: String =
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *connection).await.map_err(unavailable)?;
    if text != "ok" {
        return Err(JournalError::Corrupt(text));
    }
    let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(unavailable)?;
    if id != APPLICATION_ID {
        return Err(corrupt("it is not a journal of rekeyd"));
    }
    let broken: Option<String> = sqlx::query_scalar(BROKEN).fetch_optional(connection).await.map_err(unavailable)?;
    match broken {
        Some(name) => Err(JournalError::Corrupt(format!("the state of `{name}` is not that of its last entry"))),
        None => Ok(()),
    }
}

/// A new journal gets its name and its own key for labels.
pub(super) async fn found(
    connection: &mut SqliteConnection,
    instance: &Instance,
    key: [u8; 32],
) -> Result<(), JournalError> {
    let query = "INSERT INTO installation (id, instance, label_key, uptime_ms, writes) VALUES (1, $1, $2, 0, 0) \
                 ON CONFLICT DO NOTHING";
    let insert = sqlx::query(query).bind(instance.as_str()).bind(key.to_vec());
    insert.execute(connection).await.map_err(unavailable)?;
    Ok(())
}

/// Compares the journal with its witness; a journal that has come less far was restored, and deletes are held for a day.
pub(super) async fn witness(
    path: &Path,
    connection: &mut SqliteConnection,
    uptime: Uptime,
    writes: i64,
) -> Result<Option<Witness>, JournalError> {
    let (witness, seen) = match Witness::open(&beside(path, "witness")) {
        Ok(opened) => opened,
        Err(error) => {
            tracing::warn!(%error, "the journal's witness cannot be opened; a restored journal would not be noticed");
            return Ok(None);
        }
    };
    if seen > count(writes) {
        tracing::error!(seen, writes, "the journal is older than it was: it was restored; deletes are held for 24 h");
        let query = "UPDATE installation SET held_until_ms = $1, writes = $2";
        let update = sqlx::query(query).bind(signed(uptime.plus(DAY).0)).bind(signed(seen));
        update.execute(connection).await.map_err(unavailable)?;
    }
    Ok(Some(witness))
}

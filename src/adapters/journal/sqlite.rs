//! The journal in one SQLite file: write-ahead log, every commit synced, one writer.
//!
//! One daemon holds the lock file beside it for as long as it runs; the command line reads the same file, and leaves
//! requests in it, while the daemon works.

use super::index::unbroken;
use super::opening;
use super::rows::{
    clamp, corrupt, count, credential, json, key_sid, known_key, name, open_breaker, signed, unavailable,
};
use super::write::{Write, Writer};
use crate::model::event::{Entry, Event};
use crate::model::key::{AccountSid, AttemptId, KeySid, LabelKey};
use crate::model::names::{CredentialName, Instance};
use crate::model::reason::Breaker;
use crate::model::time::{Moment, Uptime};
use crate::ports::{
    Attempts, Claim, Journal, JournalError, KnownAttempt, KnownKey, Refused, Request, Row as CredentialRow,
};
use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions, Connection, Row};
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;

/// What the journal is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To run the daemon: alone, creating it if need be.
    Daemon,
    /// To read it, and to leave requests.
    Visitor,
}

/// The journal.
pub struct SqliteJournal {
    reader: Mutex<SqliteConnection>,
    writer: Writer,
    label_key: LabelKey,
    uptime: Uptime,
    held_until: AtomicU64,
    _lock: Option<File>,
}

const HELD_UNTIL: &str = "SELECT held_until_ms FROM installation";

impl SqliteJournal {
    /// Opens the journal, creates or migrates it for the daemon, and checks that it is whole.
    pub async fn open(path: &Path, instance: &Instance, access: Access) -> Result<Self, JournalError> {
        let daemon = access == Access::Daemon;
        let lock = if daemon { Some(opening::prepare(path).await?) } else { None };
        let mut connection = opening::options(path).connect().await.map_err(unavailable)?;
        if daemon {
            opening::migrate(&mut connection).await?;
            opening::check(&mut connection).await?;
            opening::found(&mut connection, instance).await?;
        }
        let row = sqlx::query("SELECT instance, label_key, uptime_ms, writes FROM installation");
        let row = row.fetch_one(&mut connection).await.map_err(unavailable)?;
        let owner: String = row.get(0);
        if owner != instance.as_str() {
            let detail = format!("it belongs to the instance `{owner}`, the policy names `{instance}`");
            return Err(JournalError::Corrupt(detail));
        }
        let label_key = <[u8; 32]>::try_from(row.get::<Vec<u8>, _>(1));
        let label_key = LabelKey::new(label_key.map_err(|_| corrupt("its label key has a wrong length"))?);
        let uptime = Uptime(count(row.get(2)));
        let witness = if daemon { opening::witness(path, &mut connection, uptime, row.get(3)).await? } else { None };
        let held: Option<i64> = sqlx::query_scalar(HELD_UNTIL).fetch_one(&mut connection).await.map_err(unavailable)?;
        let reader = opening::options(path).connect().await.map_err(unavailable)?;
        Ok(Self {
            reader: Mutex::new(reader),
            writer: Writer::start(connection, witness),
            label_key,
            uptime,
            held_until: AtomicU64::new(held.map_or(0, count)),
            _lock: lock,
        })
    }

    /// Whether a daemon has the journal at this path open.
    pub fn in_use(path: &Path) -> bool {
        opening::in_use(path)
    }

    /// Ends the writer when all that was asked of it is written, and folds the log into the file.
    pub async fn close(self) {
        let Self { reader, writer, _lock: lock, .. } = self;
        let _ = reader.into_inner().close().await;
        writer.close().await;
        drop(lock);
    }

    async fn all(
        &self,
        query: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
    ) -> Result<Vec<SqliteRow>, JournalError> {
        let mut reader = self.reader.lock().await;
        query.fetch_all(&mut *reader).await.map_err(unavailable)
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    fn label_key(&self) -> LabelKey {
        self.label_key.clone()
    }

    fn uptime_at_start(&self) -> Uptime {
        self.uptime
    }

    fn deletes_held_until(&self) -> Option<Uptime> {
        let until = self.held_until.load(Ordering::Relaxed);
        (until > 0).then_some(Uptime(until))
    }

    async fn enrol(&self, wakes: Vec<(CredentialName, AccountSid, Option<Timestamp>)>) -> Result<(), JournalError> {
        self.writer.write(|done| Write::Enrol(wakes, done)).await
    }

    async fn rows(&self) -> Result<Vec<CredentialRow>, JournalError> {
        let query = "SELECT name, account, seq, state, wake_ms, waiting FROM credential ORDER BY name";
        self.all(sqlx::query(query)).await?.iter().map(credential).collect()
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<CredentialName>, JournalError> {
        let query = "SELECT name FROM credential WHERE wake_ms <= $1 ORDER BY wake_ms LIMIT $2";
        let rows = self.all(sqlx::query(query).bind(now.as_millisecond()).bind(limit as i64)).await?;
        rows.iter().map(|row| name(row.get(0))).collect()
    }

    async fn row(&self, name: &CredentialName) -> Result<Option<CredentialRow>, JournalError> {
        let query = "SELECT name, account, seq, state, wake_ms, waiting FROM credential WHERE name = $1";
        let rows = self.all(sqlx::query(query).bind(name.as_str())).await?;
        rows.first().map(credential).transpose()
    }

    async fn claim(&self, name: &CredentialName) -> Result<Option<Claim>, JournalError> {
        let row = self.row(name).await?;
        // One daemon holds the lock file, so there is nobody to fence off: the number of the last entry is enough.
        Ok(row.map(|CredentialRow { name, account, seq, state, .. }| Claim { name, account, seq, state, token: 0 }))
    }

    async fn append(&self, claim: Claim, at: Moment, event: Event) -> Result<Claim, Refused> {
        self.writer.append(claim, at, event).await
    }

    async fn release(&self, claim: Claim, wake: Option<Timestamp>, waiting: &str) -> Result<(), JournalError> {
        let waiting = waiting.to_owned();
        self.writer.write(|done| Write::Release(claim.name, wake, waiting, done)).await
    }

    async fn history(&self, name: &CredentialName) -> Result<Vec<Entry>, JournalError> {
        // One statement, so that an entry that is written just now is seen in both tables or in none.
        let query = "SELECT c.seq, c.chain, e.body, e.chain FROM credential c LEFT JOIN event e ON e.credential = c.id \
                     WHERE c.name = $1 ORDER BY e.seq";
        let rows = self.all(sqlx::query(query).bind(name.as_str())).await?;
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        let (seq, chain): (i64, Vec<u8>) = (first.get(0), first.get(1));
        let entry = |row: &SqliteRow| row.get::<Option<String>, _>(2).zip(row.get::<Option<Vec<u8>>, _>(3));
        let history: Vec<_> = rows.iter().filter_map(entry).collect();
        unbroken(&history, (count(seq), &chain))
            .ok_or_else(|| JournalError::Corrupt(format!("an entry of `{name}` was changed or is missing")))
    }

    async fn keys(&self, account: &AccountSid) -> Result<Vec<KnownKey>, JournalError> {
        let query = "SELECT k.sid, c.name, k.attempt, k.gone FROM key k JOIN credential c ON c.id = k.credential \
                     WHERE k.account = $1 AND k.gone = 0";
        let rows = self.all(sqlx::query(query).bind(account.as_str())).await?;
        rows.iter().map(known_key).collect()
    }

    async fn key(&self, sid: &KeySid) -> Result<Option<KnownKey>, JournalError> {
        let query = "SELECT k.sid, c.name, k.attempt, k.gone FROM key k JOIN credential c ON c.id = k.credential \
                     WHERE k.sid = $1";
        let rows = self.all(sqlx::query(query).bind(sid.as_str())).await?;
        rows.first().map(known_key).transpose()
    }

    async fn attempt(&self, attempt: AttemptId) -> Result<Option<KnownAttempt>, JournalError> {
        let query = "SELECT c.name, a.intended, k.sid FROM attempt a JOIN credential c ON c.id = a.credential \
                     LEFT JOIN key k ON k.attempt = a.id WHERE a.id = $1";
        let rows = self.all(sqlx::query(query).bind(attempt.to_string())).await?;
        let known = |row: &SqliteRow| {
            let sid: Option<String> = row.get(2);
            Ok(KnownAttempt {
                credential: name(row.get(0))?,
                intended: json(&row.get::<String, _>(1))?,
                sid: sid.map(|sid| key_sid(&sid)).transpose()?,
            })
        };
        rows.first().map(known).transpose()
    }

    async fn deletes_since(
        &self,
        account: &AccountSid,
        since: Uptime,
        except: Option<&KeySid>,
    ) -> Result<u32, JournalError> {
        let query = "SELECT count(*) FROM key WHERE account = $1 AND condemned_ms > $2 AND sid <> $3";
        let except = except.map_or("", KeySid::as_str);
        let rows = self.all(sqlx::query(query).bind(account.as_str()).bind(signed(since.0)).bind(except)).await?;
        Ok(rows.first().map_or(0, |row| clamp(row.get(0))))
    }

    async fn attempts_since(&self, account: &AccountSid, since: Uptime) -> Result<Attempts, JournalError> {
        let query = "SELECT count(*), coalesce(sum(abandoned), 0) FROM attempt WHERE account = $1 AND intended_ms > $2";
        let rows = self.all(sqlx::query(query).bind(account.as_str()).bind(signed(since.0))).await?;
        let attempts = |row: &SqliteRow| Attempts { started: clamp(row.get(0)), abandoned: clamp(row.get(1)) };
        Ok(rows.first().map(attempts).unwrap_or_default())
    }

    async fn ask(&self, request: Request) -> Result<(), JournalError> {
        self.writer.write(|done| Write::Ask(request, done)).await
    }

    async fn requests(&self) -> Result<Vec<(i64, Request)>, JournalError> {
        let rows = self.all(sqlx::query("SELECT number, body FROM request ORDER BY number")).await?;
        rows.iter().map(|row| Ok((row.get(0), json(&row.get::<String, _>(1))?))).collect()
    }

    async fn answered(&self, number: i64) -> Result<(), JournalError> {
        self.writer.write(|done| Write::Answered(number, done)).await
    }

    async fn checkpoint(&self, uptime: Uptime) -> Result<(), JournalError> {
        self.writer.write(|done| Write::Checkpoint(uptime, done)).await
    }

    async fn note_breakers(&self, open: Vec<(AccountSid, Breaker)>) -> Result<(), JournalError> {
        self.writer.write(|done| Write::Breakers(open, done)).await
    }

    async fn breakers(&self) -> Result<Vec<(AccountSid, Breaker)>, JournalError> {
        let rows = self.all(sqlx::query("SELECT account, breaker FROM breaker ORDER BY account, breaker")).await?;
        rows.iter().map(open_breaker).collect()
    }

    async fn hold_deletes(&self, evidence: &str, until: Uptime) -> Result<(), JournalError> {
        self.writer.write(|done| Write::Hold(evidence.to_owned(), until, done)).await?;
        let rows = self.all(sqlx::query(HELD_UNTIL)).await?;
        let held: Option<i64> = rows.first().and_then(|row| row.get(0));
        self.held_until.store(held.map_or(0, count), Ordering::Relaxed);
        Ok(())
    }
}

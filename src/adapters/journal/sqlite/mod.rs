//! The journal in one SQLite file: write-ahead log, every commit synced, one writer.
//!
//! One daemon holds the lock file beside it for as long as it runs; the command line reads the same file, and leaves
//! requests in it, while the daemon works.

mod opening;
mod pen;
mod witness;
mod write;

use super::Access;
use super::rows::{
    Columns, attempts, clamp, corrupt, count, credential, history, known_attempt, known_key, known_keys, making,
    named_making, open_breaker, request, signed, unavailable,
};
use super::sql;
use crate::model::event::{Entry, Event};
use crate::model::home::Home;
use crate::model::key::{AttemptId, KeySid, LabelKey};
use crate::model::names::{CredentialName, Instance};
use crate::model::reason::Breaker;
use crate::model::subaccount::{Making, SubaccountName};
use crate::model::time::{Moment, Uptime};
use crate::ports::{
    Attempts, Claim, Enrolled, Journal, JournalError, KnownAttempt, KnownKey, Ledger, Page, PassOver, Refused, Request,
    Row as CredentialRow, Taken,
};
use async_trait::async_trait;
use jiff::Timestamp;
use pen::Pen;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Row};
use std::fs::File;
use std::path::Path;
use std::time::Duration;
use tokio::sync::Mutex;
use write::{Write, Writer};

/// The journal.
pub struct SqliteJournal {
    reader: Mutex<SqliteConnection>,
    writer: Writer,
    label_key: LabelKey,
    uptime: Uptime,
    _lock: Option<File>,
}

impl SqliteJournal {
    /// Opens the journal, creates or migrates it for the daemon, and checks that it is whole.
    pub async fn open(
        path: &Path,
        instance: &Instance,
        access: Access,
        key: Option<[u8; 32]>,
    ) -> Result<Self, JournalError> {
        let daemon = access == Access::Daemon;
        let lock = if daemon { Some(opening::prepare(path).await?) } else { None };
        let mut connection = opening::connect(path).await?;
        if daemon {
            opening::migrate(&mut connection).await?;
            opening::check(&mut connection).await?;
            opening::found(&mut connection, instance, super::label_key(key)?).await?;
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
        let writes = row.get(3);
        let witness = if daemon { opening::witness(path, &mut connection, uptime, writes).await? } else { None };
        let reader = opening::connect(path).await?;
        Ok(Self {
            reader: Mutex::new(reader),
            writer: Writer::start(Pen::new(path.to_owned(), connection, writes), witness),
            label_key,
            uptime,
            _lock: lock,
        })
    }

    /// Whether a daemon has the journal at this path open.
    pub fn in_use(path: &Path) -> bool {
        opening::in_use(path)
    }

    /// Writes an entry of another journal as it is.
    pub(super) async fn replay(&self, claim: Claim, entry: Entry) -> Result<Claim, Refused> {
        self.writer.append(claim, entry, false).await
    }

    /// A new journal goes on from the running time of another.
    pub(super) async fn go_on_from(&self, uptime: Uptime) -> Result<(), JournalError> {
        self.writer.write(|done| Write::Checkpoint(uptime, done)).await
    }

    /// What showed that the journal had been restored, each with its own word.
    pub(super) async fn evidence(&self) -> Result<Vec<String>, JournalError> {
        Ok(self.all(sqlx::query(sql::EVIDENCE)).await?.iter().map(|row| row.text(0)).collect())
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

    fn uptime(&self, running: Duration) -> Uptime {
        self.uptime.plus(running)
    }

    async fn deletes_held_until(&self) -> Result<Option<Uptime>, JournalError> {
        let rows = self.all(sqlx::query(sql::HELD_UNTIL)).await?;
        Ok(rows.first().and_then(|row| row.maybe_number(0)).map(|until| Uptime(count(until))))
    }

    async fn enrol(&self, credentials: Vec<Enrolled>) -> Result<(), JournalError> {
        self.writer.write(|done| Write::Enrol(credentials, done)).await
    }

    async fn rows(&self) -> Result<Vec<CredentialRow>, JournalError> {
        self.all(sqlx::query(sql::ROWS)).await?.iter().map(credential).collect()
    }

    async fn rows_after(&self, page: Page<'_>) -> Result<Vec<CredentialRow>, JournalError> {
        let query = sqlx::query(sql::ROWS_AFTER).bind(page.prefix).bind(page.after.map_or("", CredentialName::as_str));
        self.all(query.bind(page.limit as i64)).await?.iter().map(credential).collect()
    }

    async fn take_due(&self, now: Timestamp, limit: usize, but: &PassOver) -> Result<Taken, JournalError> {
        let query = "SELECT name, account, seq, state, wake_ms, waiting FROM credential WHERE wake_ms <= $1 \
                     AND name NOT IN (SELECT value FROM json_each($2, '$.names')) \
                     AND account NOT IN (SELECT value FROM json_each($2, '$.homes')) ORDER BY wake_ms LIMIT $3";
        let but = serde_json::to_string(but).map_err(|error| JournalError::Unavailable(error.to_string()))?;
        let due = sqlx::query(query).bind(now.as_millisecond()).bind(but).bind(limit as i64);
        let claims: Result<_, _> = self.all(due).await?.iter().map(|row| credential(row).map(alone)).collect();
        Ok(Taken { claims: claims?, again: None })
    }

    async fn row(&self, name: &CredentialName) -> Result<Option<CredentialRow>, JournalError> {
        let rows = self.all(sqlx::query(sql::ROW).bind(name.as_str())).await?;
        rows.first().map(credential).transpose()
    }

    async fn claim(&self, name: &CredentialName) -> Result<Option<Claim>, JournalError> {
        Ok(self.row(name).await?.map(alone))
    }

    async fn renew(&self, _claim: &mut Claim) -> Result<bool, JournalError> {
        Ok(true)
    }

    async fn append(&self, claim: Claim, at: Moment, event: Event) -> Result<Claim, Refused> {
        let entry = Entry { seq: claim.seq + 1, at, event };
        self.writer.append(claim, entry, true).await
    }

    async fn release(&self, claim: Claim, wake: Option<Timestamp>, waiting: &str) -> Result<(), JournalError> {
        let waiting = waiting.to_owned();
        self.writer.write(|done| Write::Release(claim.name, wake, waiting, done)).await
    }

    async fn history(&self, name: &CredentialName) -> Result<Vec<Entry>, JournalError> {
        history(name, &self.all(sqlx::query(sql::HISTORY).bind(name.as_str())).await?)
    }

    async fn keys(&self, home: &Home) -> Result<Vec<KnownKey>, JournalError> {
        // All in one row: each row is a visit to the thread that SQLite works on, and an account may have ten thousand.
        let rows = self.all(sqlx::query(sql::KEYS_AT_ONCE).bind(home.to_string())).await?;
        rows.first().map_or(Ok(Vec::new()), known_keys)
    }

    async fn key(&self, sid: &KeySid) -> Result<Option<KnownKey>, JournalError> {
        let rows = self.all(sqlx::query(sql::KEY).bind(sid.as_str())).await?;
        rows.first().map(known_key).transpose()
    }

    async fn attempt(&self, attempt: AttemptId) -> Result<Option<KnownAttempt>, JournalError> {
        let rows = self.all(sqlx::query(sql::ATTEMPT).bind(attempt.to_string())).await?;
        rows.first().map(known_attempt).transpose()
    }

    async fn deletes_since(&self, home: &Home, since: Uptime, except: Option<&KeySid>) -> Result<u32, JournalError> {
        let query = sqlx::query(sql::DELETES_SINCE).bind(home.to_string()).bind(signed(since.0));
        let rows = self.all(query.bind(except.map_or("", KeySid::as_str))).await?;
        Ok(rows.first().map_or(0, |row| clamp(row.number(0))))
    }

    async fn attempts_since(&self, home: &Home, since: Uptime) -> Result<Attempts, JournalError> {
        let query = sqlx::query(sql::ATTEMPTS_SINCE).bind(home.to_string()).bind(signed(since.0));
        Ok(self.all(query).await?.first().map(attempts).unwrap_or_default())
    }

    async fn ask(&self, request: Request) -> Result<(), JournalError> {
        self.writer.write(|done| Write::Ask(request, done)).await
    }

    async fn requests(&self) -> Result<Vec<(i64, Request)>, JournalError> {
        self.all(sqlx::query(sql::REQUESTS)).await?.iter().map(request).collect()
    }

    async fn answered(&self, number: i64) -> Result<(), JournalError> {
        self.writer.write(|done| Write::Answered(number, done)).await
    }

    async fn checkpoint(&self, running: Duration) -> Result<(), JournalError> {
        let uptime = self.uptime.plus(running);
        self.writer.write(|done| Write::Checkpoint(uptime, done)).await
    }

    async fn note_breakers(&self, open: Vec<(Home, Breaker)>) -> Result<(), JournalError> {
        self.writer.write(|done| Write::Breakers(open, done)).await
    }

    async fn breakers(&self) -> Result<Vec<(Home, Breaker)>, JournalError> {
        let rows = self.all(sqlx::query("SELECT account, breaker FROM breaker ORDER BY account, breaker")).await?;
        rows.iter().map(open_breaker).collect()
    }

    async fn hold_deletes(&self, evidence: &str, until: Uptime) -> Result<(), JournalError> {
        self.writer.write(|done| Write::Hold(evidence.to_owned(), until, done)).await
    }
}

#[async_trait]
impl Ledger for SqliteJournal {
    fn label_key(&self) -> LabelKey {
        self.label_key.clone()
    }

    async fn making(&self, name: &SubaccountName) -> Result<(u64, Making), JournalError> {
        let rows = self.all(sqlx::query(sql::MAKING).bind(name.as_str())).await?;
        rows.first().map_or(Ok((0, Making::default())), making)
    }

    async fn makings(&self) -> Result<Vec<(SubaccountName, Making)>, JournalError> {
        self.all(sqlx::query(sql::MAKINGS)).await?.iter().map(named_making).collect()
    }

    async fn note(&self, name: &SubaccountName, seq: u64, making: &Making) -> Result<bool, JournalError> {
        self.writer.note(name, seq, making).await
    }
}

/// One daemon holds the lock file, so there is nobody to fence off: the number of the last entry is enough.
fn alone(row: CredentialRow) -> Claim {
    let CredentialRow { name, home, seq, state, .. } = row;
    Claim { name, home, seq, state, token: 0, leased_until: None }
}

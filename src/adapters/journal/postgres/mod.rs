//! The journal on a PostgreSQL server, which any number of processes share.
//!
//! A claim is a lease with a fencing token: `FOR UPDATE SKIP LOCKED` spreads the work, and an entry is written only by
//! whoever holds the last token, at the next number (protocol, b.5). Everything is bounded in time, so that a process
//! that is cut off stops by itself; a connection whose answer was not waited for is never used again.

mod append;
mod enrolment;
mod ledger;
mod opening;
mod statements;

use super::append::{Append, Inserted};
use super::rows::{
    Columns, attempts, clamp, corrupt, count, credential, history, known_attempt, known_key, open_breaker, request,
    signed, unavailable,
};
use super::uptime::SharedClock;
use super::{Access, LEASE, sql};
use crate::model::apply::apply;
use crate::model::event::{Entry, Event};
use crate::model::home::Home;
use crate::model::key::{AttemptId, KeySid, LabelKey};
use crate::model::names::{CredentialName, Instance};
use crate::model::policy::PostgresState;
use crate::model::reason::Breaker;
use crate::model::rotation::{DAY, State};
use crate::model::time::{Moment, Uptime};
use crate::ports::{
    Attempts, Claim, Clock, Enrolled, Journal, JournalError, KnownAttempt, KnownKey, Page, PassOver, Refused, Request,
    Row as CredentialRow, Taken,
};
use async_trait::async_trait;
use jiff::Timestamp;
use opening::PATIENCE;
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnection, PgPool, PgRow};
use sqlx::query::Query;
use statements::{BREAKERS, CLAIM, HOLD, NEXT_END, NOTE_BREAKERS, RELEASE, RENEW, TAKE_DUE, TICK};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// The journal.
pub struct PostgresJournal {
    pool: PgPool,
    clock: Arc<dyn Clock>,
    label_key: LabelKey,
    uptime: SharedClock,
    replica: String,
}

/// A connection for one use. Unless that came to its end, the connection is closed and not used again: an answer that was
/// not waited for must not be taken for that of the next question.
struct Lent(Option<PoolConnection<Postgres>>);

impl Lent {
    /// The use has come to an end, well or with the server's own word for what was wrong.
    fn ended<T>(mut self, result: Result<T, sqlx::Error>) -> Result<T, JournalError> {
        if matches!(result, Ok(_) | Err(sqlx::Error::Database(_))) {
            drop(self.0.take());
        }
        result.map_err(unavailable)
    }

    fn connection(&mut self) -> Result<&mut PgConnection, JournalError> {
        self.0.as_deref_mut().ok_or_else(|| JournalError::Unavailable("no connection".into()))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}

async fn bounded<T>(work: impl Future<Output = T>) -> Result<T, JournalError> {
    let late = |_| JournalError::Unavailable(format!("the server did not answer for {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, work).await.map_err(late)
}

type Statement<'q> = Query<'q, Postgres, PgArguments>;

impl PostgresJournal {
    /// Connects, makes the tables or brings them up to date for a daemon, and checks that they are whole.
    pub async fn open(
        state: &PostgresState,
        instance: &Instance,
        access: Access,
        clock: Arc<dyn Clock>,
        key: Option<[u8; 32]>,
    ) -> Result<Self, JournalError> {
        let pool = opening::pool(state).await?;
        let mut connection = pool.acquire().await.map_err(unavailable)?;
        if access == Access::Daemon {
            opening::migrate(&mut connection).await?;
            opening::check(&mut connection).await?;
            opening::found(&mut connection, instance, super::label_key(key)?).await?;
        }
        let (label_key, uptime) = opening::installation(&mut connection, instance).await?;
        drop(connection);
        // From the clock's own source of chance: never the same for two processes.
        let replica = clock.attempt().to_string();
        let journal = Self { pool, label_key, uptime: SharedClock::new(uptime, clock.running()), clock, replica };
        if access == Access::Daemon {
            journal.hello().await?;
        }
        Ok(journal)
    }

    /// Says goodbye, so that nobody takes this process to be at work.
    pub async fn close(&self) {
        let gone = sqlx::query("DELETE FROM replica WHERE id = $1").bind(&self.replica);
        let _ = self.all(gone).await;
        let _ = bounded(self.pool.close()).await;
    }

    /// Whether a daemon has worked with the journal lately.
    pub async fn in_use(&self) -> Result<bool, JournalError> {
        let lately = sqlx::query("SELECT 1 FROM replica WHERE seen > clock_timestamp() - interval '90 s' LIMIT 1");
        Ok(!self.all(lately).await?.is_empty())
    }

    async fn lend(&self) -> Result<Lent, JournalError> {
        Ok(Lent(Some(self.pool.acquire().await.map_err(unavailable)?)))
    }

    async fn all(&self, query: Statement<'_>) -> Result<Vec<PgRow>, JournalError> {
        let mut lent = self.lend().await?;
        let rows = bounded(query.fetch_all(lent.connection()?)).await?;
        lent.ended(rows)
    }

    async fn hello(&self) -> Result<(), JournalError> {
        let query = "INSERT INTO replica (id, seen) VALUES ($1, clock_timestamp()) \
                     ON CONFLICT (id) DO UPDATE SET seen = clock_timestamp()";
        self.all(sqlx::query(query).bind(&self.replica)).await?;
        let old = "DELETE FROM replica WHERE seen < clock_timestamp() - interval '10 minutes'";
        self.all(sqlx::query(old)).await.map(drop)
    }

    /// The claim that a row with a token behind the credential's columns stands for.
    fn claimed(&self, row: &PgRow, asked: Duration) -> Result<(Option<Timestamp>, Claim), JournalError> {
        let token = count(row.number(6));
        let CredentialRow { name, home, seq, state, wake, .. } = credential(row)?;
        // Counted from before the question, so that our own clock ends the lease before the server's does.
        Ok((wake, Claim { name, home, seq, state, token, leased_until: Some(asked + LEASE) }))
    }

    async fn write(&self, append: &Append, token: u64) -> Result<Inserted, JournalError> {
        let mut lent = self.lend().await?;
        let inserted = bounded(append::append(lent.connection()?, append, token)).await?;
        lent.ended(inserted)
    }

    async fn fenced(&self, claim: Claim, entry: Entry, fresh_spending: bool) -> Result<Claim, Refused> {
        let state = match apply(claim.state.clone(), &entry) {
            Ok(state) => state,
            Err(misfit) => return Err(Refused::Misfit(Box::new(claim), misfit)),
        };
        let append = Append::new(&claim, &entry, &state).map(|append| append.checked(fresh_spending));
        let asked = self.clock.running();
        let inserted = match &append {
            Ok(append) => self.write(append, claim.token).await,
            Err(error) => Err(JournalError::Unavailable(error.to_string())),
        };
        match inserted {
            Ok(Inserted::Fresh) => Ok(Claim { seq: entry.seq, state, leased_until: Some(asked + LEASE), ..claim }),
            Ok(Inserted::Taken) => Err(Refused::Fenced),
            Ok(Inserted::Overspent) => Err(Refused::Overspent(Box::new(claim))),
            Err(error) => Err(Refused::Unavailable(Box::new(claim), error)),
        }
    }

    /// A new journal goes on from the running time of another.
    pub(super) async fn go_on_from(&self, uptime: Uptime) -> Result<(), JournalError> {
        let query = "UPDATE installation SET uptime_ms = greatest(uptime_ms, $1)";
        self.all(sqlx::query(query).bind(signed(uptime.0))).await.map(drop)
    }

    /// What showed that the journal had been restored, each with its own word.
    pub(super) async fn evidence(&self) -> Result<Vec<String>, JournalError> {
        Ok(self.all(sqlx::query(sql::EVIDENCE)).await?.iter().map(|row| row.text(0)).collect())
    }

    /// Writes an entry of another journal as it is.
    pub(super) async fn replay(&self, claim: Claim, entry: Entry) -> Result<Claim, Refused> {
        self.fenced(claim, entry, false).await
    }
}

#[async_trait]
impl Journal for PostgresJournal {
    fn label_key(&self) -> LabelKey {
        self.label_key.clone()
    }

    fn uptime(&self, running: Duration) -> Uptime {
        self.uptime.at(running)
    }

    async fn deletes_held_until(&self) -> Result<Option<Uptime>, JournalError> {
        let until = self.all(sqlx::query(sql::HELD_UNTIL)).await?.first().and_then(|row| row.maybe_number(0));
        Ok(until.map(|until| Uptime(count(until))))
    }

    async fn enrol(&self, credentials: Vec<Enrolled>) -> Result<(), JournalError> {
        let empty = serde_json::to_string(&State::default()).map_err(|error| corrupt(&error.to_string()))?;
        let mut lent = self.lend().await?;
        let enrolled = bounded(enrolment::enrol(lent.connection()?, &credentials, empty)).await?;
        lent.ended(enrolled)
    }

    async fn rows(&self) -> Result<Vec<CredentialRow>, JournalError> {
        self.all(sqlx::query(sql::ROWS)).await?.iter().map(credential).collect()
    }

    async fn rows_after(&self, page: Page<'_>) -> Result<Vec<CredentialRow>, JournalError> {
        let query = sqlx::query(sql::ROWS_AFTER).bind(page.prefix).bind(page.after.map_or("", CredentialName::as_str));
        self.all(query.bind(page.limit as i64)).await?.iter().map(credential).collect()
    }

    async fn row(&self, name: &CredentialName) -> Result<Option<CredentialRow>, JournalError> {
        self.all(sqlx::query(sql::ROW).bind(name.as_str())).await?.first().map(credential).transpose()
    }

    async fn take_due(&self, now: Timestamp, limit: usize, but: &PassOver) -> Result<Taken, JournalError> {
        let names: Vec<_> = but.names.iter().map(CredentialName::as_str).collect();
        let homes: Vec<_> = but.homes.iter().map(Home::to_string).collect();
        let asked = self.clock.running();
        let due = sqlx::query(TAKE_DUE).bind(now.as_millisecond()).bind(&names).bind(&homes);
        let rows = self.all(due.bind(limit as i64).bind(signed(LEASE.as_secs()))).await?;
        let claims: Result<Vec<_>, _> = rows.iter().map(|row| self.claimed(row, asked)).collect();
        let mut claims = claims?;
        claims.sort_by_key(|(wake, _)| *wake);
        let next = sqlx::query(NEXT_END).bind(now.as_millisecond()).bind(&names);
        let next = self.all(next).await?.first().and_then(|row| row.maybe_number(0));
        let claims = claims.into_iter().map(|(_, claim)| claim).collect();
        Ok(Taken { claims, again: next.map(|ms| Duration::from_millis(count(ms))) })
    }

    async fn claim(&self, name: &CredentialName) -> Result<Option<Claim>, JournalError> {
        let asked = self.clock.running();
        let rows = self.all(sqlx::query(CLAIM).bind(name.as_str()).bind(signed(LEASE.as_secs()))).await?;
        rows.first().map(|row| self.claimed(row, asked).map(|(_, claim)| claim)).transpose()
    }

    async fn renew(&self, claim: &mut Claim) -> Result<bool, JournalError> {
        let asked = self.clock.running();
        let renew = sqlx::query(RENEW).bind(claim.name.as_str()).bind(signed(claim.token));
        let renewed = !self.all(renew.bind(signed(LEASE.as_secs()))).await?.is_empty();
        if renewed {
            claim.leased_until = Some(asked + LEASE);
        }
        Ok(renewed)
    }

    async fn append(&self, claim: Claim, at: Moment, event: Event) -> Result<Claim, Refused> {
        let entry = Entry { seq: claim.seq + 1, at, event };
        self.fenced(claim, entry, true).await
    }

    async fn release(&self, claim: Claim, wake: Option<Timestamp>, waiting: &str) -> Result<(), JournalError> {
        let wake = wake.map(|wake| wake.as_millisecond());
        let release = sqlx::query(RELEASE).bind(claim.name.as_str()).bind(wake).bind(waiting);
        self.all(release.bind(signed(claim.token))).await.map(drop)
    }

    async fn history(&self, name: &CredentialName) -> Result<Vec<Entry>, JournalError> {
        history(name, &self.all(sqlx::query(sql::HISTORY).bind(name.as_str())).await?)
    }

    async fn keys(&self, home: &Home) -> Result<Vec<KnownKey>, JournalError> {
        self.all(sqlx::query(sql::KEYS_ALIVE).bind(home.to_string())).await?.iter().map(known_key).collect()
    }

    async fn key(&self, sid: &KeySid) -> Result<Option<KnownKey>, JournalError> {
        self.all(sqlx::query(sql::KEY).bind(sid.as_str())).await?.first().map(known_key).transpose()
    }

    async fn attempt(&self, attempt: AttemptId) -> Result<Option<KnownAttempt>, JournalError> {
        self.all(sqlx::query(sql::ATTEMPT).bind(attempt.to_string())).await?.first().map(known_attempt).transpose()
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
        let body = serde_json::to_string(&request).map_err(|error| JournalError::Unavailable(error.to_string()))?;
        self.all(sqlx::query(sql::ASK).bind(body)).await.map(drop)
    }

    async fn requests(&self) -> Result<Vec<(i64, Request)>, JournalError> {
        self.all(sqlx::query(sql::REQUESTS)).await?.iter().map(request).collect()
    }

    async fn answered(&self, number: i64) -> Result<(), JournalError> {
        self.all(sqlx::query(sql::ANSWERED).bind(number)).await.map(drop)
    }

    async fn checkpoint(&self, running: Duration) -> Result<(), JournalError> {
        let ran = i64::try_from(self.uptime.since_tick(running).as_millis()).unwrap_or(i64::MAX);
        let rows = self.all(sqlx::query(TICK).bind(ran)).await?;
        let pushed = rows.first().map(|row| Uptime(count(row.number(0)))).ok_or_else(|| corrupt("no installation"))?;
        let fell = self.uptime.tick(pushed, running);
        self.hello().await?;
        if let Some(before) = fell {
            tracing::error!(
                before = before.0,
                now = pushed.0,
                "the journal is older than it was: deletes are held for 24 h"
            );
            let evidence = format!("running time went back from {} to {} ms", before.0, pushed.0);
            self.hold_deletes(&evidence, pushed.plus(DAY)).await?;
        }
        Ok(())
    }

    async fn note_breakers(&self, open: Vec<(Home, Breaker)>) -> Result<(), JournalError> {
        let (homes, breakers): (Vec<_>, Vec<_>) =
            open.iter().map(|(home, breaker)| (home.to_string(), breaker.word().to_owned())).unzip();
        self.hello().await?;
        let query = sqlx::query(NOTE_BREAKERS).bind(&self.replica).bind(homes).bind(breakers);
        self.all(query).await.map(drop)
    }

    async fn breakers(&self) -> Result<Vec<(Home, Breaker)>, JournalError> {
        self.all(sqlx::query(BREAKERS)).await?.iter().map(open_breaker).collect()
    }

    async fn hold_deletes(&self, evidence: &str, until: Uptime) -> Result<(), JournalError> {
        self.all(sqlx::query(HOLD).bind(evidence).bind(signed(until.0))).await.map(drop)
    }
}

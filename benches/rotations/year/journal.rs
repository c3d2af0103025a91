//! The real journal, with its work counted: while a thread of its own writes, virtual time stands still.

use super::clock::Virtual;
use async_trait::async_trait;
use jiff::Timestamp;
use rekeyd::model::event::{Entry, Event};
use rekeyd::model::home::Home;
use rekeyd::model::key::{AttemptId, KeySid, LabelKey};
use rekeyd::model::names::CredentialName;
use rekeyd::model::reason::Breaker;
use rekeyd::model::time::{Moment, Uptime};
use rekeyd::ports::{
    Attempts, Claim, Enrolled, Journal, JournalError, KnownAttempt, KnownKey, Page, PassOver, Refused, Request, Row,
    Taken,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub struct Counted {
    pub journal: Arc<dyn Journal>,
    pub clock: Arc<Virtual>,
    /// Rows that were read many at a time: of all credentials at the start, and of a fleet whenever a member asks for its turn.
    pub rows: AtomicU64,
}

#[async_trait]
impl Journal for Counted {
    fn label_key(&self) -> LabelKey {
        self.journal.label_key()
    }

    fn uptime(&self, running: Duration) -> Uptime {
        self.journal.uptime(running)
    }

    async fn deletes_held_until(&self) -> Result<Option<Uptime>, JournalError> {
        self.clock.while_at_work(self.journal.deletes_held_until()).await
    }

    async fn enrol(&self, credentials: Vec<Enrolled>) -> Result<(), JournalError> {
        self.clock.while_at_work(self.journal.enrol(credentials)).await
    }

    async fn rows(&self) -> Result<Vec<Row>, JournalError> {
        self.clock.while_at_work(self.journal.rows()).await
    }

    async fn rows_after(&self, page: Page<'_>) -> Result<Vec<Row>, JournalError> {
        let rows = self.clock.while_at_work(self.journal.rows_after(page)).await?;
        self.rows.fetch_add(rows.len() as u64, Ordering::Relaxed);
        Ok(rows)
    }

    async fn row(&self, name: &CredentialName) -> Result<Option<Row>, JournalError> {
        self.clock.while_at_work(self.journal.row(name)).await
    }

    async fn take_due(&self, now: Timestamp, limit: usize, but: &PassOver) -> Result<Taken, JournalError> {
        self.clock.while_at_work(self.journal.take_due(now, limit, but)).await
    }

    async fn claim(&self, name: &CredentialName) -> Result<Option<Claim>, JournalError> {
        self.clock.while_at_work(self.journal.claim(name)).await
    }

    async fn renew(&self, claim: &mut Claim) -> Result<bool, JournalError> {
        self.clock.while_at_work(self.journal.renew(claim)).await
    }

    async fn append(&self, claim: Claim, at: Moment, event: Event) -> Result<Claim, Refused> {
        self.clock.while_at_work(self.journal.append(claim, at, event)).await
    }

    async fn release(&self, claim: Claim, wake: Option<Timestamp>, waiting: &str) -> Result<(), JournalError> {
        self.clock.while_at_work(self.journal.release(claim, wake, waiting)).await
    }

    async fn history(&self, name: &CredentialName) -> Result<Vec<Entry>, JournalError> {
        self.clock.while_at_work(self.journal.history(name)).await
    }

    async fn keys(&self, home: &Home) -> Result<Vec<KnownKey>, JournalError> {
        self.clock.while_at_work(self.journal.keys(home)).await
    }

    async fn key(&self, sid: &KeySid) -> Result<Option<KnownKey>, JournalError> {
        self.clock.while_at_work(self.journal.key(sid)).await
    }

    async fn attempt(&self, attempt: AttemptId) -> Result<Option<KnownAttempt>, JournalError> {
        self.clock.while_at_work(self.journal.attempt(attempt)).await
    }

    async fn deletes_since(&self, home: &Home, since: Uptime, except: Option<&KeySid>) -> Result<u32, JournalError> {
        self.clock.while_at_work(self.journal.deletes_since(home, since, except)).await
    }

    async fn attempts_since(&self, home: &Home, since: Uptime) -> Result<Attempts, JournalError> {
        self.clock.while_at_work(self.journal.attempts_since(home, since)).await
    }

    async fn ask(&self, request: Request) -> Result<(), JournalError> {
        self.clock.while_at_work(self.journal.ask(request)).await
    }

    async fn requests(&self) -> Result<Vec<(i64, Request)>, JournalError> {
        self.clock.while_at_work(self.journal.requests()).await
    }

    async fn answered(&self, number: i64) -> Result<(), JournalError> {
        self.clock.while_at_work(self.journal.answered(number)).await
    }

    async fn checkpoint(&self, running: Duration) -> Result<(), JournalError> {
        self.clock.while_at_work(self.journal.checkpoint(running)).await
    }

    async fn note_breakers(&self, open: Vec<(Home, Breaker)>) -> Result<(), JournalError> {
        self.clock.while_at_work(self.journal.note_breakers(open)).await
    }

    async fn breakers(&self) -> Result<Vec<(Home, Breaker)>, JournalError> {
        self.clock.while_at_work(self.journal.breakers()).await
    }

    async fn hold_deletes(&self, evidence: &str, until: Uptime) -> Result<(), JournalError> {
        self.clock.while_at_work(self.journal.hold_deletes(evidence, until)).await
    }
}

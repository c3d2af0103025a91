//! The journal with points around every entry; everything else goes straight through.

use super::Points;
use crate::model::event::{Entry, Event};
use crate::model::home::Home;
use crate::model::key::{AttemptId, KeySid, LabelKey};
use crate::model::names::CredentialName;
use crate::model::reason::Breaker;
use crate::model::time::{Moment, Uptime};
use crate::ports::{
    Attempts, Claim, Enrolled, Journal, JournalError, KnownAttempt, KnownKey, Page, PassOver, Refused, Request, Row,
    Taken,
};
use async_trait::async_trait;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

pub(super) struct AroundJournal {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) points: &'static Points,
}

#[async_trait]
impl Journal for AroundJournal {
    fn label_key(&self) -> LabelKey {
        self.journal.label_key()
    }

    fn uptime(&self, running: Duration) -> Uptime {
        self.journal.uptime(running)
    }

    async fn deletes_held_until(&self) -> Result<Option<Uptime>, JournalError> {
        self.journal.deletes_held_until().await
    }

    async fn enrol(&self, credentials: Vec<Enrolled>) -> Result<(), JournalError> {
        self.journal.enrol(credentials).await
    }

    async fn rows(&self) -> Result<Vec<Row>, JournalError> {
        self.journal.rows().await
    }

    async fn rows_after(&self, page: Page<'_>) -> Result<Vec<Row>, JournalError> {
        self.journal.rows_after(page).await
    }

    async fn row(&self, name: &CredentialName) -> Result<Option<Row>, JournalError> {
        self.journal.row(name).await
    }

    async fn take_due(&self, now: Timestamp, limit: usize, but: &PassOver) -> Result<Taken, JournalError> {
        self.journal.take_due(now, limit, but).await
    }

    async fn claim(&self, name: &CredentialName) -> Result<Option<Claim>, JournalError> {
        self.journal.claim(name).await
    }

    async fn renew(&self, claim: &mut Claim) -> Result<bool, JournalError> {
        self.journal.renew(claim).await
    }

    async fn append(&self, claim: Claim, at: Moment, event: Event) -> Result<Claim, Refused> {
        let what = format!("append {}", event.word());
        self.points.around(&what, self.journal.append(claim, at, event)).await
    }

    async fn release(&self, claim: Claim, wake: Option<Timestamp>, waiting: &str) -> Result<(), JournalError> {
        self.journal.release(claim, wake, waiting).await
    }

    async fn history(&self, name: &CredentialName) -> Result<Vec<Entry>, JournalError> {
        self.journal.history(name).await
    }

    async fn keys(&self, home: &Home) -> Result<Vec<KnownKey>, JournalError> {
        self.journal.keys(home).await
    }

    async fn key(&self, sid: &KeySid) -> Result<Option<KnownKey>, JournalError> {
        self.journal.key(sid).await
    }

    async fn attempt(&self, attempt: AttemptId) -> Result<Option<KnownAttempt>, JournalError> {
        self.journal.attempt(attempt).await
    }

    async fn deletes_since(&self, home: &Home, since: Uptime, except: Option<&KeySid>) -> Result<u32, JournalError> {
        self.journal.deletes_since(home, since, except).await
    }

    async fn attempts_since(&self, home: &Home, since: Uptime) -> Result<Attempts, JournalError> {
        self.journal.attempts_since(home, since).await
    }

    async fn ask(&self, request: Request) -> Result<(), JournalError> {
        self.journal.ask(request).await
    }

    async fn requests(&self) -> Result<Vec<(i64, Request)>, JournalError> {
        self.journal.requests().await
    }

    async fn answered(&self, number: i64) -> Result<(), JournalError> {
        self.journal.answered(number).await
    }

    async fn checkpoint(&self, running: Duration) -> Result<(), JournalError> {
        self.journal.checkpoint(running).await
    }

    async fn note_breakers(&self, open: Vec<(Home, Breaker)>) -> Result<(), JournalError> {
        self.journal.note_breakers(open).await
    }

    async fn breakers(&self) -> Result<Vec<(Home, Breaker)>, JournalError> {
        self.journal.breakers().await
    }

    async fn hold_deletes(&self, evidence: &str, until: Uptime) -> Result<(), JournalError> {
        self.journal.hold_deletes(evidence, until).await
    }
}

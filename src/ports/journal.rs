//! The journal's door, and what goes through it.

use crate::model::apply::Misfit;
use crate::model::event::{Entry, Event};
use crate::model::home::Home;
use crate::model::key::{AttemptId, KeySid, LabelKey};
use crate::model::names::{CredentialName, Place};
use crate::model::reason::Breaker;
use crate::model::rotation::State;
use crate::model::time::{Moment, Uptime};
use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// The journal: appending an event is the only way to change a credential's state.
#[async_trait]
pub trait Journal: Send + Sync {
    /// The key that proves labels of this installation.
    fn label_key(&self) -> LabelKey;

    /// The installation's running time, when this process has run for so long.
    fn uptime(&self, running: Duration) -> Uptime;

    /// Deletes are held until this running time, because the journal was found to be older than it should be.
    async fn deletes_held_until(&self) -> Result<Option<Uptime>, JournalError>;

    /// Makes a row for each credential of the policy that has none, and says when each shall be looked at next, unless
    /// an entry was written since that was thought out; rows of credentials that are not named stay, and are never due.
    async fn enrol(&self, credentials: Vec<Enrolled>) -> Result<(), JournalError>;

    /// All rows, by name, for `status`.
    async fn rows(&self) -> Result<Vec<Row>, JournalError>;

    /// Some of the rows, by name.
    async fn rows_after(&self, page: Page<'_>) -> Result<Vec<Row>, JournalError>;

    /// One credential's row, if it has one.
    async fn row(&self, name: &CredentialName) -> Result<Option<Row>, JournalError>;

    /// Takes credentials that are due, the longest waiting first; what another process has is passed over.
    async fn take_due(&self, now: Timestamp, limit: usize, but: &PassOver) -> Result<Taken, JournalError>;

    /// Takes a credential to work on; `None` if it has no row or another process has it.
    async fn claim(&self, name: &CredentialName) -> Result<Option<Claim>, JournalError>;

    /// Makes the claim last; false if another process has the credential now.
    async fn renew(&self, claim: &mut Claim) -> Result<bool, JournalError>;

    /// Applies the event and writes entry and state in one transaction. Consumes the claim and returns the next one,
    /// so that nobody can go on from a state that is not in the journal.
    async fn append(&self, claim: Claim, at: Moment, event: Event) -> Result<Claim, Refused>;

    /// Gives a credential back, and notes when to look again and why not sooner.
    async fn release(&self, claim: Claim, wake: Option<Timestamp>, waiting: &str) -> Result<(), JournalError>;

    /// The history of one credential, oldest first.
    async fn history(&self, name: &CredentialName) -> Result<Vec<Entry>, JournalError>;

    /// Every key there that the journal believes to be alive.
    async fn keys(&self, home: &Home) -> Result<Vec<KnownKey>, JournalError>;

    /// A key, if it was ever ours.
    async fn key(&self, sid: &KeySid) -> Result<Option<KnownKey>, JournalError>;

    /// An attempt, if this journal decided it.
    async fn attempt(&self, attempt: AttemptId) -> Result<Option<KnownAttempt>, JournalError>;

    /// The deletes decided there since then, other than of this key.
    async fn deletes_since(&self, home: &Home, since: Uptime, except: Option<&KeySid>) -> Result<u32, JournalError>;

    /// Attempts started there, and keys given up for another reason than a restart, since then.
    async fn attempts_since(&self, home: &Home, since: Uptime) -> Result<Attempts, JournalError>;

    /// Leaves a request for the daemon.
    async fn ask(&self, request: Request) -> Result<(), JournalError>;

    /// The requests that were left and not answered, oldest first, each with its number.
    async fn requests(&self) -> Result<Vec<(i64, Request)>, JournalError>;

    /// Takes an answered request away.
    async fn answered(&self, number: i64) -> Result<(), JournalError>;

    /// Notes that this process has run for so long, so that a crash loses little of the running time.
    async fn checkpoint(&self, running: Duration) -> Result<(), JournalError>;

    /// Notes which breakers are open, in place of what was noted before.
    async fn note_breakers(&self, open: Vec<(Home, Breaker)>) -> Result<(), JournalError>;

    /// The breakers that were last noted to be open.
    async fn breakers(&self) -> Result<Vec<(Home, Breaker)>, JournalError>;

    /// Holds deletes until then, because something shows that the journal is older than what it describes. The same
    /// evidence holds them once only: what it tells of does not go away by itself, and must not stop deletes for ever.
    async fn hold_deletes(&self, evidence: &str, until: Uptime) -> Result<(), JournalError>;
}

/// The right to append to one credential's journal: its state, and the number of its last entry.
#[derive(Debug)]
pub struct Claim {
    /// The credential.
    pub name: CredentialName,
    /// Where its keys live, as enrolled.
    pub home: Home,
    /// The last entry's number.
    pub seq: u64,
    /// The state after it.
    pub state: State,
    /// The fencing token: grows each time that the credential is taken from somebody.
    pub token: u64,
    /// Until when nobody else can take it, in running time of this process; none if nobody else ever can.
    pub leased_until: Option<Duration>,
}

/// What was taken to work on.
#[derive(Debug)]
pub struct Taken {
    /// Ours now, the longest waiting first.
    pub claims: Vec<Claim>,
    /// What else is due is another process's for so long, unless that goes on.
    pub again: Option<Duration>,
}

/// What is not to be taken although it is due.
#[derive(Debug, Default, Serialize)]
pub struct PassOver {
    /// What tasks of this process have already.
    pub names: BTreeSet<CredentialName>,
    /// What lives where nothing is known of it yet.
    pub homes: BTreeSet<Home>,
}

/// Which rows are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Page<'p> {
    /// What their names begin with.
    pub prefix: &'p str,
    /// Those behind this one.
    pub after: Option<&'p CredentialName>,
    /// So many at the most.
    pub limit: usize,
}

/// One credential as the journal holds it.
#[derive(Debug, Clone)]
pub struct Row {
    /// The credential.
    pub name: CredentialName,
    /// Where its keys live, as enrolled.
    pub home: Home,
    /// The last entry's number.
    pub seq: u64,
    /// The state after it.
    pub state: State,
    /// When it will be looked at next.
    pub wake: Option<Timestamp>,
    /// Why not sooner.
    pub waiting: String,
}

/// A credential of the policy, and when it shall be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The credential.
    pub name: CredentialName,
    /// Where its keys live, as the policy says.
    pub home: Home,
    /// When to look at it; never, if none.
    pub wake: Option<Timestamp>,
    /// The last entry that this was thought out from. Who writes a later one says himself when to look again, and
    /// knows better.
    pub seq: u64,
}

/// A key the journal knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// The key.
    pub sid: KeySid,
    /// The credential it is or was of.
    pub credential: CredentialName,
    /// The attempt that made it; none for an adopted key.
    pub attempt: Option<AttemptId>,
    /// Whether it was seen to be gone.
    pub gone: bool,
}

/// An attempt the journal decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownAttempt {
    /// The credential.
    pub credential: CredentialName,
    /// When it was decided.
    pub intended: Moment,
    /// The key it made, if that is known.
    pub sid: Option<KeySid>,
}

/// How the attempts of an account went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Decided.
    pub started: u32,
    /// Given up because Twilio or the sinks would not have them.
    pub abandoned: u32,
}

/// What an operator asks of the daemon, through the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The credential.
    pub credential: CredentialName,
    /// Who asks.
    pub by: String,
    /// What.
    pub ask: Ask,
}

/// The kinds of request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// Rotate now.
    Rotate,
    /// Go on after a halt.
    Resume {
        /// Replace whatever the sinks hold.
        overwrite: bool,
        /// Places that no longer count.
        forget: BTreeSet<Place>,
    },
}

/// The journal could not do it. Nothing external may be changed before it can.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It can not be written or read just now.
    #[error("the journal can not be used: {0}")]
    Unavailable(String),
    /// What it holds can not be right.
    #[error("the journal is damaged: {0}")]
    Corrupt(String),
}

/// An append that did not happen.
#[derive(Debug)]
pub enum Refused {
    /// The journal is not writable now; the claim is returned so that the caller can wait and try again.
    Unavailable(Box<Claim>, JournalError),
    /// Somebody else appended in the meantime: drop everything that was known.
    Fenced,
    /// More deletes were decided in the account than its limit leaves room for; the claim is returned to decide again.
    Overspent(Box<Claim>),
    /// The event cannot follow; the claim is returned.
    Misfit(Box<Claim>, Misfit),
}

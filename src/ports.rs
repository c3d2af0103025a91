//! Every way the daemon can touch the world, on one page.
//!
//! The engine knows these five traits and nothing behind them; each adapter implements one and knows one vendor.

use crate::model::apply::Misfit;
use crate::model::document::{Names, Pair, Seen};
use crate::model::event::{Entry, Event};
use crate::model::fault::Outcome;
use crate::model::key::{AccountSid, AttemptId, KeyFacts, KeySid, Label, LabelKey};
use crate::model::names::{CredentialName, Place, Version};
use crate::model::reason::Breaker;
use crate::model::rotation::State;
use crate::model::secret::Secret;
use crate::model::time::{Moment, Uptime};
use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// Twilio: makes, shows and deletes keys, and tells whether a pair works.
#[async_trait]
pub trait Issuer: Send + Sync {
    /// Creates a key; exactly one request is sent, whatever happens to it.
    async fn create(&self, account: &AccountSid, label: &Label) -> Outcome<NewKey>;

    /// Every key of the account, all pages, each key once. Only a hint: a key may be missing from it (rule 16).
    async fn list(&self, account: &AccountSid) -> Outcome<Vec<KeyFacts>>;

    /// One key by its SID; `None` if Twilio says that it does not exist. This is a fact.
    async fn fetch(&self, account: &AccountSid, sid: &KeySid) -> Outcome<Option<KeyFacts>>;

    /// Deletes one key; a key that does not exist counts as deleted.
    async fn delete(&self, account: &AccountSid, sid: &KeySid) -> Outcome<()>;

    /// Calls an ordinary resource with the pair, as a consumer would.
    async fn probe(&self, account: &AccountSid, sid: &KeySid, secret: &Secret) -> Outcome<Verdict>;

    /// Whether the account may be worked on.
    async fn standing(&self, account: &AccountSid) -> Outcome<Standing>;

    /// The last `Date` header, and the local monotonic time at which it came.
    fn date(&self) -> Option<(Timestamp, Duration)>;
}

/// A key as Twilio answered its creation: the only time its secret is ever shown.
pub struct NewKey {
    /// What is known of it.
    pub facts: KeyFacts,
    /// Its secret.
    pub secret: Secret,
}

/// What Twilio says to a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The pair works.
    Works,
    /// The pair is not accepted (HTTP 401 with another code than 70051).
    Refused,
}

/// What Twilio says of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Active, or not told.
    Active,
    /// Suspended: may come back.
    Suspended,
    /// Closed: will not.
    Closed,
}

/// A place that serves secrets: every write names the version it replaces.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Reads what a consumer would read now, and whether the pair of `attempt` lies there staged.
    async fn read(&self, place: &Place, names: &Names, attempt: Option<AttemptId>) -> Outcome<Reading>;

    /// Replaces exactly version `base` by the pair; members that are not ours stay.
    async fn publish(&self, place: &Place, names: &Names, pair: &Pair, base: &Version) -> Outcome<Written>;

    /// Writes the present content again over exactly version `base`, so that every write delayed since then fails.
    async fn fence(&self, place: &Place, names: &Names, token: AttemptId, base: &Version) -> Outcome<Written>;

    /// Whether a value can be stored here before it is served; such sinks are written first (protocol, b.3).
    fn stages(&self) -> bool {
        false
    }
}

/// What a sink showed: the facts, and beside them the secrets.
pub struct Reading {
    /// The facts.
    pub seen: Seen,
    /// The secret that is served, if the content is a pair that has one.
    pub secret: Option<Secret>,
    /// The secret of the attempt asked about, if it lies there staged.
    pub staged: Option<Secret>,
}

/// How a compare-and-set ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It was written; this is the new version.
    At(Version),
    /// Another version was there; nothing was written.
    Conflict,
}

/// The journal: appending an event is the only way to change a credential's state.
#[async_trait]
pub trait Journal: Send + Sync {
    /// The key that proves labels of this installation.
    fn label_key(&self) -> LabelKey;

    /// The installation's running time, when this process has run for so long.
    fn uptime(&self, running: Duration) -> Uptime;

    /// Deletes are held until this running time, because the journal was found to be older than it should be.
    async fn deletes_held_until(&self) -> Result<Option<Uptime>, JournalError>;

    /// Makes a row for each credential of the policy that has none, and says when each shall be looked at next; rows of
    /// credentials that are not named stay, and are never due.
    async fn enrol(&self, wakes: Vec<(CredentialName, AccountSid, Option<Timestamp>)>) -> Result<(), JournalError>;

    /// All rows, for the start and for `status`.
    async fn rows(&self) -> Result<Vec<Row>, JournalError>;

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

    /// Every key of the account that the journal believes to be alive.
    async fn keys(&self, account: &AccountSid) -> Result<Vec<KnownKey>, JournalError>;

    /// A key, if it was ever ours.
    async fn key(&self, sid: &KeySid) -> Result<Option<KnownKey>, JournalError>;

    /// An attempt, if this journal decided it.
    async fn attempt(&self, attempt: AttemptId) -> Result<Option<KnownAttempt>, JournalError>;

    /// The deletes decided in the account since then, other than of this key.
    async fn deletes_since(
        &self,
        account: &AccountSid,
        since: Uptime,
        except: Option<&KeySid>,
    ) -> Result<u32, JournalError>;

    /// Attempts of the account started, and keys given up for another reason than a restart, since then.
    async fn attempts_since(&self, account: &AccountSid, since: Uptime) -> Result<Attempts, JournalError>;

    /// Leaves a request for the daemon.
    async fn ask(&self, request: Request) -> Result<(), JournalError>;

    /// The requests that were left and not answered, oldest first, each with its number.
    async fn requests(&self) -> Result<Vec<(i64, Request)>, JournalError>;

    /// Takes an answered request away.
    async fn answered(&self, number: i64) -> Result<(), JournalError>;

    /// Notes that this process has run for so long, so that a crash loses little of the running time.
    async fn checkpoint(&self, running: Duration) -> Result<(), JournalError>;

    /// Notes which breakers are open, in place of what was noted before.
    async fn note_breakers(&self, open: Vec<(AccountSid, Breaker)>) -> Result<(), JournalError>;

    /// The breakers that were last noted to be open.
    async fn breakers(&self) -> Result<Vec<(AccountSid, Breaker)>, JournalError>;

    /// Holds deletes until then, because something shows that the journal is older than what it describes. The same
    /// evidence holds them once only: what it tells of does not go away by itself, and must not stop deletes for ever.
    async fn hold_deletes(&self, evidence: &str, until: Uptime) -> Result<(), JournalError>;
}

/// The right to append to one credential's journal: its state, and the number of its last entry.
#[derive(Debug)]
pub struct Claim {
    /// The credential.
    pub name: CredentialName,
    /// The account, as enrolled.
    pub account: AccountSid,
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
    /// Accounts of which nothing is known yet.
    pub accounts: BTreeSet<AccountSid>,
}

/// One credential as the journal holds it.
#[derive(Debug, Clone)]
pub struct Row {
    /// The credential.
    pub name: CredentialName,
    /// The account, as enrolled.
    pub account: AccountSid,
    /// The last entry's number.
    pub seq: u64,
    /// The state after it.
    pub state: State,
    /// When it will be looked at next.
    pub wake: Option<Timestamp>,
    /// Why not sooner.
    pub waiting: String,
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
    /// More deletes were decided in the account than the decision knew of; the claim is returned to decide again.
    Overspent(Box<Claim>),
    /// The event cannot follow; the claim is returned.
    Misfit(Box<Claim>, Misfit),
}

/// Time and chance: what pure code must be given.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn wall(&self) -> Timestamp;
    /// Monotonic time since the process started.
    fn running(&self) -> Duration;
    /// Waits.
    async fn sleep(&self, duration: Duration);
    /// A new attempt id, never used before.
    fn attempt(&self) -> AttemptId;
}

/// Sees what happens, for metrics and logs. It must not wait for anything.
pub trait Observer: Send + Sync {
    /// An entry was written.
    fn recorded(&self, name: &CredentialName, before: &State, entry: &Entry, after: &State);
    /// A credential was given back.
    fn released(&self, name: &CredentialName, state: &State, wake: Option<Timestamp>, waiting: &str);
    /// A call to the outside ended.
    fn called(&self, call: Call<'_>);
    /// A breaker of an account is open or closed.
    fn breaker(&self, account: &AccountSid, breaker: Breaker, open: bool);
    /// Keys seen in an account that look like ours and can not be told to be.
    fn unexplained(&self, account: &AccountSid, keys: usize);
}

/// One call to the outside.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// `twilio`, or the sink's name.
    pub peer: &'a str,
    /// Which operation.
    pub operation: &'static str,
    /// How it ended: `done`, or the fault.
    pub outcome: &'static str,
    /// How long it took.
    pub took: Duration,
}

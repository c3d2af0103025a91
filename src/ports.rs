//! Every way the daemon can touch the world, on two pages: this one, and the journal's.
//!
//! The engine knows these five traits and nothing behind them; each adapter implements one and knows one vendor.

mod journal;
mod subaccount;
mod tokens;
mod workloads;

use crate::model::document::{Names, Pair, Seen};
use crate::model::event::Entry;
use crate::model::fault::Outcome;
use crate::model::home::Home;
use crate::model::key::{AttemptId, KeyFacts, KeySid, Label};
use crate::model::names::{CredentialName, Place, Version};
use crate::model::permission::{Granted, Permissions};
use crate::model::reason::Breaker;
use crate::model::rotation::State;
use crate::model::secret::Secret;
use async_trait::async_trait;
use jiff::Timestamp;
pub use journal::{
    Ask, Attempts, Claim, Enrolled, Journal, JournalError, KnownAttempt, KnownKey, Page, PassOver, Refused, Request,
    Row, Taken,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
pub use subaccount::{KeyPair, Landlord, Ledger, Proof, Seed};
pub use tokens::{TokenPlace, Tokens};
use url::Url;
pub use workloads::Workloads;

/// Twilio: makes, shows and deletes keys, and tells whether a pair works.
#[async_trait]
pub trait Issuer: Tokens {
    /// Creates a key; exactly one request is sent, whatever happens to it.
    async fn create(&self, home: &Home, label: &Label, make: Make<'_>) -> Outcome<NewKey>;

    /// Every key that lives there, all pages, each key once. Only a hint: a key may be missing from it (rule 16).
    async fn list(&self, home: &Home) -> Outcome<Vec<KeyFacts>>;

    /// One key by its SID; `None` if Twilio says that it does not exist. This is a fact.
    async fn fetch(&self, home: &Home, sid: &KeySid) -> Outcome<Option<KeyFacts>>;

    /// What one key may do.
    async fn permissions(&self, home: &Home, sid: &KeySid) -> Outcome<Granted>;

    /// Deletes one key; a key that does not exist counts as deleted.
    async fn delete(&self, home: &Home, sid: &KeySid) -> Outcome<()>;

    /// Calls an ordinary resource with the pair, as a consumer would, or the one at that address.
    async fn probe(&self, home: &Home, sid: &KeySid, secret: &Secret, at: Option<&Url>) -> Outcome<Verdict>;

    /// Whether the account may be worked on.
    async fn standing(&self, home: &Home) -> Outcome<Standing>;

    /// The keys that this signs in with, and the public keys that its requests are checked with, and where each lives:
    /// none of them may ever be deleted (S11).
    fn roots(&self) -> BTreeMap<KeySid, Home>;

    /// The keys among them that this signs in with.
    fn main_keys(&self) -> BTreeMap<KeySid, Home> {
        self.roots().into_iter().filter(|(sid, _)| sid.is_api_key()).collect()
    }

    /// The last `Date` header, and the local monotonic time at which it came.
    fn date(&self) -> Option<(Timestamp, Duration)>;
}

/// What is to be made.
#[derive(Clone, Copy)]
pub enum Make<'m> {
    /// An ordinary API key.
    Standard,
    /// An API key that may do only this.
    Restricted(&'m Permissions),
    /// A key pair: made here, and its public half registered.
    KeyPair,
    /// A secondary auth token of the account.
    AuthToken {
        /// The account's token as a place serves it: what may make another.
        served: Option<&'m Secret>,
        /// Twilio is asked not to write to the account's owners and administrators.
        quiet: bool,
    },
}

/// A key as Twilio answered its creation, or as it was made here: the only time its secret is ever seen.
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
    /// A breaker of an account, in one region, is open or closed.
    fn breaker(&self, home: &Home, breaker: Breaker, open: bool);
    /// Keys seen in an account that look like ours and can not be told to be.
    fn unexplained(&self, home: &Home, keys: usize);
    /// A key that the daemon signs in with, and when it was made, once that is known.
    fn main_key(&self, home: &Home, key: &KeySid, created: Option<Timestamp>);
    /// A pass was made, and the journal answered all of it.
    fn passed(&self) {}
    /// A credential is so by the journal; another process may have made it so.
    fn seen(&self, _name: &CredentialName, _state: &State) {}
    /// What a consumer of this credential has at a place was found out.
    fn served(&self, name: &CredentialName, served: Served<'_>);
}

/// What a consumer has at a place.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    /// Where.
    pub place: &'a Place,
    /// When that was so.
    pub at: Timestamp,
    /// Why it is of no use; none if Twilio accepts it.
    pub flaw: Option<&'a str>,
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

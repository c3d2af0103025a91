//! What the engine knows of each account, in each region that it is used in: open breakers, standing, and the one list of
//! keys that everybody shares.

use super::Engine;
use super::pace::Pace;
use super::weather::Told;
use crate::decide::Weather;
use crate::decide::breaker::over_a_fifth;
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::home::Home;
use crate::model::key::{AttemptId, KeyFacts, KeySid, Label};
use crate::model::names::CredentialName;
use crate::model::policy::Policy;
use crate::model::reason::{Breaker, Halt};
use crate::model::rotation::State;
use crate::model::time::Uptime;
use crate::ports::Standing;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The accounts of the policy.
pub(super) struct Accounts(BTreeMap<Home, Account>);

/// One account, in one region: there the keys are one set, managed with one thing.
pub(super) struct Account {
    /// Which.
    pub(super) home: Home,
    /// Calls to Twilio at the same time.
    pub(super) pace: Pace,
    /// What the journal said of it lately.
    pub(super) told: tokio::sync::Mutex<Option<Told>>,
    listing: tokio::sync::Mutex<Option<Arc<Listing>>>,
    notes: Mutex<Notes>,
}

/// What changes.
struct Notes {
    breakers: BTreeSet<Breaker>,
    standing: Standing,
    deletes: u32,
    credentials: usize,
    refused: BTreeSet<CredentialName>,
    drifting: BTreeSet<CredentialName>,
    missed: BTreeSet<KeySid>,
    sweep: Sweep,
    tried: bool,
}

/// When the next sweep is due.
#[derive(Clone, Copy)]
struct Sweep {
    at: Uptime,
    failures: u32,
    running: bool,
}

/// All keys of an account at one time, found by label.
pub(super) struct Listing {
    /// When the first page was asked for: keys made before that may be missing, keys made after it count for nothing.
    pub(super) started: Uptime,
    /// The keys.
    pub(super) keys: Vec<KeyFacts>,
    by_attempt: BTreeMap<AttemptId, Vec<usize>>,
}

impl Listing {
    fn new(started: Uptime, keys: Vec<KeyFacts>) -> Self {
        let mut by_attempt: BTreeMap<AttemptId, Vec<usize>> = BTreeMap::new();
        for (index, key) in keys.iter().enumerate() {
            if let Some(label) = key.label.as_deref().and_then(Label::parse) {
                by_attempt.entry(label.attempt).or_default().push(index);
            }
        }
        Self { started, keys, by_attempt }
    }

    /// The keys that carry this attempt's label.
    pub(super) fn labelled(&self, attempt: AttemptId) -> Vec<KeyFacts> {
        let indices = self.by_attempt.get(&attempt).into_iter().flatten();
        indices.filter_map(|index| self.keys.get(*index).cloned()).collect()
    }

    /// Every attempt that is named by a key which is not one of these.
    pub(super) fn attempts_beside(&self, alive: &BTreeSet<&KeySid>) -> impl Iterator<Item = AttemptId> {
        let other = |index: &usize| self.keys.get(*index).is_some_and(|key| !alive.contains(&key.sid));
        self.by_attempt.iter().filter(move |(_, keys)| keys.iter().any(other)).map(|(attempt, _)| *attempt)
    }
}

impl Accounts {
    pub(super) fn new(policy: &Policy) -> Self {
        let mut sizes: BTreeMap<Home, usize> = BTreeMap::new();
        for rules in policy.credentials.values() {
            *sizes.entry(rules.home.clone()).or_default() += 1;
        }
        let account = |(home, deletes): (Home, u32)| {
            let notes = Notes {
                breakers: BTreeSet::from([Breaker::Unlisted]),
                standing: Standing::Active,
                deletes,
                credentials: sizes.get(&home).copied().unwrap_or_default(),
                refused: BTreeSet::new(),
                drifting: BTreeSet::new(),
                missed: BTreeSet::new(),
                sweep: Sweep { at: Uptime(0), failures: 0, running: false },
                tried: false,
            };
            let account = Account {
                home: home.clone(),
                pace: Pace::new(policy.limits.account_calls),
                told: tokio::sync::Mutex::new(None),
                listing: tokio::sync::Mutex::new(None),
                notes: Mutex::new(notes),
            };
            (home, account)
        };
        Self(policy.delete_budgets().into_iter().map(account).collect())
    }

    pub(super) fn get(&self, home: &Home) -> Option<&Account> {
        self.0.get(home)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Account> {
        self.0.values()
    }
}

impl Account {
    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What holds for every credential of the account, less what only the journal knows.
    pub(super) fn weather(&self) -> Weather {
        let notes = self.notes();
        let mut breakers = notes.breakers.clone();
        if !notes.refused.is_empty() {
            breakers.insert(Breaker::PairRefused);
        }
        if over_a_fifth(notes.drifting.len(), notes.credentials) {
            breakers.insert(Breaker::SinksDrifting);
        }
        Weather { breakers, standing: notes.standing, deletes: (notes.deletes, 0), held: Duration::ZERO, turn: None }
    }

    /// The breakers that are open, with the account.
    pub(super) fn open(&self) -> Vec<(Home, Breaker)> {
        self.weather().breakers.into_iter().map(|breaker| (self.home.clone(), breaker)).collect()
    }

    /// Keeps count of the credentials that are halted for a reason that concerns the whole account.
    pub(super) fn note(&self, name: &CredentialName, state: &State) {
        let halt = state.halted.as_ref().map(|halted| halted.halt);
        let drifts = matches!(halt, Some(Halt::Drift | Halt::PlaceGone | Halt::ForeignContent | Halt::JournalStale));
        let mut notes = self.notes();
        put(&mut notes.refused, name, halt == Some(Halt::PairRefused));
        put(&mut notes.drifting, name, drifts);
    }

    /// Opens or closes a breaker; tells whether that changed anything.
    pub(super) fn set(&self, breaker: Breaker, open: bool) -> bool {
        let mut notes = self.notes();
        if open { notes.breakers.insert(breaker) } else { notes.breakers.remove(&breaker) }
    }

    pub(super) fn set_standing(&self, standing: Standing) {
        self.notes().standing = standing;
    }

    /// Takes the sweep if it is due and nobody is at it.
    pub(super) fn begin_sweep(&self, now: Uptime) -> bool {
        let mut notes = self.notes();
        let due = !notes.sweep.running && now >= notes.sweep.at;
        notes.sweep.running |= due;
        due
    }

    /// Whether its first sweep has not ended yet: until then nobody knows what may be done in the account.
    pub(super) fn untouched(&self) -> bool {
        let notes = self.notes();
        notes.sweep.failures == 0 && notes.breakers.contains(&Breaker::Unlisted)
    }

    /// Ends the sweep; `next` is given the number of failures in a row and says how long to wait.
    pub(super) fn end_sweep(&self, now: Uptime, failed: bool, next: impl FnOnce(u32) -> Duration) {
        let mut notes = self.notes();
        let failures = if failed { notes.sweep.failures.saturating_add(1) } else { 0 };
        notes.sweep = Sweep { at: now.plus(next(failures)), failures, running: false };
        notes.tried = true;
    }

    /// Whether its keys were asked for once, whatever came of it.
    pub(super) fn tried(&self) -> bool {
        self.notes().tried
    }

    /// Whether its keys are known: they were listed, and nothing has happened since that calls them into question.
    pub(super) fn listed(&self) -> bool {
        !self.notes().breakers.contains(&Breaker::Unlisted)
    }

    /// Replaces the set of keys that the last sweep missed, and gives back those that the one before missed too.
    pub(super) fn missed_again(&self, missing: &BTreeSet<KeySid>) -> BTreeSet<KeySid> {
        let mut notes = self.notes();
        let again = notes.missed.intersection(missing).cloned().collect();
        notes.missed.clone_from(missing);
        again
    }
}

fn put(set: &mut BTreeSet<CredentialName>, name: &CredentialName, member: bool) {
    if member {
        set.insert(name.clone());
    } else {
        set.remove(name);
    }
}

impl Engine {
    /// The account's keys as listed no earlier than now: whoever asks while a list is under way shares the next one, so
    /// that a thousand credentials cost two lists, not a thousand.
    pub(super) async fn listing(&self, account: &Account) -> Result<Arc<Listing>, Failure> {
        let since = self.local();
        let mut last = account.listing.lock().await;
        if let Some(listing) = last.as_ref().filter(|listing| listing.started >= since) {
            return Ok(listing.clone());
        }
        *last = None;
        let started = self.local();
        let outcome = self.twilio(account, "list", self.ports.issuer.list(&account.home)).await;
        let listing = Arc::new(Listing::new(started, self.judge(account, outcome)?));
        *last = Some(listing.clone());
        Ok(listing)
    }

    /// Drops a list that nobody needs any more.
    pub(super) async fn forget_listing(&self, account: &Account) {
        *account.listing.lock().await = None;
    }

    /// What the end of a call with the Main key says about the account as a whole.
    pub(super) fn judge<T>(&self, account: &Account, outcome: Outcome<T>) -> Result<T, Failure> {
        let answer = outcome.answer();
        match answer.as_ref().err().map(|failure| failure.fault) {
            None => {
                self.set_breaker(account, Breaker::MainKeyRefused, false);
                self.set_breaker(account, Breaker::Shape, false);
            }
            Some(Fault::Unauthorized) => self.set_breaker(account, Breaker::MainKeyRefused, true),
            Some(Fault::Malformed) => self.set_breaker(account, Breaker::Shape, true),
            Some(_) => {}
        }
        answer
    }

    /// Opens or closes a breaker, and says so if that is news.
    pub(super) fn set_breaker(&self, account: &Account, breaker: Breaker, open: bool) {
        if account.set(breaker, open) {
            self.ports.observer.breaker(&account.home, breaker, open);
        }
    }
}

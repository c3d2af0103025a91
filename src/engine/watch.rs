//! The watch on what is served: every place is read as a consumer reads it, and what it serves is tried on Twilio.
//!
//! It looks, and that is all: it has no claim and writes no entry. So it may meet a rotation at any step, and then the old
//! pair and the new one both have to work, which is what consumers meet too. What can not be asked is not told at all; what
//! is of no use is told after several looks that agree. A place that should not show what it shows is looked at again at
//! once by who may act on it.

use super::Engine;
use super::account::Account;
use super::advance::{Held, Lost, Work};
use super::gather::Trials;
use crate::decide::{Sight, backoff, drift};
use crate::model::document::{Content, Names};
use crate::model::fault::{Failure, Fault};
use crate::model::names::{CredentialName, Place, SinkName};
use crate::model::policy::Rules;
use crate::ports::{Reading, Served, Standing, Verdict};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How many credentials are looked at in the same moment: few, for rotations go first.
const LOOKS: usize = 8;
/// How many may be waiting for a look, or between two of them.
const UNDER_WAY: usize = 256;
/// So many looks in a row must find a pair of no use: a rotation may have come between the read and the trial, and one
/// Twilio server may know a key before the next does.
const AGREEING: usize = 3;
/// How long to wait between them, at most.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a sink that did not answer is left alone, at most: waiting for it would keep the others from being looked at.
const SILENCE: Duration = Duration::from_secs(60);
/// How far apart looks are in the first round, which need not take the whole interval.
const APART: Duration = Duration::from_millis(100);

/// What the looks of a watch share.
struct Watch {
    every: Duration,
    looks: Semaphore,
    silent: Mutex<BTreeMap<SinkName, Duration>>,
}

/// What a look has found out about a credential.
#[derive(Default)]
struct Findings {
    /// Places that may be of no use, or should not show what they show: to be looked at once more.
    doubtful: BTreeSet<Place>,
    /// Some place should not show what it shows.
    unexpected: bool,
}

impl Engine {
    /// Watches until the engine stops. It only reads, so it may be cut anywhere.
    pub(super) async fn watch(&self) {
        let Some(every) = self.policy.timing.watch else { return };
        let watch = Watch { every, looks: Semaphore::new(LOOKS), silent: Mutex::default() };
        let rounds = async {
            self.first_sweeps().await;
            let credentials = u32::try_from(self.policy.credentials.len()).unwrap_or(u32::MAX);
            let mut span = every.min(APART.saturating_mul(credentials));
            loop {
                self.round(&watch, span).await;
                span = every;
            }
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = rounds => {}
        }
    }

    /// Waits until each account was swept: whether one is suspended is not known before.
    async fn first_sweeps(&self) {
        loop {
            let swept = self.swept.notified();
            if !self.accounts.iter().any(Account::untouched) {
                return;
            }
            swept.await;
        }
    }

    /// Looks at each credential once, each at a moment of its own. One timer for all of them.
    async fn round(&self, watch: &Watch, span: Duration) {
        let start = self.ports.clock.running();
        let turn = |rules: &Rules| backoff::spread(rules.name.as_str(), span);
        let mut turns: Vec<&Rules> = self.policy.credentials.values().collect();
        turns.sort_by_cached_key(|rules| turn(rules));
        let due = stream::iter(turns).then(|rules| async move {
            self.sleep_until(start + turn(rules)).await;
            rules
        });
        due.for_each_concurrent(UNDER_WAY, |rules| self.watch_one(watch, rules)).await;
        self.sleep_until(start + span).await;
    }

    async fn sleep_until(&self, at: Duration) {
        let left = at.saturating_sub(self.ports.clock.running());
        if !left.is_zero() {
            self.ports.clock.sleep(left).await;
        }
    }

    /// Looks at one credential, and again at what is in doubt.
    async fn watch_one(&self, watch: &Watch, rules: &Rules) {
        let Some(account) = self.accounts.get(&rules.home) else { return };
        let mut places: BTreeSet<Place> = rules.places.iter().cloned().collect();
        for looks_left in (0..AGREEING).rev() {
            let turn = watch.looks.acquire().await;
            let found = self.look_as_consumer(watch, (rules, account), places, looks_left == 0).await;
            drop(turn);
            if found.doubtful.is_empty() {
                return;
            }
            if looks_left == 0 && found.unexpected {
                self.wake_one(&rules.name).await;
            }
            if looks_left > 0 {
                self.ports.clock.sleep(PAUSE.min(watch.every / 6)).await;
            }
            places = found.doubtful;
        }
    }

    /// Reads those of the places that should serve the credential, and tries what they serve. What works is told; what
    /// does not is told at the last look only.
    async fn look_as_consumer(
        &self,
        watch: &Watch,
        (rules, account): (&Rules, &Account),
        places: BTreeSet<Place>,
        last: bool,
    ) -> Findings {
        let mut found = Findings::default();
        let state = match self.ports.journal.row(&rules.name).await {
            Ok(row) => row.map(|row| row.state).unwrap_or_default(),
            Err(error) => {
                tracing::debug!(credential = %rules.name, %error, "it is not known what should be served");
                return found;
            }
        };
        // Its keys live in another account as long as nobody has settled that.
        let elsewhere = state.home.as_ref().is_some_and(|home| *home != rules.home);
        if elsewhere || account.weather().standing != Standing::Active {
            return found;
        }
        let serves = |place: &Place| state.current.as_ref().is_some_and(|current| current.places.contains_key(place));
        let names = state.names(&rules.members);
        let places: Vec<Place> = places.into_iter().filter(serves).collect();
        let readings = join_all(places.iter().map(|place| self.read_unless_silent(watch, place, &names))).await;
        let mut trials = Trials::default();
        for (place, reading) in places.into_iter().zip(readings) {
            let Some(reading) = reading else { continue };
            let unexpected = drift::unexpected(&state, reading.seen.content.sid());
            let flaw = match self.flaw(rules, account, &mut trials, &reading).await {
                Ok(flaw) => flaw,
                Err(failure) => {
                    tracing::debug!(credential = %rules.name, %place, %failure, "what is served could not be tried");
                    continue;
                }
            };
            if flaw.is_some() && last && !self.is_active(account).await {
                continue;
            }
            if last || flaw.is_none() {
                let at = self.ports.clock.wall();
                self.ports.observer.served(&rules.name, Served { place: &place, at, flaw: flaw.as_deref() });
            }
            if unexpected || flaw.is_some() {
                found.doubtful.insert(place);
            }
            found.unexpected |= unexpected;
        }
        found
    }

    /// Whether the account is in use, as far as Twilio says: in one that was suspended since the last sweep no pair works.
    async fn is_active(&self, account: &Account) -> bool {
        let standing = self.twilio(account, "standing", self.ports.issuer.standing(&account.home)).await;
        // Silence is no verdict.
        if let Ok(standing) = standing.answer() {
            account.set_standing(standing);
        }
        account.weather().standing == Standing::Active
    }

    /// Reads a place; nothing if it can not be read now.
    async fn read_unless_silent(&self, watch: &Watch, place: &Place, names: &Names) -> Option<Reading> {
        let silent = || watch.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if silent().get(&place.sink).is_some_and(|until| self.ports.clock.running() < *until) {
            return None;
        }
        let failure = match self.read(place, names, None).await {
            Ok((reading, _)) => return Some(reading),
            Err(failure) => failure,
        };
        tracing::debug!(%failure, "what is served could not be read");
        if matches!(failure.fault, Fault::Unreachable | Fault::Timeout) {
            let until = self.ports.clock.running() + SILENCE.min(watch.every / 6);
            silent().insert(place.sink.clone(), until);
        }
        None
    }

    /// Why what a place shows is of no use to a consumer; none if Twilio accepts it.
    async fn flaw(
        &self,
        rules: &Rules,
        account: &Account,
        trials: &mut Trials,
        reading: &Reading,
    ) -> Result<Option<String>, Failure> {
        let sid = match (&reading.seen.content, &reading.secret) {
            (Content::Absent | Content::Blank, _) => return Ok(Some("it holds no key".to_owned())),
            (Content::Foreign, _) => return Ok(Some("it holds something that is not a key pair".to_owned())),
            (Content::Pair { sid, .. }, None) => return Ok(Some(format!("it holds {sid} without a secret"))),
            (Content::Pair { sid, .. }, Some(secret)) => match self.trial(rules, account, trials, sid, secret).await? {
                Verdict::Works => return Ok(None),
                Verdict::Refused => sid,
            },
        };
        Ok(Some(format!("Twilio refuses the pair {sid}")))
    }

    /// Lets the credential be looked at now by who may act on what is found; who works on it already looks by himself.
    async fn wake_one(&self, name: &CredentialName) {
        if !self.take(name) {
            return;
        }
        let released = self.claim_and_release(name).await;
        self.give_back(name);
        match released {
            Ok(()) => self.wake(),
            Err(Lost::Claim | Lost::Overspent(_)) => {}
            Err(Lost::Journal(error)) => {
                tracing::debug!(credential = %name, %error, "what the watch found could not be noted");
            }
        }
    }

    async fn claim_and_release(&self, name: &CredentialName) -> Result<(), Lost> {
        let Some(claim) = self.ports.journal.claim(name).await? else { return Ok(()) };
        let work = Work { claim, held: Held::default(), sight: Sight::default() };
        self.release(work, Some(Duration::ZERO), "a place shows what nobody expected").await
    }
}

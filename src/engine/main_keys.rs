//! How old the Main keys are: only a person can replace one, and has to be reminded of it.
//!
//! The date never changes, so it is asked for until it is known: in the list that the sweep of an account has made anyway,
//! and by SID where the key is not in that list, or is of an account that is not swept.

use super::Engine;
use super::account::{Account, Listing};
use crate::model::fault::{Fault, Outcome};
use crate::model::home::Home;
use crate::model::key::KeySid;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The Main keys, and where each lives.
pub(super) struct MainKeys {
    all: BTreeMap<KeySid, Home>,
    /// Those whose age is not known and that nobody asks for just now.
    undated: Mutex<BTreeMap<KeySid, Home>>,
}

impl MainKeys {
    pub(super) fn new(all: BTreeMap<KeySid, Home>) -> Self {
        Self { undated: Mutex::new(all.clone()), all }
    }

    /// Takes those out that fit, so that nobody else asks for them.
    fn take(&self, fits: impl Fn(&Home) -> bool) -> BTreeMap<KeySid, Home> {
        let mut undated = self.undated.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, left) = std::mem::take(&mut *undated).into_iter().partition(|(_, home)| fits(home));
        *undated = left;
        taken
    }

    fn put_back(&self, sid: KeySid, home: Home) {
        self.undated.lock().unwrap_or_else(PoisonError::into_inner).insert(sid, home);
    }
}

impl Engine {
    /// Tells who watches what the daemon signs in with.
    pub(super) fn show_main_keys(&self) {
        self.main_keys.all.iter().for_each(|(sid, home)| self.ports.observer.main_key(home, sid, None));
    }

    /// Learns the age of the Main keys of this account, and of those whose own account nobody sweeps.
    pub(super) async fn date_main_keys(&self, account: &Account, listing: &Listing) {
        let fits = |home: &Home| *home == account.home || self.accounts.get(home).is_none();
        for (sid, home) in self.main_keys.take(fits) {
            match listing.keys.iter().find(|key| home == account.home && key.sid.may_be(&sid)) {
                Some(listed) => self.ports.observer.main_key(&home, &sid, Some(listed.created_at)),
                None => self.date_by_sid(account, sid, home).await,
            }
        }
    }

    /// Asks for the key itself. What that says of the key is no verdict on the account.
    async fn date_by_sid(&self, account: &Account, sid: KeySid, home: Home) {
        let outcome = self.twilio(account, "fetch", self.ports.issuer.fetch(&home, &sid)).await;
        match outcome {
            Outcome::Done(Some(facts)) => self.ports.observer.main_key(&home, &sid, Some(facts.created_at)),
            Outcome::NotDone(failure) | Outcome::Unknown(failure) if is_passing(failure.fault) => {
                tracing::debug!(account = %home, key = %sid, %failure, "the age of the Main key was not told yet");
                self.main_keys.put_back(sid, home);
            }
            Outcome::Done(None) | Outcome::NotDone(_) | Outcome::Unknown(_) => {
                tracing::warn!(account = %home, key = %sid, "Twilio does not tell how old the Main key is: mind it yourself");
            }
        }
    }
}

/// Whether another answer can be hoped for from the next sweep.
fn is_passing(fault: Fault) -> bool {
    match fault {
        Fault::Unreachable | Fault::Timeout | Fault::Throttled | Fault::Server | Fault::Malformed | Fault::Local => {
            true
        }
        Fault::Unauthorized
        | Fault::Forbidden
        | Fault::Missing
        | Fault::Conflict
        | Fault::PairRefused
        | Fault::Quota
        | Fault::Refused => false,
    }
}

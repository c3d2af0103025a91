//! The sweep of an account: one list of its keys, compared with what the journal knows. Finds late strays and keys that
//! somebody deleted; reports, and never deletes, what only looks like ours.

use super::Engine;
use super::account::{Account, Listing};
use super::advance::{Held, Lost, Work};
use crate::decide::breaker::keys_vanished;
use crate::decide::ownership::{Ownership, ownership};
use crate::decide::{Sight, backoff};
use crate::model::apply::apply;
use crate::model::event::{Entry, Event};
use crate::model::fault::Failure;
use crate::model::home::Home;
use crate::model::key::{AttemptId, KeyFacts, KeySid, Label};
use crate::model::names::CredentialName;
use crate::model::reason::Breaker;
use crate::model::rotation::DAY;
use crate::model::rule::Rule;
use crate::model::time::{Moment, Uptime};
use crate::ports::{Claim, JournalError, KnownKey};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// Why a sweep did not reach its end.
enum Broken {
    Twilio(Failure),
    Journal(JournalError),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Broken::Twilio(failure)
    }
}

impl From<JournalError> for Broken {
    fn from(error: JournalError) -> Self {
        Broken::Journal(error)
    }
}

impl Engine {
    /// Sweeps one account and sets the time of the next sweep; after a failure it comes sooner.
    pub(super) async fn sweep(&self, home: &Home) {
        let Some(account) = self.accounts.get(home) else { return };
        // A sweep only reads, but for what it notes, and that may be cut anywhere: it does not hold up the end.
        let broken = tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            swept = self.sweep_in_turn(account) => swept.err(),
        };
        match &broken {
            Some(Broken::Twilio(failure)) => tracing::warn!(account = %home, %failure, "the keys could not be listed"),
            Some(Broken::Journal(error)) => tracing::error!(account = %home, %error, "the sweep was broken off"),
            None => {}
        }
        self.forget_listing(account).await;
        let every = self.policy.timing.sweep;
        account.end_sweep(self.now().uptime, broken.is_some(), |failures| match failures {
            0 => every,
            n => backoff::delay(n, &home.to_string()).min(every),
        });
        // Credentials may have waited for the first sweep of their account, and so may the watch.
        self.wake();
        self.swept.notify_waiters();
    }

    async fn sweep_in_turn(&self, account: &Account) -> Result<(), Broken> {
        let _turn = self.sweeps.acquire().await;
        self.sweep_once(account).await
    }

    async fn sweep_once(&self, account: &Account) -> Result<(), Broken> {
        let standing = self.twilio(account, "standing", self.ports.issuer.standing(&account.home)).await;
        match standing.answer() {
            Ok(standing) => account.set_standing(standing),
            // Not every credential may read its account: silence is no verdict.
            Err(failure) => tracing::debug!(account = %account.home, %failure, "the account's standing was not told"),
        }
        let listing = self.listing(account).await?;
        let mut known = self.ports.journal.keys(&account.home).await?;
        // Twilio lists no auth tokens, and shows none by a name.
        known.retain(|key| !key.sid.is_auth_token());
        self.missing(account, &listing, &known).await?;
        self.strays(account, &listing, &known).await?;
        self.set_breaker(account, Breaker::Unlisted, false);
        self.date_main_keys(account, &listing).await;
        Ok(())
    }

    /// Keys that should be there and are not. The list is a hint; each is asked for by its SID, and only that counts.
    async fn missing(&self, account: &Account, listing: &Listing, known: &[KnownKey]) -> Result<(), Broken> {
        let listed: BTreeSet<&KeySid> = listing.keys.iter().map(|key| &key.sid).collect();
        let mut missing = BTreeSet::new();
        for key in known.iter().filter(|key| !listed.contains(&key.sid)) {
            let gone = if Rule::FetchNotList.holds() {
                let outcome = self.twilio(account, "fetch", self.ports.issuer.fetch(&account.home, &key.sid)).await;
                self.judge(account, outcome)?.is_none()
            } else {
                true
            };
            if gone {
                missing.insert(key.sid.clone());
            }
        }
        let vanished = keys_vanished(listing.keys.len(), known.len(), missing.len());
        let again = account.missed_again(&missing);
        // When very many are gone at once, the answer is believed only after it was given twice.
        let believed = if vanished { &again } else { &missing };
        self.set_breaker(account, Breaker::KeysVanished, vanished && again != missing);
        for key in known.iter().filter(|key| believed.contains(&key.sid)) {
            self.note(account, &key.credential, Event::Missing { sid: key.sid.clone() }).await;
        }
        Ok(())
    }

    /// Keys that carry a label of this installation and that no rotation knows.
    async fn strays(&self, account: &Account, listing: &Listing, known: &[KnownKey]) -> Result<(), Broken> {
        let alive: BTreeSet<&KeySid> = known.iter().map(|key| &key.sid).collect();
        let mut unexplained = 0;
        // What the journal knows to be alive needs no proof by its label.
        for attempt in listing.attempts_beside(&alive) {
            let mut keys = listing.labelled(attempt);
            keys.retain(|key| self.names_us(key));
            let named = keys.len();
            keys.retain(|key| self.is_label_of_ours(account, key));
            // Another journal's: made before this one was begun, or by a second installation of our name.
            unexplained += named - keys.len();
            let all_known = keys.iter().all(|key| alive.contains(&key.sid));
            if !all_known {
                unexplained += self.explain(account, attempt, &keys).await?;
            }
        }
        self.ports.observer.unexplained(&account.home, unexplained);
        Ok(())
    }

    fn names_us(&self, key: &KeyFacts) -> bool {
        let label = key.label.as_deref().and_then(Label::parse);
        label.is_some_and(|label| label.instance == self.policy.instance)
    }

    fn is_label_of_ours(&self, account: &Account, key: &KeyFacts) -> bool {
        let label = key.label.as_deref().and_then(Label::parse);
        label.is_some_and(|label| {
            label.instance == self.policy.instance && label.proven(&self.ports.journal.label_key(), &account.home)
        })
    }

    /// Tells a late or resurfaced key of ours from a copy that a person made; answers how many it can not explain.
    async fn explain(&self, account: &Account, attempt: AttemptId, keys: &[KeyFacts]) -> Result<usize, Broken> {
        let Some(decided) = self.ports.journal.attempt(attempt).await? else {
            // Proven to be ours, and the journal has never heard of it: the journal is not what it was.
            tracing::error!(account = %account.home, %attempt, "a key of ours is unknown to the journal: was it restored?");
            let evidence = format!("unknown attempt {attempt}");
            self.ports.journal.hold_deletes(&evidence, self.now().uptime.plus(DAY)).await?;
            self.untold(account).await;
            return Ok(keys.len());
        };
        let found = match &decided.sid {
            None => match ownership(keys, &decided.intended, self.policy.timing.settle) {
                Ownership::Ours(sid) => Some(sid),
                Ownership::None | Ownership::Unclear(_) => None,
            },
            Some(sid) => self.resurfaced(account, sid, keys).await?,
        };
        let explained = match found {
            Some(sid) => self.note(account, &decided.credential, Event::Found { attempt, sid }).await,
            None => false,
        };
        let others = keys.iter().filter(|key| Some(&key.sid) != decided.sid.as_ref()).count();
        Ok(if explained { others.saturating_sub(1) } else { others })
    }

    /// A key that the journal saw gone and the list shows: asked for by its SID.
    async fn resurfaced(&self, account: &Account, sid: &KeySid, keys: &[KeyFacts]) -> Result<Option<KeySid>, Broken> {
        let gone = self.ports.journal.key(sid).await?.is_some_and(|key| key.gone);
        if !gone || !keys.iter().any(|key| &key.sid == sid) {
            return Ok(None);
        }
        let outcome = self.twilio(account, "fetch", self.ports.issuer.fetch(&account.home, sid)).await;
        Ok(self.judge(account, outcome)?.map(|facts| facts.sid))
    }

    /// Writes what a sweep found into the journal of a credential that no task works on just now; the next sweep finds
    /// it again if one does.
    async fn note(&self, account: &Account, name: &CredentialName, event: Event) -> bool {
        if self.rules(name).is_none() || !self.take(name) {
            return false;
        }
        let noted = self.note_taken(account, name, event).await;
        self.give_back(name);
        match noted {
            Ok(noted) => noted,
            Err(Lost::Claim | Lost::Overspent(_)) => false,
            Err(Lost::Journal(error)) => {
                tracing::error!(credential = %name, %error, "what the sweep found could not be noted");
                false
            }
        }
    }

    async fn note_taken(&self, account: &Account, name: &CredentialName, event: Event) -> Result<bool, Lost> {
        let Some(claim) = self.ports.journal.claim(name).await? else { return Ok(false) };
        let mut work = Work { claim, held: Held::default(), sight: Sight::default() };
        let fits = would_fit(&work.claim, &event);
        if fits {
            work = self.append(account, work, event).await?;
        }
        self.release(work, Some(Duration::ZERO), "the sweep found something").await?;
        Ok(fits)
    }
}

/// Whether the event could follow now.
fn would_fit(claim: &Claim, event: &Event) -> bool {
    let nowhen = Moment { wall: Timestamp::UNIX_EPOCH, uptime: Uptime(u64::MAX), twilio: None };
    apply(claim.state.clone(), &Entry { seq: claim.seq + 1, at: nowhen, event: event.clone() }).is_ok()
}

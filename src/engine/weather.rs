//! What holds for an account, of which the journal knows a part: deletes, attempts and holds.
//!
//! The journal is asked where the answer can matter, and for one account not more often than once a second: counting an
//! hour's work before every step costs more than the work. After what this process adds it is asked anew. What another
//! process adds is noticed a second later; the limit on deletes does not rest on that, for the journal counts once more when
//! the decision is written, and refuses it if there is no room (S12). Nor does a hold: it is read before each DELETE.

use super::Engine;
use super::account::Account;
use crate::decide::{Weather, breaker, plan};
use crate::model::event::Event;
use crate::model::key::KeySid;
use crate::model::policy::Rules;
use crate::model::reason::Breaker;
use crate::model::rotation::{HOUR, State};
use crate::model::time::Uptime;
use crate::ports::JournalError;
use std::time::Duration;

/// How old the journal's answer may be before a delete is decided.
const LATELY: Duration = Duration::from_secs(1);

/// What the journal said of an account when it was asked last.
#[derive(Clone, Copy)]
pub(super) struct Told {
    at: Uptime,
    held: Option<Uptime>,
    deletes: u32,
}

impl Told {
    /// Whether it still holds after an entry: not when that counts among what was counted, nor after a halt, for which
    /// deletes may be held.
    fn outlives(event: &Event) -> bool {
        let given_up = matches!(event, Event::Abandoned { .. } | Event::Unsettled | Event::Ambiguous { .. });
        !given_up && !matches!(event, Event::Condemned { .. } | Event::Halted { .. })
    }
}

impl Engine {
    /// What holds for the credential's account.
    pub(super) async fn weather(
        &self,
        account: &Account,
        rules: &Rules,
        state: &State,
    ) -> Result<Weather, JournalError> {
        let deletes = state.rotation.as_ref().is_some_and(|rotation| rotation.published.is_some());
        let creates = state.rotation.is_none() && self.may_create(account, rules, state);
        if !(creates || deletes || !state.strays.is_empty()) {
            return Ok(account.weather());
        }
        let mut told = account.told.lock().await;
        let now = self.now().uptime;
        let told = match *told {
            Some(told) if self.local().since(told.at) < LATELY => told,
            _ => {
                let asked = self.ask(account, now).await?;
                *told = Some(asked);
                asked
            }
        };
        let mut weather = account.weather();
        weather.turn = if creates { self.turn(rules, state).await? } else { None };
        weather.held = told.held.map_or(Duration::ZERO, |until| until.since(now));
        // Its own decision was counted too; the limit is on those of other keys.
        let own = victim(state)
            .is_some_and(|victim| state.spent.deletes.iter().any(|(sid, at)| sid == victim && *at > now.minus(HOUR)));
        weather.deletes.1 = told.deletes.saturating_sub(u32::from(own));
        Ok(weather)
    }

    /// Whether this credential could begin a rotation now, or stands behind the breaker that only an answer can close.
    fn may_create(&self, account: &Account, rules: &Rules, state: &State) -> bool {
        let now = self.ports.clock.wall();
        account.weather().breakers.contains(&Breaker::Abandons) || plan::due(state, rules, now).at <= now
    }

    async fn ask(&self, account: &Account, now: Uptime) -> Result<Told, JournalError> {
        let (journal, at, hour_ago) = (&self.ports.journal, self.local(), now.minus(HOUR));
        let attempts = journal.attempts_since(&account.home, hour_ago).await?;
        let abandons = breaker::abandons(attempts, self.policy.limits.abandons_per_hour);
        self.set_breaker(account, Breaker::Abandons, abandons);
        let held = journal.deletes_held_until().await?;
        let deletes = journal.deletes_since(&account.home, hour_ago, None).await?;
        Ok(Told { at, held, deletes })
    }

    /// An entry was written.
    pub(super) async fn told_of(&self, account: &Account, event: &Event) {
        if !Told::outlives(event) {
            self.untold(account).await;
        }
    }

    /// Makes the next question go to the journal: somebody else has changed what it would answer.
    pub(super) async fn untold(&self, account: &Account) {
        *account.told.lock().await = None;
    }
}

/// The key that goes next.
fn victim(state: &State) -> Option<&KeySid> {
    let stray = state.strays.first().map(|stray| &stray.sid);
    stray.or_else(|| state.rotation.as_ref().and_then(|rotation| rotation.predecessors.first()))
}

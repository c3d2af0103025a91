//! Who belongs to the fleets: asked of Twilio at the start, and from then on as often as keys are listed.

use super::assemble::twilio;
use super::{CliError, Kind, out};
use crate::adapters::clock::SystemClock;
use crate::config::{Whole, whole};
use crate::decide::backoff;
use crate::model::fleet::{Fleet, Listed};
use crate::model::policy::Policy;
use crate::ports::Clock;
use std::sync::Arc;
use std::time::Duration;

/// The accounts that Twilio listed last.
#[derive(Default)]
pub(super) struct Roll {
    listed: Option<Vec<Listed>>,
    failures: u32,
    /// When it is asked for again, in running time: whoever stops waiting for it does not put it off.
    due: Option<Duration>,
    /// It was asked for just now, and nobody has begun with it yet.
    fresh: bool,
}

impl Roll {
    /// Asks who belongs to the fleets. While that is not answered it stays as it was; and if nothing was ever known, the fleets
    /// have to wait: without Twilio nothing could be done for them.
    pub(super) async fn called(&mut self, policy: &Policy) {
        self.due = None;
        if !std::mem::take(&mut self.fresh) {
            self.ask(policy).await;
        }
    }

    async fn ask(&mut self, policy: &Policy) {
        if !policy.fleets.iter().any(Fleet::is_discovered) {
            self.listed = None;
            return;
        }
        match accounts(policy).await {
            Ok(listed) => (self.listed, self.failures) = (Some(listed), 0),
            Err(error) => {
                self.failures += 1;
                tracing::error!("who belongs to the fleets stays as it was: {}", error.message);
            }
        }
    }

    /// The policy with everybody in it.
    pub(super) fn whole(&self, policy: &Policy) -> Whole {
        whole(policy, self.listed.as_deref())
    }

    /// Waits until others belong to the fleets than those in `now`.
    pub(super) async fn changed(&mut self, written: &Policy, now: &Policy, clock: &Arc<dyn Clock>) {
        if !written.fleets.iter().any(Fleet::is_discovered) {
            return std::future::pending().await;
        }
        loop {
            let every = now.timing.sweep;
            let pause = if self.failures == 0 { every } else { backoff::delay(self.failures, "fleets").min(every) };
            let due = *self.due.get_or_insert(clock.running() + pause);
            clock.sleep(due.saturating_sub(clock.running())).await;
            self.due = None;
            self.ask(written).await;
            if self.whole(written).policy.credentials != now.credentials {
                self.fresh = true;
                tracing::info!("others belong to the fleets now");
                return;
            }
        }
    }
}

/// The policy with everybody who belongs to a fleet now, for who only looks; who was left out is told.
pub(super) async fn asked(policy: &Policy) -> Result<Policy, CliError> {
    let discovered = policy.fleets.iter().any(Fleet::is_discovered);
    let listed = if discovered { Some(accounts(policy).await?) } else { None };
    let Whole { policy, left_out } = whole(policy, listed.as_deref());
    left_out.iter().for_each(|why| out::error(&format!("warning: {why}")));
    Ok(policy)
}

async fn accounts(policy: &Policy) -> Result<Vec<Listed>, CliError> {
    let client = twilio(policy, Arc::new(SystemClock::new())).await?;
    let answer = client.accounts().await.answer();
    answer.map_err(|failure| CliError::new(Kind::Unreachable, format!("the accounts can not be listed: {failure}")))
}

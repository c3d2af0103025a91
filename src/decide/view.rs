//! What a view knows that is fresh enough to rest on.

use super::{Step, View};
use crate::model::document::Seen;
use crate::model::key::{AttemptId, KeyFacts, KeySid};
use crate::model::names::Place;
use crate::model::permission::Granted;
use crate::model::rule::Rule;
use crate::model::workload::{Workload, WorkloadSeen};
use std::time::Duration;

/// How old a look may be when a decision is made on it.
pub const FRESH: Duration = Duration::from_secs(30);
/// How old the last look at every sink may be when a DELETE is sent (protocol, rule 11).
pub const INTERLOCK: Duration = Duration::from_secs(2);
/// How old the trial of a pair, or the answer for a key, may be when a DELETE is sent.
pub const PROVEN: Duration = Duration::from_secs(60);
/// How long Twilio may take to accept a new key (protocol, rule 12), and a pair as read back.
pub const ACCEPTANCE: Duration = Duration::from_secs(5 * 60);
/// How long a secret that no sink has yet is held in memory (protocol, fault 29).
pub const HOLD: Duration = Duration::from_secs(10 * 60);

impl View<'_> {
    /// The look at a place, if it is not older than this.
    pub(super) fn seen(&self, place: &Place, within: Duration) -> Option<&Seen> {
        let (seen, at) = self.sight.places.get(place)?;
        (self.local.since(*at) <= within || !Rule::FreshRead.holds()).then_some(seen)
    }

    /// A step that looks at those of the places whose last look is older than this; none if all are fresh.
    pub(super) fn look<'p>(&self, places: impl IntoIterator<Item = &'p Place>, within: Duration) -> Option<Step> {
        let stale: Vec<Place> = places.into_iter().filter(|p| self.seen(p, within).is_none()).cloned().collect();
        (!stale.is_empty()).then_some(Step::Look(stale))
    }

    /// Whether what the place serves was accepted, as it was last seen.
    pub(super) fn proven(&self, place: &Place) -> bool {
        let seen = self.sight.places.get(place).map(|(seen, _)| seen);
        self.sight.proofs.get(place).zip(seen).is_some_and(|(proof, seen)| {
            Some(&proof.sid) == seen.content.sid()
                && proof.version == seen.version
                && self.local.since(proof.at) <= PROVEN
        })
    }

    /// What Twilio last said of a key, if that is fresh; the inner `None` means that it does not exist.
    pub(super) fn fetched(&self, sid: &KeySid) -> Option<Option<&KeyFacts>> {
        let (facts, at) = self.sight.keys.get(sid)?;
        (self.local.since(*at) <= PROVEN).then_some(facts.as_ref())
    }

    /// What a key may do, as Twilio said lately, and how long ago.
    pub(super) fn granted(&self, sid: &KeySid) -> Option<(&Granted, Duration)> {
        let (granted, at) = self.sight.granted.get(sid)?;
        let age = self.local.since(*at);
        (age <= FRESH).then_some((granted, age))
    }

    /// Whether a secret of this attempt is in memory.
    pub(super) fn holds(&self, attempt: AttemptId) -> bool {
        self.hand.secret_of == Some(attempt)
    }

    /// The look at a workload, if it is fresh.
    pub(super) fn workload(&self, workload: &Workload) -> Option<&WorkloadSeen> {
        let (seen, at) = self.sight.workloads.get(workload)?;
        (self.local.since(*at) <= FRESH).then_some(seen)
    }
}

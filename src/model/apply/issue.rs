//! The beginning of a rotation: the decision to create a key, and what came of it.

use super::{enter, failed, in_phase, target};
use crate::model::event::Intent;
use crate::model::fault::Failure;
use crate::model::key::KeySid;
use crate::model::names::Place;
use crate::model::reason::StepName;
use crate::model::rotation::{DAY, Phase, Rotation, State, Unsettled};
use crate::model::time::Moment;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// A new rotation starts from rest, or on top of one whose new key can not serve (its keys are then revoked with the rest).
pub(super) fn intended(state: &mut State, intent: &Intent, at: Moment) -> Option<()> {
    // A third key of ours is never made while a second one still has to go (S5).
    state.strays.is_empty().then_some(())?;
    let mut predecessors = std::mem::take(&mut state.leftovers);
    let mut served: BTreeSet<Place> = state.current.iter().flat_map(|current| current.places.keys().cloned()).collect();
    if let Some(superseded) = state.rotation.take() {
        if !matches!(superseded.phase, Phase::Confirming | Phase::Grace | Phase::Revoking) {
            return None;
        }
        predecessors.extend(superseded.predecessors);
        predecessors.extend(superseded.successor);
        served.extend(superseded.unserved);
        served.extend(superseded.targets.into_keys());
    }
    served.retain(|place| !intent.bases.contains_key(place) && !state.forgotten.contains(place));
    // A key that is known to be gone needs no revoking.
    predecessors.extend(state.current.iter().filter(|current| !current.gone).map(|current| current.sid.clone()));
    let mut seen = BTreeSet::new();
    predecessors.retain(|sid| seen.insert(sid.clone()));

    state.unsettled.retain(|create| create.ambiguous || at.uptime.since(create.intended.uptime) < DAY);
    state.account = Some(intent.account.clone());
    state.spent.creates.push(at.uptime);
    state.rotation = Some(Rotation {
        attempt: intent.attempt,
        reason: intent.reason,
        started: at,
        phase: Phase::Issuing,
        since: at,
        successor: None,
        created_at: None,
        published: None,
        predecessors,
        targets: intent.bases.iter().map(|(place, base)| (place.clone(), target(base))).collect(),
        unserved: served,
        members: intent.members.clone(),
        grace: intent.grace,
        condemned: None,
    });
    Some(())
}

/// Takes the rotation out; the keys it would have revoked, other than the current one, wait for the next.
pub(super) fn give_up(state: &mut State, phases: &[Phase]) -> Option<Rotation> {
    in_phase(state, phases)?;
    let rotation = state.rotation.take()?;
    let current = state.current.as_ref().map(|current| &current.sid);
    state.leftovers.extend(rotation.predecessors.iter().filter(|sid| Some(*sid) != current).cloned());
    Some(rotation)
}

pub(super) fn create_refused(state: &mut State, failure: &Failure, at: Moment) -> Option<()> {
    give_up(state, &[Phase::Issuing])?;
    // Certainly no key was made: the limit on creates is not touched, the back-off holds the pace.
    state.spent.creates.pop();
    failed(state, StepName::Issue, failure, at);
    Some(())
}

pub(super) fn unsettled(state: &mut State, ambiguous: bool) -> Option<()> {
    let rotation = give_up(state, &[Phase::Issuing])?;
    state.unsettled.push(Unsettled { attempt: rotation.attempt, intended: rotation.started, ambiguous });
    Some(())
}

pub(super) fn created(state: &mut State, sid: &KeySid, created_at: Timestamp, at: Moment) -> Option<()> {
    let rotation = in_phase(state, &[Phase::Issuing])?;
    rotation.successor = Some(sid.clone());
    rotation.created_at = Some(created_at);
    enter(rotation, Phase::Verifying, at);
    Some(())
}

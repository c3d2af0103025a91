//! The beginning of a rotation: the decision to create a key, and what came of it.

use super::{enter, failed, in_phase, target};
use crate::model::document::Members;
use crate::model::event::Intent;
use crate::model::fault::Failure;
use crate::model::home::Home;
use crate::model::key::KeySid;
use crate::model::reason::StepName;
use crate::model::rotation::{Current, DAY, Phase, Rotation, State, Unsettled};
use crate::model::time::Moment;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// A key that was there before, to be replaced.
pub(super) fn adopted(
    state: &mut State,
    home: &Home,
    sid: &KeySid,
    created_at: Option<Timestamp>,
    at: Moment,
) -> Option<()> {
    let idle = state.current.is_none() && state.rotation.is_none();
    (idle && state.home.as_ref().is_none_or(|own| own == home)).then_some(())?;
    state.home = Some(home.clone());
    state.current = Some(Current {
        sid: sid.clone(),
        attempt: None,
        created_at,
        since: at.wall,
        places: BTreeMap::new(),
        members: Members::default(),
        gone: false,
        permissions: None,
    });
    Some(())
}

/// A new rotation starts from rest, or on top of one whose new key can not serve (its keys are then revoked with the rest).
pub(super) fn intended(state: &mut State, intent: &Intent, at: Moment) -> Option<()> {
    // Another key of ours is not made while one still has to go (S5), unless what is served is dead.
    let gone = state.current.as_ref().is_some_and(|current| current.gone);
    (state.strays.is_empty() || (gone && state.strays.len() == 1)).then_some(())?;
    // Keys do not move.
    state.home.as_ref().is_none_or(|home| *home == intent.home).then_some(())?;
    let superseded = state.rotation.take();
    superseded.as_ref().is_none_or(Rotation::may_be_superseded).then_some(())?;
    let mut predecessors = std::mem::take(&mut state.leftovers);
    state.lingering.extend(state.current.iter().flat_map(|current| current.places.keys().cloned()));
    if let Some(superseded) = superseded {
        predecessors.extend(superseded.predecessors);
        predecessors.extend(superseded.successor.filter(|_| !superseded.lost));
        state.lingering.extend(superseded.targets.into_keys());
    }
    state.lingering.retain(|place| !intent.bases.contains_key(place));
    // A key that is known to be gone needs no revoking.
    predecessors.extend(state.current.iter().filter(|current| !current.gone).map(|current| current.sid.clone()));
    let mut seen = BTreeSet::new();
    predecessors.retain(|sid| !state.vanished.contains(sid) && seen.insert(sid.clone()));

    state.unsettled.retain(|create| create.ambiguous || at.uptime.since(create.intended.uptime) < DAY);
    state.home = Some(intent.home.clone());
    if !state.spellings.contains(&intent.members) {
        state.spellings.push(intent.members.clone());
    }
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
        rounds: 0,
        read_since: None,
        restarts: BTreeMap::new(),
        predecessors,
        targets: intent.bases.iter().map(|(place, base)| (place.clone(), target(base))).collect(),
        served: false,
        lost: false,
        spoiled: false,
        fenced: false,
        members: intent.members.clone(),
        grace: intent.grace,
        permissions: intent.permissions.clone(),
        key_pair: intent.key_pair,
        auth_token: intent.auth_token,
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
    state.unsettled.push(Unsettled {
        attempt: rotation.attempt,
        intended: rotation.started,
        ambiguous,
        auth_token: rotation.auth_token,
    });
    Some(())
}

pub(super) fn created(state: &mut State, sid: &KeySid, created_at: Timestamp, at: Moment) -> Option<()> {
    let rotation = in_phase(state, &[Phase::Issuing])?;
    rotation.successor = Some(sid.clone());
    rotation.created_at = Some(created_at);
    enter(rotation, Phase::Verifying, at);
    Some(())
}

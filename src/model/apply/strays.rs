//! What happens to keys that no rotation can use: given up, found, fenced, revived, removed.

use super::issue::give_up;
use crate::model::key::{AttemptId, KeySid};
use crate::model::names::{Place, Version};
use crate::model::reason::Cause;
use crate::model::rotation::{Phase, State, Stray};
use crate::model::time::Moment;
use std::collections::BTreeMap;

pub(super) fn abandoned(state: &mut State, sid: &KeySid, cause: Cause, at: Moment) -> Option<()> {
    // What was ever served may have consumers: it is superseded, and ends with its grace.
    (!state.rotation.as_ref()?.served).then_some(())?;
    let mut rotation = give_up(state, &[Phase::Issuing, Phase::Verifying, Phase::Publishing])?;
    if rotation.successor.get_or_insert_with(|| sid.clone()) != sid {
        state.rotation = Some(rotation);
        return None;
    }
    let attempt = rotation.attempt;
    let rotation = Some(Box::new(rotation));
    state.strays.push(Stray { attempt, sid: sid.clone(), cause, at, rotation, fence: None, condemned: false });
    Some(())
}

pub(super) fn found(state: &mut State, attempt: AttemptId, sid: &KeySid, at: Moment) -> Option<()> {
    if state.vanished.remove(sid) {
        return returned(state, sid);
    }
    if state.keys().any(|known| known == sid) {
        return None;
    }
    let unsettled = state.unsettled.len();
    state.unsettled.retain(|create| create.attempt != attempt);
    let cause = if state.unsettled.len() < unsettled { Cause::AnswerLost } else { Cause::Resurfaced };
    state.strays.push(Stray { attempt, sid: sid.clone(), cause, at, rotation: None, fence: None, condemned: false });
    Some(())
}

/// A key that was served and believed gone is there after all: the current one, or an old one that has its grace.
fn returned(state: &mut State, sid: &KeySid) -> Option<()> {
    let current = state.current.as_mut().filter(|current| &current.sid == sid);
    let is_current = current.map(|current| current.gone = false).is_some();
    match &mut state.rotation {
        Some(rotation) if rotation.successor.as_ref() == Some(sid) => rotation.lost = false,
        Some(rotation) => rotation.predecessors.push(sid.clone()),
        None if is_current => {}
        None => state.leftovers.push(sid.clone()),
    }
    Some(())
}

/// A fence moved a place from one version to the next: whoever relied on the old version relies on the new one.
fn moved(state: &mut State, place: &Place, from: &Version, to: &Version) {
    let follow = |version: &mut Version| {
        if version == from {
            *version = to.clone();
        }
    };
    if let Some(version) = state.current.as_mut().and_then(|current| current.places.get_mut(place)) {
        follow(version);
    }
    let strays = state.strays.iter_mut().filter_map(|stray| stray.rotation.as_deref_mut());
    for target in state.rotation.iter_mut().chain(strays).filter_map(|rotation| rotation.targets.get_mut(place)) {
        follow(&mut target.base);
        target.written.iter_mut().for_each(follow);
    }
}

pub(super) fn revived(state: &mut State, attempt: AttemptId, at: Moment) -> Option<()> {
    state.rotation.is_none().then_some(())?;
    let index = state.strays.iter().position(|s| s.attempt == attempt && !s.condemned && s.rotation.is_some())?;
    let stray = state.strays.remove(index);
    let mut rotation = *stray.rotation?;
    rotation.fenced |= stray.fence.is_some();
    state.leftovers.retain(|sid| !rotation.predecessors.contains(sid));
    // The write that turned out to have succeeded will be found by the look that publishing begins with.
    rotation.targets.values_mut().for_each(|target| target.asked = true);
    rotation.phase = Phase::Publishing;
    rotation.restarts.clear();
    rotation.served = true;
    rotation.since = at;
    state.rotation = Some(rotation);
    Some(())
}

pub(super) fn fencing(state: &mut State, attempt: AttemptId, versions: &BTreeMap<Place, Version>) -> Option<()> {
    let stray = state.strays.iter_mut().find(|stray| stray.attempt == attempt && !stray.condemned)?;
    stray.fence = Some(versions.clone());
    Some(())
}

pub(super) fn fenced(state: &mut State, attempt: AttemptId, place: &Place, from: &Version, to: &Version) -> Option<()> {
    let stray = state.strays.iter().find(|stray| stray.attempt == attempt)?;
    stray.fence.as_ref()?.get(place)?;
    moved(state, place, from, to);
    Some(())
}

pub(super) fn removed(state: &mut State, sid: &KeySid, at: Moment) -> Option<()> {
    let before = state.strays.len();
    state.strays.retain(|stray| &stray.sid != sid);
    state.token_ended = sid.is_auth_token().then_some(at).or(state.token_ended);
    (state.strays.len() < before).then_some(())
}

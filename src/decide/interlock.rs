//! Whether a key may die (protocol, b.7). `step` asks before it decides, `perform` asks again before it sends.

use super::gate::may_delete;
use super::{INTERLOCK, View};
use crate::model::document::{Content, Seen};
use crate::model::event::Evidence;
use crate::model::key::KeySid;
use crate::model::names::Place;
use crate::model::rotation::{Rotation, Stray};
use crate::model::rule::Rule;
use std::collections::{BTreeMap, BTreeSet};

/// The condition that does not hold, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked(pub String);

/// Checks every condition and gives the evidence that the journal will keep.
pub fn interlock(view: &View<'_>, sid: &KeySid) -> Result<Evidence, Blocked> {
    calm(view, sid)?;
    ours(view, sid)?;
    match view.state.strays.iter().find(|stray| &stray.sid == sid) {
        Some(stray) => stray_may_go(view, stray),
        None => match &view.state.rotation {
            Some(rotation) => predecessor_may_go(view, rotation, sid),
            None => blocked("no rotation and no stray names this key"),
        },
    }
}

fn blocked<T>(why: impl Into<String>) -> Result<T, Blocked> {
    Err(Blocked(why.into()))
}

/// Nothing is wrong with the credential, the account, the clocks or the limits.
fn calm(view: &View<'_>, sid: &KeySid) -> Result<(), Blocked> {
    if view.state.halted.is_some() {
        return blocked("the credential is halted");
    }
    may_delete(view, sid).map_err(|bar| Blocked(bar.why))
}

/// S2 and S11: a key that the journal names as ours, that Twilio shows as the same, and that nothing depends on.
fn ours(view: &View<'_>, sid: &KeySid) -> Result<(), Blocked> {
    if sid.may_be_among(view.roots) {
        return blocked("rekeyd itself signs in with this key");
    }
    if view.state.current.as_ref().is_some_and(|current| &current.sid == sid) {
        return blocked("it is the current key");
    }
    if let Some(other) = view.sight.owners.get(sid) {
        return blocked(format!("it is a key of `{other}`"));
    }
    match view.fetched(sid) {
        Some(Some(facts)) if &facts.sid == sid => Ok(()),
        Some(Some(_)) => blocked("Twilio answered with another key"),
        Some(None) => blocked("it does not exist"),
        None => blocked("Twilio was not asked for it just now"),
    }
}

/// How many other deletes the account's limit leaves room for beside this one.
fn room(view: &View<'_>) -> u32 {
    view.weather.deletes.0.saturating_sub(1)
}

/// An old key: grace is over by every clock, and what every sink serves now is the new key, and works now.
fn predecessor_may_go(view: &View<'_>, rotation: &Rotation, sid: &KeySid) -> Result<Evidence, Blocked> {
    if !rotation.predecessors.contains(sid) {
        return blocked("it is not a predecessor of this rotation");
    }
    let Some(published) = &rotation.published else { return blocked("the new key is not published") };
    let missing = view.now.missing(published, rotation.grace.max(view.rules.grace));
    if !missing.is_zero() && Rule::Grace.holds() {
        return blocked(format!("grace has {} s to go", missing.as_secs_f32().ceil()));
    }
    let current = view.state.current.as_ref().map(|current| &current.sid);
    if current.is_none() || current != rotation.successor.as_ref() {
        return blocked("the successor is not the current key");
    }
    let mut targets: BTreeSet<&Place> = rotation.targets.keys().chain(&view.rules.places).collect();
    if !Rule::EverySink.holds() {
        targets.retain(|place| rotation.targets.keys().next() == Some(place));
    }
    let mut evidence = Evidence { places: BTreeMap::new(), proven: 0, spent: room(view) };
    for place in targets {
        let Some(seen) = view.seen(place, INTERLOCK) else { return blocked(format!("{place} was not read just now")) };
        let written = rotation.targets.get(place).and_then(|target| target.written.as_ref());
        if seen.content.sid() != current || written != Some(&seen.version) {
            return blocked(format!("{place} does not serve what was published"));
        }
        if !view.proven(place) {
            return blocked(format!("what {place} serves was not tried just now"));
        }
        evidence.proven += 1;
        evidence.places.insert(place.clone(), (seen.content.sid().cloned(), seen.version.clone()));
    }
    if evidence.proven == 0 {
        return blocked("no sink serves the new key");
    }
    elsewhere(view, &view.state.lingering, sid, &mut evidence)?;
    Ok(evidence)
}

/// Places that are written no more must not serve the key either.
fn elsewhere(view: &View<'_>, places: &BTreeSet<Place>, sid: &KeySid, evidence: &mut Evidence) -> Result<(), Blocked> {
    for place in places {
        let Some(seen) = view.seen(place, INTERLOCK) else { return blocked(format!("{place} was not read just now")) };
        if may_serve(view, seen, sid) {
            return blocked(format!("{place} may still serve it"));
        }
        evidence.places.insert(place.clone(), (seen.content.sid().cloned(), seen.version.clone()));
    }
    Ok(())
}

/// What can not be read as a pair may be one all the same, with members that are called otherwise.
pub(super) fn may_serve(view: &View<'_>, seen: &Seen, sid: &KeySid) -> bool {
    let served = seen.content.sid();
    // A token that a person put there is called by its account, whichever it is.
    let current = view.state.current.as_ref().map(|current| &current.sid);
    let other_token = sid.is_auth_token() && served.is_some_and(KeySid::is_auth_token) && served != current;
    seen.content == Content::Foreign || served == Some(sid) || other_token
}

/// A stray: every place is past its fence and serves something else. Whether that something works is not asked: a
/// stray was never served, so its end cannot hurt anybody.
fn stray_may_go(view: &View<'_>, stray: &Stray) -> Result<Evidence, Blocked> {
    let mut evidence = Evidence { places: BTreeMap::new(), proven: 0, spent: room(view) };
    if !Rule::Fence.holds() {
        return Ok(evidence);
    }
    let Some(fence) = &stray.fence else { return blocked("its fence was not begun") };
    for (place, before) in fence {
        let Some(seen) = view.seen(place, INTERLOCK) else { return blocked(format!("{place} was not read just now")) };
        if seen.content.sid() == Some(&stray.sid) {
            return blocked(format!("{place} serves it"));
        }
        if &seen.version == before && stray.needs_fence(place, seen) {
            return blocked(format!("{place} is not past the fence"));
        }
        evidence.places.insert(place.clone(), (seen.content.sid().cloned(), seen.version.clone()));
    }
    Ok(evidence)
}

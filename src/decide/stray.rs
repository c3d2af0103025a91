//! Keys of ours that no rotation can use: first every sink is fenced against them, then they go (protocol, rule 6).

use super::gate::{PAUSE, main_key, may_delete};
use super::interlock::interlock;
use super::{FRESH, INTERLOCK, Step, View, drift, halt, wait};
use crate::model::document::Seen;
use crate::model::event::Event;
use crate::model::names::Place;
use crate::model::reason::Halt;
use crate::model::rotation::{Phase, State, Stray};
use crate::model::rule::Rule;
use std::collections::BTreeSet;

/// The next step for the first stray; none if there is no stray.
pub(super) fn step(view: &View<'_>) -> Option<Step> {
    let stray = view.state.strays.first()?;
    // Once the fence is begun, what stands in the way of the delete is asked before anything is read.
    let free = if stray.fence.is_some() { may_delete(view, &stray.sid) } else { main_key(view) };
    if let Err(bar) = free {
        return Some(bar.into());
    }
    Some(match view.fetched(&stray.sid) {
        None => Step::Fetch(stray.sid.clone()),
        Some(None) if never_published(stray) => Step::Record(Event::Removed { sid: stray.sid.clone() }),
        _ => fence(view, stray),
    })
}

/// No write of this key was ever decided: there is nothing to fence off.
fn never_published(stray: &Stray) -> bool {
    stray.rotation.as_ref().is_none_or(|rotation| rotation.targets.values().all(|target| !target.asked))
}

fn fence(view: &View<'_>, stray: &Stray) -> Step {
    let (places, gone) = drift::reachable(view, places(view.state, view.rules.places.iter(), stray));
    if let Some(place) = gone.filter(|place| stray.rotation.as_ref().is_some_and(|r| r.asked(place))) {
        return drift::removed(&place);
    }
    if let Some(look) = view.look(&places, FRESH) {
        return look;
    }
    for place in &places {
        let Some(seen) = view.seen(place, FRESH) else { continue };
        if seen.content.sid() == Some(&stray.sid) || (seen.staged && !stray.condemned) {
            return revive(view, stray, place);
        }
        // Another one that was given up, and whose write has arrived only now.
        let other = view.state.strays.iter().find(|other| seen.content.sid() == Some(&other.sid));
        if let Some(other) = other.filter(|other| revivable(view, other)) {
            return revive(view, other, place);
        }
    }
    if stray.condemned {
        return delete(view, stray, &places);
    }
    if !Rule::Fence.holds() {
        return delete(view, stray, &places);
    }
    let Some(fence) = &stray.fence else {
        let versions = places.iter().filter_map(|p| Some((p.clone(), view.seen(p, FRESH)?.version.clone())));
        return Step::Record(Event::Fencing { attempt: stray.attempt, versions: versions.collect() });
    };
    for (place, before) in fence {
        let Some(seen) = view.seen(place, FRESH) else { return Step::Look(vec![place.clone()]) };
        if &seen.version == before && stray.needs_fence(place, seen) {
            if let Some(drift) = drifted(view, place, seen) {
                return drift;
            }
            return Step::Fence { attempt: stray.attempt, place: place.clone(), base: before.clone() };
        }
    }
    delete(view, stray, &places)
}

/// A fence rewrites what is there; what a person put there is not touched even so.
fn drifted(view: &View<'_>, place: &Place, seen: &Seen) -> Option<Step> {
    let current = view.state.current.iter().map(|current| &current.sid);
    // While workloads are restarted for it every place serves the new key, and it is not the current one yet.
    let restarting = view.state.rotation.iter().filter(|rotation| rotation.phase == Phase::Restarting);
    let allowed: Vec<_> = current.chain(restarting.filter_map(|rotation| rotation.successor.as_ref())).collect();
    let served = view.state.current.as_ref().is_some_and(|current| current.places.contains_key(place));
    drift::check(view, place, seen, &allowed, served).err().map(drift::Drift::step)
}

/// The sink has the key after all: its write had succeeded.
fn revive(view: &View<'_>, stray: &Stray, place: &Place) -> Step {
    if revivable(view, stray) {
        return Step::Record(Event::Revived { attempt: stray.attempt });
    }
    halt(Halt::Drift, format!("{place} serves {}, which was given up", stray.sid))
}

fn revivable(view: &View<'_>, stray: &Stray) -> bool {
    view.state.rotation.is_none() && stray.rotation.is_some() && !stray.condemned
}

fn delete(view: &View<'_>, stray: &Stray, places: &BTreeSet<Place>) -> Step {
    // Gone already, and now no delayed write of it can succeed.
    if let Some(None) = view.fetched(&stray.sid) {
        return Step::Record(Event::Removed { sid: stray.sid.clone() });
    }
    if let Some(look) = view.look(places, INTERLOCK) {
        return look;
    }
    // What ends a token names none: nothing may be odd anywhere.
    if stray.sid.is_auth_token() {
        let odd = places.iter().find_map(|place| drifted(view, place, view.seen(place, INTERLOCK)?));
        if let Some(drift) = odd {
            return drift;
        }
    }
    match interlock(view, &stray.sid) {
        Ok(evidence) => Step::Delete { sid: stray.sid.clone(), evidence },
        Err(blocked) => wait(PAUSE, format!("the stray may not go: {}", blocked.0)),
    }
}

fn places<'a>(state: &'a State, wanted: impl Iterator<Item = &'a Place>, stray: &'a Stray) -> BTreeSet<Place> {
    let current = state.current.iter().flat_map(|current| current.places.keys());
    let targets = stray.rotation.iter().flat_map(|rotation| rotation.targets.keys());
    let fence = stray.fence.iter().flat_map(|fence| fence.keys());
    wanted.chain(current).chain(targets).chain(fence).cloned().collect()
}

//! Publishing the new pair and confirming what every sink serves.

use super::gate::clocks;
use super::rest::{on_top, superseded};
use super::{FRESH, HOLD, Step, View, drift, halt, plan, rollout, tokens};
use crate::model::document::Seen;
use crate::model::event::Event;
use crate::model::key::KeySid;
use crate::model::names::{Place, Version};
use crate::model::reason::{Cause, Halt, Reason};
use crate::model::rotation::{Phase, Rotation};
use std::collections::BTreeMap;

/// A secret that no sink has yet is not kept in memory for ever (protocol, fault 29); without it the key is given up.
pub(super) fn held_too_long(view: &View<'_>) -> bool {
    view.state.rotation.as_ref().is_some_and(|rotation| {
        rotation.phase == Phase::Publishing
            && view.holds(rotation.attempt)
            && !rotation.escrowed()
            && !view.hand.recalled
            && view.now.uptime.since(rotation.since.uptime) > HOLD
    })
}

/// Writes one place after the other; what is not known for sure is looked at first (protocol, rule 5).
pub(super) fn publishing(view: &View<'_>, rotation: &Rotation) -> Step {
    let Some(successor) = &rotation.successor else {
        return halt(Halt::Guard, "publishing without a key");
    };
    if rotation.lost && !rotation.served {
        return Step::Record(Event::Abandoned { sid: successor.clone(), cause: Cause::Deleted });
    }
    if rotation.lost
        && let Some(step) = superseded(view, rotation)
    {
        return step;
    }
    // An operator may have told us to forget every place there was.
    if rotation.targets.is_empty()
        && let Some(step) = widened(view, rotation)
    {
        return step;
    }
    if let (_, Some(gone)) = drift::reachable(view, rotation.targets.keys().cloned().collect()) {
        return drift::removed(&gone);
    }
    if !view.holds(rotation.attempt) {
        return without_secret(view, rotation, successor);
    }
    let Some(place) = rotation.unwritten(view.rules.places.iter().chain(rotation.targets.keys())) else {
        return halt(Halt::Guard, "publishing with every place written");
    };
    let target = &rotation.targets[place];
    match view.seen(place, FRESH) {
        None if target.asked => Step::Look(vec![place.clone()]),
        None => Step::Publish { place: place.clone(), base: target.base.clone() },
        Some(seen) => judged(view, rotation, place, seen, successor),
    }
}

/// The place was looked at: our write is there, or it can be sent again on the same base, or somebody else wrote.
fn judged(view: &View<'_>, rotation: &Rotation, place: &Place, seen: &Seen, successor: &KeySid) -> Step {
    let target = &rotation.targets[place];
    if seen.content.sid() == Some(successor) {
        return Step::Record(Event::Written { place: place.clone(), version: seen.version.clone() });
    }
    if seen.version == target.base {
        return Step::Publish { place: place.clone(), base: target.base.clone() };
    }
    if view.state.overwrite {
        return Step::Record(Event::Rebased { place: place.clone(), base: seen.version.clone() });
    }
    let allowed: Vec<_> = view.state.current.iter().map(|current| &current.sid).collect();
    let served = view.state.current.as_ref().is_some_and(|current| current.places.contains_key(place));
    match drift::check(view, place, seen, &allowed, served) {
        Err(drift) => drift.step(),
        // It shows what it showed, at another version: what a fence of ours that arrived late leaves behind.
        Ok(()) if rotation.fenced => Step::Record(Event::Rebased { place: place.clone(), base: seen.version.clone() }),
        Ok(()) => halt(
            Halt::Drift,
            format!("{place} is at version {}, {} expected: somebody wrote there", seen.version, target.base),
        ),
    }
}

/// After a restart: if any sink has the new pair, it is the escrow for the others; if none has, the key is a stray.
fn without_secret(view: &View<'_>, rotation: &Rotation, successor: &KeySid) -> Step {
    if let Some(look) = view.look(rotation.targets.keys(), FRESH) {
        return look;
    }
    let has = |place: &&Place| {
        view.seen(place, FRESH).is_some_and(|seen| seen.content.sid() == Some(successor) || seen.staged)
    };
    // A write whose answer was lost: consumers may have read it there.
    for (place, target) in &rotation.targets {
        let seen = view.seen(place, FRESH).filter(|seen| seen.content.sid() == Some(successor));
        if let Some(seen) = seen.filter(|_| target.written.is_none()) {
            return Step::Record(Event::Written { place: place.clone(), version: seen.version.clone() });
        }
    }
    // What the sinks have was refused, and an operator has said that it may be replaced.
    if rotation.spoiled && rotation.served {
        match tokens::lives(view, rotation) {
            Err(step) => return step,
            Ok(true) => {}
            Ok(false) => return on_top(view, Reason::Requested),
        }
    }
    if let Some(place) = rotation.targets.keys().find(has) {
        return Step::Recall(place.clone());
    }
    let written = rotation.targets.iter().find(|(_, target)| target.written.is_some());
    if let Some((place, _)) = written.filter(|_| !view.state.overwrite) {
        return halt(Halt::Drift, format!("{place} had {successor} and has it no longer"));
    }
    if rotation.served {
        // It may have had consumers, so it ends as an old key does, after its grace.
        let reason = if written.is_some() { Reason::Requested } else { Reason::Widened };
        return on_top(view, reason);
    }
    let held_for = view.now.uptime.since(rotation.since.uptime);
    let cause = if held_for > HOLD { Cause::SinksDown } else { Cause::SecretLost };
    Step::Record(Event::Abandoned { sid: successor.clone(), cause })
}

/// Every place is read back, and what it serves is tried on Twilio, before grace begins to count.
pub(super) fn confirming(view: &View<'_>, rotation: &Rotation) -> Step {
    let Some(successor) = &rotation.successor else {
        return halt(Halt::Guard, "confirming without a key");
    };
    if let Some(step) = superseded(view, rotation) {
        return step;
    }
    serving(view, rotation, successor).unwrap_or_else(|| rollout::served(view, rotation))
}

/// The steps until every place is freshly seen to serve the key, and what it serves to work; `None` when that is so.
pub(super) fn serving(view: &View<'_>, rotation: &Rotation, successor: &KeySid) -> Option<Step> {
    if let (_, Some(gone)) = drift::reachable(view, rotation.targets.keys().cloned().collect()) {
        return Some(drift::removed(&gone));
    }
    if let Some(look) = view.look(rotation.targets.keys(), FRESH) {
        return Some(look);
    }
    for place in rotation.targets.keys() {
        let seen = view.seen(place, FRESH)?;
        if seen.content.sid() == Some(successor) {
            continue;
        }
        if view.state.overwrite {
            return Some(Step::Record(Event::Rebased { place: place.clone(), base: seen.version.clone() }));
        }
        let drift = drift::check(view, place, seen, &[successor], true);
        return Some(drift.err().map_or_else(|| halt(Halt::Guard, "a drift was not named"), drift::Drift::step));
    }
    let unproven: Vec<_> = rotation.targets.keys().filter(|place| !view.proven(place)).cloned().collect();
    (!unproven.is_empty()).then_some(Step::Prove(unproven))
}

/// Grace starts, with the versions just seen; not while the clocks disagree, for its end is measured by all of them.
pub(super) fn published(view: &View<'_>, rotation: &Rotation) -> Step {
    if let Err(bar) = clocks(view) {
        return bar.into();
    }
    Step::Record(Event::Published { versions: versions(view, rotation) })
}

/// The versions of all places as they were just seen.
pub(super) fn versions(view: &View<'_>, rotation: &Rotation) -> BTreeMap<Place, Version> {
    let version = |place: &Place| Some((place.clone(), view.sight.places.get(place)?.0.version.clone()));
    rotation.targets.keys().filter_map(version).collect()
}

/// Places added to the policy get the new pair before the old key goes (protocol, rule 15).
pub(super) fn widened(view: &View<'_>, rotation: &Rotation) -> Option<Step> {
    let added: Vec<_> = plan::added(view.state, view.rules).collect();
    if added.is_empty() {
        return None;
    }
    // A place that was taken out and comes back shows one of these.
    let ours: Vec<_> = rotation.predecessors.iter().chain(&rotation.successor).collect();
    if let Some(look) = view.look(added.iter().copied(), FRESH) {
        return Some(look);
    }
    let mut bases = BTreeMap::new();
    for place in added {
        let seen = view.seen(place, FRESH)?;
        if let Err(drift) = drift::check(view, place, seen, &ours, false) {
            return Some(drift.step());
        }
        bases.insert(place.clone(), seen.version.clone());
    }
    Some(Step::Record(Event::Widened { bases }))
}

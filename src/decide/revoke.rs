//! Grace, and the end of the old keys.

use super::gate::{PAUSE, may_delete};
use super::interlock::{interlock, may_serve};
use super::publish::{serving, widened};
use super::rest::superseded;
use super::rollout::served;
use super::{FRESH, INTERLOCK, Step, View, drift, halt, wait};
use crate::model::event::Event;
use crate::model::key::KeySid;
use crate::model::reason::Halt;
use crate::model::rotation::Rotation;
use crate::model::rule::Rule;
use crate::model::time::Moment;
use std::time::Duration;

/// Both keys work. Everything is checked before the old one goes, and anything odd stops it.
pub(super) fn step(view: &View<'_>, rotation: &Rotation) -> Step {
    if let Some(step) = superseded(view, rotation) {
        return step;
    }
    let Some(successor) = &rotation.successor else { return halt(Halt::Guard, "grace without a new key") };
    if let Some(step) = widened(view, rotation) {
        return step;
    }
    let Some(victim) = rotation.predecessors.first() else { return Step::Record(Event::Completed) };
    let Some(start) = &rotation.published else { return halt(Halt::Guard, "grace without a beginning") };
    let grace = if Rule::Grace.holds() { rotation.grace.max(view.rules.grace) } else { Duration::ZERO };
    let left = view.now.missing(&Moment { twilio: None, ..*start }, grace);
    // What stands in the way of the delete is asked before anything is read: waiting must not cost calls.
    if left.is_zero()
        && let Err(bar) = may_delete(view, victim)
    {
        return bar.into();
    }
    if let Some(step) = steady(view, rotation, successor) {
        return step;
    }
    if !left.is_zero() {
        return wait(left.min(view.timing.sweep), "grace: consumers change over to the new key");
    }
    revoke(view, rotation, victim, start, grace)
}

/// Every place still serves the version that was published. If somebody wrote the same key again, consumers may have
/// read anything in between: the pair is proven once more and grace starts again.
pub(super) fn steady(view: &View<'_>, rotation: &Rotation, successor: &KeySid) -> Option<Step> {
    let (_, gone) = drift::reachable(view, rotation.targets.keys().chain(&view.state.lingering).cloned().collect());
    if let Some(place) = gone {
        return Some(drift::removed(&place));
    }
    if let Some(look) = view.look(rotation.targets.keys(), view.timing.sweep) {
        return Some(look);
    }
    let moved = rotation.targets.iter().any(|(place, target)| {
        let seen = view.sight.places.get(place);
        seen.is_none_or(|(seen, _)| target.written.as_ref() != Some(&seen.version))
    });
    moved.then(|| serving(view, rotation, successor).unwrap_or_else(|| served(view, rotation)))
}

/// Grace is over by the local clocks. The rest of the interlock, in the order that leaves the last look freshest.
fn revoke(view: &View<'_>, rotation: &Rotation, victim: &KeySid, start: &Moment, grace: Duration) -> Step {
    // Also brings Twilio's date, the third clock.
    match view.fetched(victim) {
        None => return Step::Fetch(victim.clone()),
        Some(None) => return gone(view, rotation, victim),
        Some(Some(_)) => {}
    }
    let left = view.now.missing(start, grace);
    if !left.is_zero() {
        return wait(left.min(view.timing.sweep), "grace: waiting for Twilio's clock to agree");
    }
    let unproven: Vec<_> = rotation.targets.keys().filter(|place| !view.proven(place)).cloned().collect();
    if !unproven.is_empty() {
        return view.look(&unproven, FRESH).unwrap_or(Step::Prove(unproven));
    }
    if let Some(look) = view.look(rotation.targets.keys().chain(&view.state.lingering), INTERLOCK) {
        return look;
    }
    for place in &view.state.lingering {
        if view.seen(place, INTERLOCK).is_some_and(|seen| may_serve(view, seen, victim)) {
            let detail = format!("{place} is not in the policy any more and may still serve {victim}");
            return halt(Halt::SinkRemoved, detail);
        }
    }
    match interlock(view, victim) {
        Ok(evidence) => Step::Delete { sid: victim.clone(), evidence },
        Err(blocked) => wait(PAUSE, format!("the old key may not go: {}", blocked.0)),
    }
}

/// Twilio says that the old key does not exist. That alone ends nothing: the sinks must serve the new one (protocol,
/// threat model: "a 404 that lies").
fn gone(view: &View<'_>, rotation: &Rotation, victim: &KeySid) -> Step {
    if let Some(look) = view.look(rotation.targets.keys(), FRESH) {
        return look;
    }
    Step::Record(Event::Revoked { sid: victim.clone() })
}

//! Whether a rotation is due, and whether it may start: from rest, or on top of one whose new key can not serve.

use super::drift::{self, Drift};
use super::gate::{gate, main_key};
use super::ownership::{Ownership, ownership, unsettled_now};
use super::{FRESH, Step, View, halt, plan, stray, tokens, wait, wave};
use crate::model::event::{Event, Intent};
use crate::model::key::{AttemptId, KeySid};
use crate::model::names::Place;
use crate::model::permission::{Granted, MOST, Permissions};
use crate::model::policy::{Allow, KeyKind};
use crate::model::reason::{Halt, Reason};
use crate::model::rotation::{DAY, HOUR, Rotation, Unsettled};
use crate::model::rule::Rule;
use crate::model::time::{Moment, elapsed};
use std::collections::BTreeSet;
use std::time::Duration;

/// Starts the rotation that is due, or waits for the next one and looks for drift meanwhile.
pub(super) fn step(view: &View<'_>) -> Step {
    if let Some(step) = unsettled(view) {
        return step;
    }
    let due = plan::due(view.state, view.rules, view.now.wall);
    let left = elapsed(view.now.wall, due.at);
    if !left.is_zero() {
        let (places, _) = drift::reachable(view, drift::places(view));
        if let Some(look) = view.look(&places, view.timing.reconcile) {
            return look;
        }
        if let Err(drift) = expected(view, &places) {
            return drift.step();
        }
        return wait(left.min(view.timing.reconcile), format!("next rotation: {}", due.reason.words()));
    }
    start(view, due.reason).unwrap_or_else(|step| step)
}

/// Creates that nobody answered: look whether their key has turned up.
fn unsettled(view: &View<'_>) -> Option<Step> {
    if view.rules.kind.is_token() {
        return tokens::lost(view);
    }
    let young = unsettled_now(view);
    find(view, young)
}

/// Looks for the keys of these creates.
fn find<'a>(view: &View<'_>, creates: impl Iterator<Item = (AttemptId, &'a Moment)>) -> Option<Step> {
    for (attempt, intended) in creates {
        if let Err(bar) = main_key(view) {
            return Some(bar.into());
        }
        let Some(keys) = view.sight.labelled.get(&attempt) else { return Some(Step::Find(attempt)) };
        if let Ownership::Ours(sid) = ownership(keys, intended, view.timing.settle) {
            return Some(Step::Record(Event::Found { attempt, sid }));
        }
    }
    None
}

/// The way to the intent: limits, adoption, a look at every place, and then the decision.
pub(super) fn start(view: &View<'_>, reason: Reason) -> Result<Step, Step> {
    gate(view)?;
    if let Some((pause, why)) = view.weather.turn.as_ref().filter(|_| wave::is_ordered(reason)) {
        return Err(wait(*pause, why.clone()));
    }
    if view.rules.kind.is_token() {
        tokens::lost(view).map_or(Ok(()), Err)?;
        tokens::ended(view)?;
    }
    allowance(view)?;
    // A create whose time is up is looked for once more before the next is sent: its key may have come since the last look.
    let lost = view.state.unsettled.iter().filter(|create| !create.ambiguous);
    if let Some(step) = find(view, lost.map(|create| (create.attempt, &create.intended))) {
        return Ok(step);
    }
    if view.state.current.is_none() && reason == Reason::Adopted {
        return adopt(view);
    }
    let (places, _) = drift::reachable(view, drift::places(view));
    if let Some(look) = view.look(&places, FRESH) {
        return Ok(look);
    }
    expected(view, &places).map_err(Drift::step)?;
    if reason == Reason::Widened
        && view.state.rotation.is_none()
        && let Some(step) = widen(view)
    {
        return Ok(step);
    }
    let permissions = permissions(view)?;
    let targets = view.rules.places.iter();
    let bases = targets.filter_map(|place| Some((place.clone(), view.seen(place, FRESH)?.version.clone())));
    Ok(Step::Issue(Box::new(Intent {
        home: view.rules.home.clone(),
        attempt: view.fresh,
        reason,
        bases: bases.collect(),
        members: view.rules.members.clone(),
        grace: view.rules.grace,
        permissions,
        key_pair: view.rules.kind == KeyKind::KeyPair,
        auth_token: view.rules.kind.is_token(),
    })))
}

/// What the new key may do, if not everything that ordinary keys may.
fn permissions(view: &View<'_>) -> Result<Option<Permissions>, Step> {
    let template = match &view.rules.kind {
        KeyKind::Standard | KeyKind::KeyPair | KeyKind::AuthToken { .. } => return Ok(None),
        KeyKind::Restricted(Allow::These(these)) => return Ok(Some(these.clone())),
        KeyKind::Restricted(Allow::LikeKey(template)) => template,
    };
    let Some((granted, _)) = view.granted(template) else { return Err(Step::Permissions(template.clone())) };
    let unfit = match granted {
        // With an empty list a key is accepted everywhere, and may do nothing.
        Granted::Only(found) if (1..=MOST).contains(&found.len()) => return Ok(Some(found.clone())),
        Granted::Only(found) => format!("has {} permissions, and 1 to {MOST} can be copied", found.len()),
        Granted::Unknown(word) => format!("has the permission `{word}`, which is not known here"),
        Granted::Gone => "does not exist".to_owned(),
        Granted::Everything => "is no Restricted key".to_owned(),
    };
    Err(halt(Halt::NoTemplate, format!("{template} {unfit}")))
}

/// The new key can not serve, or an operator wants what the sinks hold to be replaced: another one on top.
pub(super) fn superseded(view: &View<'_>, rotation: &Rotation) -> Option<Step> {
    let asked = view.state.requested.as_ref().is_some_and(|request| request.at.uptime > rotation.started.uptime);
    if rotation.lost && !asked {
        return Some(halt(Halt::SuccessorGone, "the new key was deleted while consumers change over to it"));
    }
    // With that many keys, the pair that exists is written again instead.
    let most = if view.rules.kind.is_token() { MOST_TOKENS } else { MOST_ALIVE };
    let room = view.state.alive() < most || rotation.spoiled;
    match (asked, rotation.lost) {
        (true, true) => Some(on_top(view, Reason::CurrentGone)),
        (true, false) if view.state.overwrite && room => match tokens::lives(view, rotation) {
            Err(step) => Some(step),
            Ok(true) => None,
            Ok(false) => Some(on_top(view, Reason::Requested)),
        },
        (..) => None,
    }
}

/// The most keys of a credential that are alive (S5), but for the need that `on_top` answers.
const MOST_ALIVE: usize = 3;
/// The most auth tokens of an account (Twilio docs, "Secondary Auth Token").
const MOST_TOKENS: usize = 2;

/// So many creates a day may end without anybody knowing which key they made.
const MOST_UNCLEAR: usize = 2;

/// A rotation on top of the one in flight, because nothing that works can be served without it. Strays go first. How many
/// keys that can make is bounded by the limits on creates alone.
pub(super) fn on_top(view: &View<'_>, reason: Reason) -> Step {
    if let Some(step) = stray::step(view) {
        return step;
    }
    start(view, reason).unwrap_or_else(|step| step)
}

/// The limits on creates hold in every state, the ones nobody thought of included.
fn allowance(view: &View<'_>) -> Result<(), Step> {
    if !Rule::Limits.holds() {
        return Ok(());
    }
    if let Some((_, intended)) = unsettled_now(view).next() {
        let age = view.now.uptime.since(intended.uptime);
        let left = view.timing.settle.saturating_sub(age);
        // Look again soon at first, then ever more rarely.
        let pause = (age / 2).clamp(Duration::from_secs(1), view.timing.sweep);
        return Err(wait(left.min(pause), "a create was not answered and its key may still turn up"));
    }
    let (spent, now) = (&view.state.spent, view.now.uptime);
    // Each of them has left keys that nobody but a person can remove.
    let unclear = |create: &&Unsettled| create.ambiguous && now.since(create.intended.uptime) < DAY;
    if view.state.unsettled.iter().filter(unclear).count() >= MOST_UNCLEAR {
        let why = format!("limit: {MOST_UNCLEAR} creates a day that leave keys which can not be told to be ours");
        return Err(wait(Duration::from_secs(600), why));
    }
    let hourly = view.limits.creates_per_hour as usize;
    // As in the protocol's figures, six a day for three an hour.
    let daily = hourly.saturating_mul(2);
    if spent.creates_within(HOUR, now) >= hourly {
        return Err(wait(Duration::from_secs(60), format!("limit: {hourly} creates per hour")));
    }
    if spent.creates_within(DAY, now) >= daily {
        return Err(wait(Duration::from_secs(600), format!("limit: {daily} creates per day")));
    }
    Ok(())
}

/// The operator names a hand-made key: it must exist, and must not be one that the daemon signs in with.
fn adopt(view: &View<'_>) -> Result<Step, Step> {
    if view.rules.kind.is_token() {
        // What the places hold need not be known: whatever token is the primary one is replaced.
        let (home, sid) = (view.rules.home.clone(), KeySid::first_token(&view.rules.home.account));
        return Ok(Step::Record(Event::Adopted { home, sid, created_at: None }));
    }
    let Some(sid) = &view.rules.adopt else { return Err(halt(Halt::Guard, "nothing to adopt")) };
    if sid.may_be_among(view.roots) {
        return Err(halt(Halt::Guard, format!("{sid} is a key that rekeyd itself signs in with")));
    }
    match view.fetched(sid) {
        None => Ok(Step::Fetch(sid.clone())),
        Some(_) if view.sight.owners.contains_key(sid) => {
            let other = &view.sight.owners[sid];
            Err(halt(Halt::AdoptTaken, format!("{sid} is a key of `{other}`, which rekeyd rotates already")))
        }
        Some(None) => Err(halt(Halt::AdoptMissing, format!("{sid} does not exist in {}", view.rules.home))),
        Some(Some(facts)) => Ok(Step::Record(Event::Adopted {
            home: view.rules.home.clone(),
            sid: sid.clone(),
            created_at: Some(facts.created_at),
        })),
    }
}

/// New places get the pair that the old ones serve; if none of them can give it, a new key is the way.
fn widen(view: &View<'_>) -> Option<Step> {
    let current = view.state.current.as_ref()?;
    current.attempt?;
    let serves = |place: &&Place| view.seen(place, FRESH).is_some_and(|seen| seen.content.sid() == Some(&current.sid));
    current.places.keys().find(serves)?;
    let added = plan::added(view.state, view.rules);
    let bases = added.filter_map(|place| Some((place.clone(), view.seen(place, FRESH)?.version.clone()))).collect();
    Some(Step::Record(Event::Widened { bases }))
}

/// Every place shows what the journal expects there: the current key where it is served, and nothing foreign elsewhere.
/// A rotation that was cut short may have left its key or an older one there.
fn expected(view: &View<'_>, places: &BTreeSet<Place>) -> Result<(), Drift> {
    let current = view.state.current.as_ref();
    let flight =
        view.state.rotation.iter().flat_map(|rotation| rotation.successor.iter().chain(&rotation.predecessors));
    let allowed = current.iter().map(|current| &current.sid).chain(flight).chain(&view.state.leftovers);
    let allowed: Vec<_> = allowed.collect();
    for place in places {
        let served = current.is_some_and(|current| current.places.contains_key(place));
        if let Some((seen, _)) = view.sight.places.get(place) {
            drift::check(view, place, seen, &allowed, served)?;
        }
    }
    Ok(())
}

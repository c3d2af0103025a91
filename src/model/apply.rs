//! The only function that changes a credential's state. Pure and total: every event fits or is refused.

mod issue;
mod people;
mod restarts;
mod strays;

use super::event::{Entry, Event};
use super::fault::Failure;
use super::key::KeySid;
use super::names::{Place, Version};
use super::reason::{Halt, Reason, StepName};
use super::rotation::{Current, Halted, Phase, Requested, Rotation, State, Target, Trouble};
use super::rule::Rule;
use super::time::Moment;
use std::collections::BTreeMap;

/// The event cannot follow on this state; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the event `{event}` cannot follow on a credential that is {state}")]
pub struct Misfit {
    /// The event.
    pub event: &'static str,
    /// The state's word.
    pub state: &'static str,
}

/// The state after the entry.
pub fn apply(mut state: State, entry: &Entry) -> Result<State, Misfit> {
    let misfit = Misfit { event: entry.event.word(), state: state.word() };
    if fits(&mut state, entry).is_none() {
        return Err(misfit);
    }
    state.spent.trim(entry.at.uptime);
    if entry.event.succeeds() {
        state.trouble = None;
    }
    Ok(state)
}

impl Event {
    /// Whether the event shows that the outside answered: what went wrong before is over.
    fn succeeds(&self) -> bool {
        matches!(
            self,
            Event::Adopted { .. }
                | Event::Created { .. }
                | Event::Verified { .. }
                | Event::Written { .. }
                | Event::Served { .. }
                | Event::Restarted { .. }
                | Event::RolledOut { .. }
                | Event::Published { .. }
                | Event::Revoked { .. }
                | Event::Completed
                | Event::Fenced { .. }
                | Event::Removed { .. }
                | Event::Recovered
                | Event::Resumed { .. }
        )
    }
}

impl Event {
    /// Whether the event may come while a human has to look: what others did, and what the human says.
    fn passes_a_halt(&self) -> bool {
        matches!(self, Event::Requested { .. } | Event::Resumed { .. } | Event::Missing { .. } | Event::Found { .. })
    }
}

/// One line per event: the transition table of the program. `None` is a misfit.
fn fits(state: &mut State, entry: &Entry) -> Option<()> {
    let at = entry.at;
    (state.halted.is_none() || entry.event.passes_a_halt()).then_some(())?;
    match &entry.event {
        Event::Adopted { home, sid, created_at } => issue::adopted(state, home, sid, *created_at, at),
        Event::Requested { by } => people::requested(state, by, at),
        Event::Intended(intent) => issue::intended(state, intent, at),
        Event::CreateRefused { failure } => issue::create_refused(state, failure, at),
        Event::Created { sid, created_at } => issue::created(state, sid, *created_at, at),
        Event::Unsettled => issue::unsettled(state, false),
        Event::Ambiguous { .. } => issue::unsettled(state, true),
        Event::Verified { .. } => {
            let rotation = in_phase(state, &[Phase::Verifying])?;
            enter(rotation, Phase::Publishing, at);
            Some(())
        }
        Event::Publishing { place, base } => {
            let target = in_phase(state, &[Phase::Publishing])?.targets.get_mut(place)?;
            (target.written.is_none() && &target.base == base).then(|| target.asked = true)
        }
        Event::Written { place, version } => written(state, place, version, at),
        Event::Rebased { place, base } => rebased(state, place, base, at),
        Event::Widened { bases } => widened(state, bases, at),
        Event::Served { versions } => restarts::served(state, versions, at),
        Event::Restarting { attempt, workloads } => restarts::restarting(state, *attempt, workloads, at),
        Event::Restarted { workload } => restarts::restarted(state, workload),
        Event::RolledOut { workload, drain } => restarts::rolled_out(state, workload, *drain, at),
        Event::Published { versions } => published(state, versions, at),
        Event::Condemned { sid, .. } => condemned(state, sid, at),
        Event::Revoked { sid } => revoked(state, sid, at),
        Event::Completed => completed(state),
        Event::Abandoned { sid, cause } => strays::abandoned(state, sid, *cause, at),
        Event::Found { attempt, sid } => strays::found(state, *attempt, sid, at),
        Event::Fencing { attempt, versions } => strays::fencing(state, *attempt, versions),
        Event::Fenced { attempt, place, from, to } => strays::fenced(state, *attempt, place, from, to),
        Event::Revived { attempt } => strays::revived(state, *attempt, at),
        Event::Removed { sid } => strays::removed(state, sid, at),
        Event::Missing { sid } => missing(state, sid, at),
        Event::Failed { step, failure } => {
            failed(state, *step, failure, at);
            Some(())
        }
        Event::Recovered => state.trouble.is_some().then_some(()),
        Event::Halted { halt, detail } => halted(state, *halt, detail, at),
        Event::Resumed { by, overwrite, forget } => people::resumed(state, by, *overwrite, forget, at),
    }
}

fn in_phase<'a>(state: &'a mut State, phases: &[Phase]) -> Option<&'a mut Rotation> {
    state.rotation.as_mut().filter(|rotation| phases.contains(&rotation.phase))
}

fn enter(rotation: &mut Rotation, phase: Phase, at: Moment) {
    if rotation.phase != phase {
        rotation.phase = phase;
        rotation.since = at;
    }
}

fn target(base: &Version) -> Target {
    Target { base: base.clone(), asked: false, written: None }
}

fn written(state: &mut State, place: &Place, version: &Version, at: Moment) -> Option<()> {
    let rotation = in_phase(state, &[Phase::Publishing])?;
    let target = rotation.targets.get_mut(place)?;
    target.asked = true;
    target.written = Some(version.clone());
    rotation.served = true;
    confirm_if_written(rotation, at);
    Some(())
}

fn confirm_if_written(rotation: &mut Rotation, at: Moment) {
    let written = rotation.targets.values().all(|target| target.written.is_some());
    if rotation.phase == Phase::Publishing && written && !rotation.targets.is_empty() {
        enter(rotation, Phase::Confirming, at);
    }
}

fn rebased(state: &mut State, place: &Place, base: &Version, at: Moment) -> Option<()> {
    let overwrite = state.overwrite;
    let phases = [Phase::Publishing, Phase::Confirming, Phase::Restarting, Phase::Grace, Phase::Revoking];
    let rotation = in_phase(state, &phases)?;
    (overwrite || (rotation.fenced && rotation.phase == Phase::Publishing)).then_some(())?;
    *rotation.targets.get_mut(place)? = target(base);
    rotation.restarts.clear();
    enter(rotation, Phase::Publishing, at);
    Some(())
}

fn widened(state: &mut State, bases: &BTreeMap<Place, Version>, at: Moment) -> Option<()> {
    let current = state.current.as_ref()?;
    if state.rotation.is_none() {
        state.strays.is_empty().then_some(())?;
        state.rotation = Some(Rotation {
            attempt: current.attempt?,
            reason: Reason::Widened,
            started: at,
            phase: Phase::Publishing,
            since: at,
            successor: Some(current.sid.clone()),
            created_at: current.created_at,
            published: None,
            rounds: 0,
            read_since: None,
            restarts: BTreeMap::new(),
            predecessors: Vec::new(),
            targets: current.places.iter().map(|(place, version)| (place.clone(), served(version))).collect(),
            served: true,
            lost: current.gone,
            spoiled: false,
            fenced: false,
            members: current.members.clone(),
            grace: std::time::Duration::ZERO,
            permissions: current.permissions.clone(),
            key_pair: current.sid.is_public_key(),
            auth_token: current.sid.is_auth_token(),
            condemned: None,
        });
    }
    state.lingering.retain(|place| !bases.contains_key(place));
    let rotation = in_phase(state, &[Phase::Publishing, Phase::Grace, Phase::Revoking])?;
    rotation.targets.extend(bases.iter().map(|(place, base)| (place.clone(), target(base))));
    rotation.restarts.clear();
    rotation.rounds = 0;
    enter(rotation, Phase::Publishing, at);
    Some(())
}

fn served(version: &Version) -> Target {
    Target { base: version.clone(), asked: true, written: Some(version.clone()) }
}

fn published(state: &mut State, versions: &BTreeMap<Place, Version>, at: Moment) -> Option<()> {
    let serving = state.current.as_ref().map(|current| (current.sid.clone(), current.since));
    let rotation = in_phase(state, &[Phase::Confirming, Phase::Restarting, Phase::Grace, Phase::Revoking])?;
    let successor = rotation.successor.clone()?;
    let read_since = rotation.read_since.map(|read_since| read_since.uptime);
    for (place, version) in versions {
        *rotation.targets.get_mut(place)? = served(version);
    }
    rotation.published = Some(at);
    enter(rotation, Phase::Grace, at);
    rotation.predecessors.retain(|sid| sid != &successor);
    let again = serving.filter(|(sid, _)| sid == &successor).map(|(_, since)| since);
    state.current = Some(Current {
        sid: successor,
        attempt: Some(rotation.attempt),
        created_at: rotation.created_at,
        since: again.unwrap_or(at.wall),
        places: versions.clone(),
        members: rotation.members.clone(),
        gone: rotation.lost,
        permissions: rotation.permissions.clone(),
    });
    // The same key published again, because a place was added, is not what was asked for; nor is one that programs read
    // already when it was asked for.
    let later = |asked: &Requested| read_since.is_some_and(|since| asked.at.uptime > since);
    if (again.is_none() && !state.requested.as_ref().is_some_and(later)) || state.overwrite {
        state.requested = None;
    }
    state.overwrite = false;
    Some(())
}

/// A predecessor of a published rotation, or a stray behind its fence; never the current key (S11).
fn condemned(state: &mut State, sid: &KeySid, at: Moment) -> Option<()> {
    if state.current.as_ref().is_some_and(|current| &current.sid == sid) {
        return None;
    }
    if let Some(stray) = state.strays.iter_mut().find(|stray| &stray.sid == sid) {
        (stray.fence.is_some() || !Rule::Fence.holds()).then_some(())?;
        stray.condemned = true;
    } else {
        let rotation = in_phase(state, &[Phase::Grace, Phase::Revoking])?;
        rotation.published?;
        rotation.predecessors.contains(sid).then_some(())?;
        rotation.condemned = Some(sid.clone());
        enter(rotation, Phase::Revoking, at);
    }
    state.spent.deletes.retain(|(other, _)| other != sid);
    state.spent.deletes.push((sid.clone(), at.uptime));
    Some(())
}

fn revoked(state: &mut State, sid: &KeySid, at: Moment) -> Option<()> {
    let rotation = in_phase(state, &[Phase::Grace, Phase::Revoking])?;
    let before = rotation.predecessors.len();
    rotation.predecessors.retain(|old| old != sid);
    (rotation.predecessors.len() < before).then_some(())?;
    let ours = rotation.condemned.as_ref() == Some(sid);
    rotation.condemned = None;
    enter(rotation, Phase::Grace, at);
    if !ours {
        state.vanished.insert(sid.clone());
    }
    state.token_ended = sid.is_auth_token().then_some(at).or(state.token_ended);
    Some(())
}

fn completed(state: &mut State) -> Option<()> {
    let rotation = in_phase(state, &[Phase::Grace])?;
    rotation.predecessors.is_empty().then_some(())?;
    state.rotation = None;
    state.completed += 1;
    // Each old key was revoked when no such place served it; of one that only seemed to vanish nobody knows.
    if state.vanished.is_empty() && state.leftovers.is_empty() {
        state.lingering.clear();
    }
    Some(())
}

fn missing(state: &mut State, sid: &KeySid, at: Moment) -> Option<()> {
    state.keys().any(|known| known == sid).then_some(())?;
    let never_served = state.strays.iter().any(|stray| &stray.sid == sid)
        || state.rotation.as_ref().is_some_and(|r| r.successor.as_ref() == Some(sid) && !r.served);
    if !never_served {
        state.vanished.insert(sid.clone());
    }
    state.leftovers.retain(|old| old != sid);
    if let Some(rotation) = &mut state.rotation {
        rotation.lost |= rotation.successor.as_ref() == Some(sid);
        rotation.predecessors.retain(|old| old != sid);
        if rotation.condemned.as_ref() == Some(sid) {
            rotation.condemned = None;
            if rotation.phase == Phase::Revoking {
                enter(rotation, Phase::Grace, at);
            }
        }
    }
    if let Some(current) = state.current.as_mut().filter(|current| &current.sid == sid) {
        current.gone = true;
    }
    Some(())
}

fn failed(state: &mut State, step: StepName, failure: &Failure, at: Moment) {
    let count = state.trouble.as_ref().map_or(0, |trouble| trouble.count);
    let same = |trouble: &&Trouble| trouble.step == step && trouble.failure.fault == failure.fault;
    let first = state.trouble.as_ref().filter(same).map_or(at, |trouble| trouble.first);
    state.trouble = Some(Trouble { step, failure: failure.clone(), count: count.saturating_add(1), at, first });
}

fn halted(state: &mut State, halt: Halt, detail: &str, at: Moment) -> Option<()> {
    state.halted.is_none().then_some(())?;
    state.halted = Some(Halted { halt, detail: detail.to_owned(), at: at.wall });
    Some(())
}

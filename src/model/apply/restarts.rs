//! What happens to the workloads that a rotation restarts.

use super::super::key::AttemptId;
use super::super::names::{Place, Version};
use super::super::rotation::{Phase, Restart, Rollout, Rotation, State};
use super::super::time::Moment;
use super::super::workload::{Before, Mark, Workload};
use super::in_phase;
use std::collections::BTreeMap;
use std::time::Duration;

/// Grace has not begun, or begins anew: what a workload was restarted for before counts no more.
pub(super) fn served(state: &mut State, versions: &BTreeMap<Place, Version>, at: Moment) -> Option<()> {
    let rotation = in_phase(state, &[Phase::Confirming, Phase::Restarting, Phase::Grace])?;
    for (place, version) in versions {
        *rotation.targets.get_mut(place)? = super::served(version);
    }
    rotation.restarts.clear();
    rotation.rounds = rotation.rounds.saturating_add(1);
    rotation.read_since.get_or_insert(at);
    (rotation.published, rotation.phase, rotation.since) = (None, Phase::Restarting, at);
    Some(())
}

pub(super) fn restarting(
    state: &mut State,
    attempt: AttemptId,
    workloads: &BTreeMap<Workload, Before>,
    at: Moment,
) -> Option<()> {
    let rotation = in_phase(state, &[Phase::Restarting])?;
    for (workload, before) in workloads {
        let mark = Mark::after(before.number, attempt);
        let restart = Restart { before: *before, mark, announced: at, asked: 0, done: None };
        rotation.restarts.insert(workload.clone(), restart);
    }
    Some(())
}

/// A person has looked: what was counted starts anew.
pub(super) fn resumed(rotation: &mut Rotation) {
    rotation.rounds = 0;
    rotation.restarts.values_mut().for_each(|restart| restart.asked = 0);
}

/// A workload of the rotation that is not through.
fn open<'s>(state: &'s mut State, workload: &Workload) -> Option<&'s mut Restart> {
    in_phase(state, &[Phase::Restarting])?.restarts.get_mut(workload).filter(|restart| restart.done.is_none())
}

pub(super) fn restarted(state: &mut State, workload: &Workload) -> Option<()> {
    open(state, workload).map(|restart| restart.asked = restart.asked.saturating_add(1))
}

pub(super) fn rolled_out(state: &mut State, workload: &Workload, drain: Duration, at: Moment) -> Option<()> {
    // Pods of the template that was replaced may have had longer.
    open(state, workload).map(|restart| restart.done = Some(Rollout { at, drain: drain.max(restart.before.drain) }))
}

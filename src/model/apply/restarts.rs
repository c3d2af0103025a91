//! What happens to the workloads that a rotation restarts.

use super::super::rotation::{Phase, Restart, State};
use super::super::time::Moment;
use super::super::workload::{Mark, Workload};
use super::{enter, in_phase};
use std::collections::BTreeMap;

/// Grace has not begun, or begins anew: what a workload was restarted for before counts no more.
pub(super) fn restarting(
    state: &mut State,
    mark: &Mark,
    marks: &BTreeMap<Workload, Option<Mark>>,
    at: Moment,
) -> Option<()> {
    let rotation = in_phase(state, &[Phase::Confirming, Phase::Restarting, Phase::Grace])?;
    if rotation.phase != Phase::Restarting {
        rotation.restarts.clear();
        rotation.published = None;
    }
    let restart = |before: &Option<Mark>| Restart { before: before.clone(), mark: mark.clone(), done: false };
    rotation.restarts.extend(marks.iter().map(|(workload, before)| (workload.clone(), restart(before))));
    enter(rotation, Phase::Restarting, at);
    Some(())
}

pub(super) fn restarted(state: &mut State, workload: &Workload) -> Option<()> {
    let restart = in_phase(state, &[Phase::Restarting])?.restarts.get_mut(workload)?;
    (!restart.done).then(|| restart.done = true)
}

//! Restarting the programs that read their pair only once, before grace begins to count.
//!
//! Each workload is looked at when every place has just been seen to serve the new pair. A restart that comes after that
//! look, whoever asked for it, brings up pods that read the new pair: so credentials that share a workload share a restart,
//! if they wait for a moment before they ask for one. No clock is compared, only the mark that a restart leaves.

use super::publish::{published, serving};
use super::rest::superseded;
use super::{Step, View, halt, wait};
use crate::model::event::Event;
use crate::model::key::KeySid;
use crate::model::reason::Halt;
use crate::model::rotation::{Phase, Rotation};
use crate::model::rule::Rule;
use crate::model::workload::{Mark, Workload};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a rollout that has not ended is looked at.
const GLANCE: Duration = Duration::from_secs(15);

/// What follows when every place serves the new pair: restarts if there are any to make, else grace. Once the end of an old
/// key is decided nothing is put off.
pub(super) fn served(view: &View<'_>, rotation: &Rotation) -> Step {
    if view.rules.restart.is_empty() || rotation.phase == Phase::Revoking || !Rule::Rollout.holds() {
        return published(view, rotation);
    }
    announced(view, view.rules.restart.iter())
}

/// The decision to restart these, with what each carries now.
fn announced<'w>(view: &View<'_>, workloads: impl Iterator<Item = &'w Workload>) -> Step {
    let workloads: Vec<_> = workloads.cloned().collect();
    if let Some(look) = inspect(view, &workloads) {
        return look;
    }
    let carried = |workload: Workload| view.workload(&workload).map(|seen| (workload, seen.mark.clone()));
    let marks: BTreeMap<Workload, Option<Mark>> = workloads.into_iter().filter_map(carried).collect();
    Step::Record(Event::Restarting { mark: Mark(view.fresh.to_string()), marks })
}

fn inspect(view: &View<'_>, workloads: &[Workload]) -> Option<Step> {
    let stale: Vec<_> = workloads.iter().filter(|workload| view.workload(workload).is_none()).cloned().collect();
    (!stale.is_empty()).then_some(Step::Inspect(stale))
}

/// The workloads that the policy names are restarted and awaited; then everything is confirmed once more.
pub(super) fn restarting(view: &View<'_>, rotation: &Rotation) -> Step {
    let Some(successor) = &rotation.successor else {
        return halt(Halt::Guard, "restarting without a key");
    };
    if let Some(step) = superseded(view, rotation) {
        return step;
    }
    let wanted = &view.rules.restart;
    let added: Vec<_> = wanted.iter().filter(|workload| !rotation.restarts.contains_key(workload)).collect();
    if !added.is_empty() {
        return announced(view, added.into_iter());
    }
    if let Some(step) = restart(view, rotation) {
        return step;
    }
    if let Some(look) = inspect(view, wanted) {
        return look;
    }
    let going = wanted.iter().find_map(|workload| {
        let seen = view.workload(workload)?;
        seen.rollout.as_ref().map(|left| format!("the rollout of {workload}: {left}"))
    });
    if let Some(why) = going {
        return wait(GLANCE.min(view.timing.sweep), why);
    }
    confirmed(view, rotation, successor)
}

fn confirmed(view: &View<'_>, rotation: &Rotation, successor: &KeySid) -> Step {
    serving(view, rotation, successor).unwrap_or_else(|| published(view, rotation))
}

/// The next step until every workload that is still wanted has been restarted since the new pair was served.
fn restart(view: &View<'_>, rotation: &Rotation) -> Option<Step> {
    let left = |workload: &&Workload| rotation.restarts.get(workload).is_some_and(|restart| !restart.done);
    let due: Vec<_> = view.rules.restart.iter().filter(left).cloned().collect();
    let first = due.first()?;
    let pause = view.rules.restart_pause.saturating_sub(view.now.uptime.since(rotation.since.uptime));
    if !pause.is_zero() {
        return Some(wait(pause, format!("{first} is restarted for all who ask for it at the same time")));
    }
    if let Some(look) = inspect(view, &due) {
        return Some(look);
    }
    let (seen, asked) = (view.workload(first)?, rotation.restarts.get(first)?);
    if seen.mark != asked.before {
        return Some(Step::Record(Event::Restarted { workload: first.clone() }));
    }
    Some(Step::Restart { workload: first.clone(), mark: asked.mark.clone(), base: seen.version.clone() })
}

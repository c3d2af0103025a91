//! Restarting the programs that read their pair only once, before grace begins to count.
//!
//! When every place has been seen to serve the new pair for so long that no cache serves the old one, each workload is looked
//! at. A restart that comes after that look, whoever asked for it, brings up pods that read the new pair: so credentials that
//! share a workload share a restart, if they wait for a moment before they ask for one. No clock is compared, only the marks
//! that restarts leave.

use super::publish::{published, serving, versions};
use super::rest::superseded;
use super::revoke::steady;
use super::{FRESH, Step, View, halt, wait};
use crate::model::event::Event;
use crate::model::key::KeySid;
use crate::model::reason::{Halt, Reason};
use crate::model::rotation::{Phase, Rollout, Rotation, Target};
use crate::model::rule::Rule;
use crate::model::time::Moment;
use crate::model::workload::Workload;
use std::time::Duration;

/// How often a rollout that has just begun is looked at.
const GLANCE: Duration = Duration::from_secs(15);
/// How often everything is restarted for one rotation before a person must look at who writes there.
const ROUNDS: u32 = 3;
/// How often one workload is restarted for the same round, if somebody takes it back before it is through.
const TRIES: u32 = 2;

/// What follows when every place serves the new pair: restarts if there are any to make, else grace. Once the end of an old
/// key is decided nothing is put off, and for a key that stays nobody has to be restarted.
pub(super) fn served(view: &View<'_>, rotation: &Rotation) -> Step {
    let stays = rotation.reason == Reason::Widened && rotation.predecessors.is_empty();
    if stays || view.rules.restart.is_empty() || rotation.phase == Phase::Revoking || !Rule::Rollout.holds() {
        return published(view, rotation);
    }
    if rotation.rounds >= ROUNDS {
        let detail =
            format!("somebody else has written to its places again and again: {ROUNDS} times was all restarted");
        return halt(Halt::Drift, detail);
    }
    Step::Record(Event::Served { versions: versions(view, rotation) })
}

/// The decision to restart these, with what each carries now.
fn announced(view: &View<'_>, workloads: &[Workload]) -> Step {
    if let Some(look) = inspect(view, workloads) {
        return look;
    }
    let before = |workload: &Workload| Some((workload.clone(), view.workload(workload)?.before()));
    Step::Record(Event::Restarting { attempt: view.fresh, workloads: workloads.iter().filter_map(before).collect() })
}

fn inspect(view: &View<'_>, workloads: &[Workload]) -> Option<Step> {
    let stale: Vec<_> = workloads.iter().filter(|workload| view.workload(workload).is_none()).cloned().collect();
    (!stale.is_empty()).then_some(Step::Inspect(stale))
}

/// The workloads that the policy names are restarted and awaited; then everything is confirmed once more. A place that
/// somebody has written to meanwhile may have given anything to the pods that started then.
pub(super) fn restarting(view: &View<'_>, rotation: &Rotation) -> Step {
    let Some(successor) = &rotation.successor else {
        return halt(Halt::Guard, "restarting without a key");
    };
    if let Some(step) = superseded(view, rotation) {
        return step;
    }
    if let Some(step) = steady(view, rotation, successor) {
        return step;
    }
    let wanted = &view.rules.restart;
    let added: Vec<_> = wanted.iter().filter(|it| !rotation.restarts.contains_key(it)).cloned().collect();
    if let Some(first) = added.first() {
        let pause = view.rules.restart_pause.saturating_sub(view.now.uptime.since(rotation.since.uptime));
        if !pause.is_zero() {
            return wait(pause, format!("{first} is restarted when no cache has the old pair any more"));
        }
        return announced(view, &added);
    }
    rolling(view, rotation).or_else(|| draining(view, rotation)).unwrap_or_else(|| confirmed(view, rotation, successor))
}

/// The next step until every workload that is still wanted was restarted since the decision, and has only new pods.
fn rolling(view: &View<'_>, rotation: &Rotation) -> Option<Step> {
    let restarts = view.rules.restart.iter().filter_map(|it| Some((it, rotation.restarts.get(it)?)));
    let open: Vec<_> = restarts.filter(|(_, restart)| restart.done.is_none()).collect();
    let (first, age) = open
        .iter()
        .map(|(it, restart)| (it, view.now.uptime.since(restart.announced.uptime)))
        .min_by_key(|(_, age)| *age)?;
    let pause = view.rules.restart_pause.saturating_sub(age);
    if !pause.is_zero() {
        return Some(wait(pause, format!("{first} is restarted for all who ask for it at the same time")));
    }
    let workloads: Vec<_> = open.iter().map(|(it, _)| (*it).clone()).collect();
    if let Some(look) = inspect(view, &workloads) {
        return Some(look);
    }
    for (workload, restart) in &open {
        let seen = view.workload(workload)?;
        if restart.is_met_by(seen.mark.as_ref()) {
            continue;
        }
        if restart.asked >= TRIES {
            let detail = format!(
                "{workload} was restarted {TRIES} times, and somebody took it back before its pods were replaced"
            );
            return Some(halt(Halt::Drift, detail));
        }
        let (workload, mark) = ((*workload).clone(), restart.mark.clone());
        return Some(Step::Restart { workload, mark, base: seen.version.clone() });
    }
    let mut left = None;
    for (workload, _) in &open {
        let seen = view.workload(workload)?;
        match &seen.rollout {
            None => {
                let (workload, drain) = ((*workload).clone(), seen.drain);
                return Some(Step::Record(Event::RolledOut { workload, drain }));
            }
            Some(why) => left = left.or_else(|| Some(format!("the rollout of {workload}: {why}"))),
        }
    }
    // The longer it takes the more rarely it is asked about.
    Some(wait((age / 8).max(GLANCE).min(view.timing.sweep), left.unwrap_or_default()))
}

/// A pod that ends may still work for longer than the grace period.
fn draining(view: &View<'_>, rotation: &Rotation) -> Option<Step> {
    let grace = rotation.grace.max(view.rules.grace);
    let ended = view.rules.restart.iter().filter_map(|it| rotation.restarts.get(it)?.done.as_ref());
    let left =
        |ended: &Rollout| view.now.missing(&Moment { twilio: None, ..ended.at }, ended.drain.saturating_sub(grace));
    let left = ended.map(left).max().filter(|left| !left.is_zero())?;
    Some(wait(left.min(view.timing.sweep), "pods that end have longer for it than the grace period"))
}

fn confirmed(view: &View<'_>, rotation: &Rotation, successor: &KeySid) -> Step {
    let seen = |place, target: &Target| view.seen(place, FRESH).map(|seen| &seen.version) == target.written.as_ref();
    match serving(view, rotation, successor) {
        Some(step) => step,
        None if rotation.targets.iter().all(|(place, target)| seen(place, target)) => published(view, rotation),
        None => served(view, rotation),
    }
}

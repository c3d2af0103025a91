//! Whose turn it is in a fleet: the canaries first, then a hold, then so many at a time; and nobody else while something is
//! wrong with one of them.

use super::plan;
use crate::model::fault::Fault;
use crate::model::fleet::{FleetName, Waves};
use crate::model::names::CredentialName;
use crate::model::policy::Rules;
use crate::model::reason::{Cause, Reason};
use crate::model::rotation::{HOUR, Phase, State};
use crate::model::time::{Moment, elapsed, later};
use jiff::Timestamp;
use std::time::Duration;

/// How a member of a fleet is, as far as the others must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The credential.
    pub name: CredentialName,
    /// It goes first.
    pub canary: bool,
    /// How far it is.
    pub progress: Progress,
    /// What is wrong with it.
    pub failing: Option<String>,
}

/// How far a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It has no key yet.
    Nothing,
    /// A rotation is due and not begun.
    Due,
    /// A new key is being made, proven or published.
    Underway,
    /// Every sink serves its key since then.
    Serving(Timestamp),
}

impl Member {
    /// What the journal tells of it.
    pub fn of(rules: &Rules, state: &State, now: Moment) -> Self {
        let canary = rules.member.as_ref().is_some_and(|member| member.canary);
        let progress = progress(rules, state, now);
        Self { name: rules.name.clone(), canary, failing: failing(&rules.name, state, progress, now), progress }
    }
}

fn progress(rules: &Rules, state: &State, now: Moment) -> Progress {
    let underway = |phase| !matches!(phase, Phase::Grace | Phase::Revoking);
    match &state.current {
        None => Progress::Nothing,
        Some(_) if state.phase().is_some_and(underway) => Progress::Underway,
        Some(_) if state.rotation.is_none() && plan::due(state, rules, now.wall).at <= now.wall => Progress::Due,
        Some(current) => Progress::Serving(current.since),
    }
}

/// So many creates in an hour that served nobody are no accident.
const TRIES: usize = 3;

/// What is wrong with a member, if others must not do the same. Where nothing was ever served, nobody can be hurt.
fn failing(name: &CredentialName, state: &State, progress: Progress, now: Moment) -> Option<String> {
    if progress == Progress::Nothing {
        return None;
    }
    if let Some(halted) = &state.halted {
        return Some(format!("`{name}` is halted: {}", halted.halt.word()));
    }
    if state.trouble.as_ref().is_some_and(|trouble| trouble.failure.fault == Fault::PairRefused) {
        return Some(format!("Twilio refuses what the sinks serve of `{name}`"));
    }
    let refused = |cause| matches!(cause, Cause::NotAccepted | Cause::Permissions);
    if state.strays.iter().any(|stray| refused(stray.cause)) {
        return Some(format!("a new key of `{name}` was given up"));
    }
    // Only since something was last served: those before that have done what they were made for.
    let served = state.current.as_ref().map_or(HOUR, |current| elapsed(current.since, now.wall).min(HOUR));
    let tries = state.spent.creates_within(served, now.uptime);
    (tries >= TRIES).then(|| format!("`{name}` is not through after {tries} new keys"))
}

/// Why a member has to wait, and how soon to ask again.
pub type Pause = (Duration, String);

/// How soon what may take any time is asked about again.
const LONG: Duration = Duration::from_secs(30);
/// How soon what takes seconds is asked about again.
const SHORT: Duration = Duration::from_secs(5);

/// Whether the order of the fleet holds for this reason. What consumers wait for now waits for nobody; nor does what an
/// operator asked for.
pub fn is_ordered(reason: Reason) -> bool {
    match reason {
        Reason::Aged | Reason::Scheduled | Reason::Kind | Reason::Permissions => true,
        Reason::CurrentGone | Reason::First | Reason::Adopted | Reason::Requested | Reason::Widened => false,
    }
}

/// Whether this member may begin; `begun` tells of others that were let through and have not written it down yet.
pub fn turn(
    fleet: &FleetName,
    waves: &Waves,
    members: &[Member],
    me: &CredentialName,
    begun: impl Fn(&CredentialName) -> bool,
    now: Timestamp,
) -> Result<(), Pause> {
    let mine = members.iter().find(|member| member.name == *me);
    let canary = mine.is_some_and(|member| member.canary);
    // Whoever fails himself may try again: he can not be what he waits for.
    if mine.is_none_or(|member| member.failing.is_none()) {
        let mut wrong = members.iter().filter_map(|member| member.failing.as_ref());
        if let Some(why) = wrong.nth(waves.tolerate) {
            return Err((LONG, format!("the fleet `{fleet}` stands still: {why}")));
        }
    }
    if canary {
        return Ok(());
    }
    for first in members.iter().filter(|member| member.canary) {
        let name = &first.name;
        match first.progress {
            Progress::Nothing => return Err((LONG, format!("`{name}` goes first, and has no key yet"))),
            Progress::Due | Progress::Underway => return Err((SHORT, format!("`{name}` goes first"))),
            Progress::Serving(since) => {
                let left = elapsed(now, later(since, waves.hold));
                if !left.is_zero() {
                    return Err((left, format!("`{name}` went first and has not served for long enough")));
                }
            }
        }
    }
    let ahead = |member: &&Member| !member.canary && member.name != *me;
    let on_the_way = |member: &&Member| member.progress == Progress::Underway || begun(&member.name);
    let others: Vec<&Member> = members.iter().filter(ahead).collect();
    if others.iter().filter(|member| on_the_way(member)).count() < waves.batch {
        return Ok(());
    }
    // Those who come later ask later, so that a long line costs little.
    let before = others.iter().filter(|member| member.progress == Progress::Due && member.name < *me).count();
    let waves_before = u32::try_from(before / waves.batch.max(1)).unwrap_or(u32::MAX).saturating_add(1);
    Err((SHORT.saturating_mul(waves_before).min(LONG * 10), format!("{} of `{fleet}` are on the way", waves.batch)))
}

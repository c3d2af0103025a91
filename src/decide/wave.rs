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
    /// A rotation is due since then, and not begun.
    Due(Timestamp),
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

    /// Since when it is due; the name is for those whose time came in the same moment.
    fn due(&self) -> Option<(Timestamp, &CredentialName)> {
        match self.progress {
            Progress::Due(since) => Some((since, &self.name)),
            Progress::Nothing | Progress::Underway | Progress::Serving(_) => None,
        }
    }
}

fn progress(rules: &Rules, state: &State, now: Moment) -> Progress {
    let underway = |phase| !matches!(phase, Phase::Grace | Phase::Revoking);
    match &state.current {
        None => Progress::Nothing,
        Some(_) if state.phase().is_some_and(underway) => Progress::Underway,
        Some(current) => match plan::due(state, rules, now.wall).at {
            due if state.rotation.is_none() && due <= now.wall => Progress::Due(due),
            _ => Progress::Serving(current.since),
        },
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

/// What a process knows of the members that it asked for, and the journal does not tell.
pub trait Line {
    /// It was let through, and has perhaps not written it down yet.
    fn has_begun(&self, name: &CredentialName) -> bool;
    /// It was told to wait and will ask again.
    fn waits(&self, name: &CredentialName) -> bool;
}

/// Whether this member may begin. Who is due for longest goes first among those who ask; a fleet whose keys are to change more
/// often than its waves can go round would leave the last of them behind for ever.
pub fn turn(
    fleet: &FleetName,
    waves: &Waves,
    members: &[Member],
    me: &CredentialName,
    line: &impl Line,
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
            Progress::Due(_) | Progress::Underway => return Err((SHORT, format!("`{name}` goes first"))),
            Progress::Serving(since) => {
                let left = elapsed(now, later(since, waves.hold));
                if !left.is_zero() {
                    return Err((left, format!("`{name}` went first and has not served for long enough")));
                }
            }
        }
    }
    let others = || members.iter().filter(|member| !member.canary && member.name != *me);
    let underway =
        others().filter(|member| member.progress == Progress::Underway || line.has_begun(&member.name)).count();
    let mine = mine.and_then(Member::due);
    let is_before = |member: &&Member| {
        let due = member.due().filter(|_| !line.has_begun(&member.name));
        due.is_some_and(|due| mine.is_none_or(|mine| due < mine))
    };
    let before = others().filter(is_before);
    if underway + before.clone().filter(|member| line.waits(&member.name)).count() < waves.batch {
        return Ok(());
    }
    // Those who come later ask later, so that a long line costs little.
    let waves_before = u32::try_from(before.count() / waves.batch.max(1)).unwrap_or(u32::MAX).saturating_add(1);
    let why = format!("{} of `{fleet}` are on the way or due for longer", waves.batch);
    Err((SHORT.saturating_mul(waves_before).min(LONG * 10), why))
}

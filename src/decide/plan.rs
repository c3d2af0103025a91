//! When a credential's next rotation is due, and why: from the journal and the policy alone, so that a missed tick,
//! or a week switched off, loses nothing.

use super::breaker::CLOCKS_APART;
use crate::model::names::Place;
use crate::model::permission::same;
use crate::model::policy::{Allow, Cadence, Cron, KeyKind, Rules};
use crate::model::reason::Reason;
use crate::model::rotation::{Current, State};
use crate::model::time::later;
use jiff::Timestamp;

/// The next rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// When it may start; in the past if it is overdue.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
}

/// The first reason that holds, in this order: what hurts consumers now, what was never done, what was asked for,
/// what time brings.
pub fn due(state: &State, rules: &Rules, now: Timestamp) -> Due {
    let Some(current) = &state.current else {
        // An account always has an auth token.
        let adopts = rules.adopt.is_some() || rules.kind.is_token();
        let reason = if adopts { Reason::Adopted } else { Reason::First };
        return Due { at: now, reason };
    };
    if current.gone {
        return Due { at: now, reason: Reason::CurrentGone };
    }
    if current.attempt.is_none() {
        return Due { at: now, reason: Reason::Adopted };
    }
    if let Some(requested) = &state.requested {
        return Due { at: requested.at.wall.min(now), reason: Reason::Requested };
    }
    if added(state, rules).next().is_some() {
        return Due { at: now, reason: Reason::Widened };
    }
    if !rules.kind.fits(&current.sid) {
        return Due { at: now, reason: Reason::Kind };
    }
    if other_permissions(current, rules) {
        return Due { at: now, reason: Reason::Permissions };
    }
    // It was noted under a clock that ran far ahead: its age is not known, and must not be negative for years.
    if later(now, CLOCKS_APART) < current.since {
        return Due { at: now, reason: Reason::Aged };
    }
    match &rules.cadence {
        Cadence::Every(period) => Due { at: later(current.since, *period), reason: Reason::Aged },
        Cadence::Cron(cron) => Due { at: next_run(cron, current.since), reason: Reason::Scheduled },
    }
}

/// Whether the policy gives its keys other permissions than the current one was made with. Those that are copied from
/// another key are looked at whenever a rotation begins.
fn other_permissions(current: &Current, rules: &Rules) -> bool {
    match (&rules.kind, &current.permissions) {
        (KeyKind::Standard | KeyKind::KeyPair | KeyKind::AuthToken { .. }, has) => has.is_some(),
        (KeyKind::Restricted(_), None) => true,
        (KeyKind::Restricted(Allow::LikeKey(_)), Some(_)) => false,
        (KeyKind::Restricted(Allow::These(wanted)), Some(has)) => !same(wanted, has),
    }
}

/// Places of the policy that the credential is not served at yet.
pub fn added<'a>(state: &'a State, rules: &'a Rules) -> impl Iterator<Item = &'a Place> {
    let serves = |place: &Place| {
        let current = state.current.as_ref().is_some_and(|current| current.places.contains_key(place));
        let target = state.rotation.as_ref().is_some_and(|rotation| rotation.targets.contains_key(place));
        current || target
    };
    rules.places.iter().filter(move |place| !serves(place))
}

/// The first run of a cron expression after a time. Around a change of the clocks it runs once: in the hour that is
/// skipped at its end, in the hour that comes twice the first time (croner's rule).
pub fn next_run(cron: &Cron, after: Timestamp) -> Timestamp {
    let start = after.to_zoned(cron.zone.clone());
    // An expression that never fires is refused when the policy is read.
    cron.pattern.find_next_occurrence(&start, false).map_or(Timestamp::MAX, |next| next.timestamp())
}

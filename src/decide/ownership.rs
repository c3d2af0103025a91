//! Which keys of an account are ours by their label alone (protocol, rule 7).

use super::View;
use crate::model::key::{AttemptId, KeyFacts, KeySid};
use crate::model::rule::Rule;
use crate::model::time::Moment;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Whose the keys are that carry a label of ours.
#[derive(Debug, PartialEq, Eq)]
pub enum Ownership {
    /// There is no such key.
    None,
    /// Ours (protocol, rule 7).
    Ours(KeySid),
    /// Not to be told from a copy that a person made.
    Unclear(Vec<KeySid>),
}

/// A key is ours by its label only if it alone carries it and was created in the window of the attempt.
pub fn ownership(keys: &[KeyFacts], intended: &Moment, settle: Duration) -> Ownership {
    match keys {
        [] => Ownership::None,
        [key] if in_window(key.created_at, intended, settle) => Ownership::Ours(key.sid.clone()),
        [_, .., key] if !Rule::Unique.holds() => Ownership::Ours(key.sid.clone()),
        keys => Ownership::Unclear(keys.iter().map(|key| key.sid.clone()).collect()),
    }
}

const WINDOW_BEFORE: SignedDuration = SignedDuration::from_mins(2);

fn in_window(created: Timestamp, intended: &Moment, settle: Duration) -> bool {
    // Twilio's own clock dates the key, so it also dates the intent where it is known.
    let intent = intended.twilio.unwrap_or(intended.wall);
    let settle = SignedDuration::try_from(settle).unwrap_or(SignedDuration::MAX);
    let distance = created.duration_since(intent);
    !Rule::Window.holds() || distance >= -WINDOW_BEFORE && distance <= settle
}

/// The labels of creates that are still unsettled, for a look at the list.
pub(super) fn unsettled_now<'a>(view: &'a View<'_>) -> impl Iterator<Item = (AttemptId, &'a Moment)> {
    let (now, settle) = (view.now.uptime, view.timing.settle);
    let creates = view.state.unsettled.iter().filter(|create| !create.ambiguous);
    let young = creates.filter(move |create| now.since(create.intended.uptime) < settle);
    young.map(|create| (create.attempt, &create.intended))
}

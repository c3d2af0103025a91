//! Whether what each sink serves of each credential works, and when that was last known.
//!
//! What is not known has no series, and what could not be asked again stays as it was: its age tells. What should be known
//! and never was has an age too, from the moment on at which it could have been asked.

use super::lines::{metric, write};
use crate::model::names::{CredentialName, Place};
use crate::model::policy::Policy;
use crate::model::rotation::State;
use crate::ports::Served;
use jiff::Timestamp;
use prometheus::proto::Metric;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// What is known of the places of each credential, in the order of its policy: small, for there may be ten thousand.
#[derive(Default)]
pub(super) struct Places(Mutex<BTreeMap<CredentialName, Vec<Look>>>);

/// What is known of a place, and since when it should be, in seconds since 1970.
#[derive(Clone, Copy, Default)]
struct Look {
    /// Since when it serves the credential, as far as this daemon has lived; none if it is not meant to.
    since: Option<i64>,
    known: Option<Known>,
}

/// Whether Twilio accepts what a place serves, and when that was so.
#[derive(Clone, Copy)]
struct Known {
    valid: bool,
    at: i64,
}

/// A family with one series per credential and sink, or none where there is nothing to say.
struct Family {
    name: &'static str,
    help: &'static str,
    /// Of all places of a credential in one sink.
    value: fn(&[Look]) -> Option<f64>,
}

const FAMILIES: [Family; 2] = [
    Family {
        name: "rekeyd_served_pair_valid",
        help: "1 if Twilio accepts what the sink serves for the credential, 0 if it does not or nothing usable is there.",
        value: |places| valid(places).map(|valid| f64::from(u8::from(valid))),
    },
    Family {
        name: "rekeyd_served_pair_checked_timestamp_seconds",
        help: "When it was last known whether Twilio accepts what the sink serves for the credential; until it is known \
               for the first time, since when it should be: the daemon's start, or when the sink began to serve.",
        value: |places| checked(places).map(|at| at as f64),
    },
];

impl Places {
    /// Notes which places serve the credential by the journal: from now on it should be known of them.
    pub(super) fn expect(&self, policy: &Policy, name: &CredentialName, state: &State, now: Timestamp) {
        let Some(rules) = policy.credentials.get(name).filter(|_| policy.timing.watch.is_some()) else { return };
        // Keys that live in another account are not tried before somebody has settled that.
        let here = state.home.as_ref().is_none_or(|home| *home == rules.home);
        let current = state.current.as_ref().filter(|_| here);
        let serves = |place: &Place| current.is_some_and(|current| current.places.contains_key(place));
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let looks = places.entry(name.clone()).or_insert_with(|| vec![Look::default(); rules.places.len()]);
        for (place, look) in rules.places.iter().zip(looks) {
            look.since = serves(place).then(|| look.since.unwrap_or(now.as_second()));
        }
    }

    pub(super) fn note(&self, policy: &Policy, name: &CredentialName, served: Served<'_>) {
        let Some(rules) = policy.credentials.get(name) else { return };
        let Some(index) = rules.places.iter().position(|place| place == served.place) else { return };
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let looks = places.entry(name.clone()).or_insert_with(|| vec![Look::default(); rules.places.len()]);
        looks[index].known = Some(Known { valid: served.flaw.is_none(), at: served.at.as_second() });
    }

    /// Adds the text form.
    pub(super) fn render(&self, policy: &Policy, text: &mut String) -> Result<(), prometheus::Error> {
        FAMILIES.iter().try_for_each(|family| write(text, family.name, family.help, self.metrics(policy, family.value)))
    }

    fn metrics(&self, policy: &Policy, value: fn(&[Look]) -> Option<f64>) -> Vec<Metric> {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut metrics = Vec::new();
        for (name, looks) in places.iter() {
            let Some(rules) = policy.credentials.get(name) else { continue };
            for sink in rules.places.iter().map(|place| &place.sink).collect::<BTreeSet<_>>() {
                let here = rules.places.iter().zip(looks).filter(|(place, _)| &place.sink == sink);
                let told = value(&here.map(|(_, look)| *look).collect::<Vec<_>>());
                metrics.extend(told.map(|told| metric(name, Some(("sink", sink.as_str())), told)));
            }
        }
        metrics
    }
}

/// Of several places the worst; what is not known of one of them could be worse than all that is known.
fn valid(places: &[Look]) -> Option<bool> {
    let known = || places.iter().filter_map(|look| look.known);
    let refused = known().any(|known| !known.valid);
    let all = !places.is_empty() && known().count() == places.len();
    (refused || all).then_some(!refused)
}

/// Of several places the one that was not asked for longest.
fn checked(places: &[Look]) -> Option<i64> {
    // What was known of a place before it began to serve tells nothing of what it serves.
    let asked = |look: &Look| look.known.map(|known| known.at).max(look.since);
    places.iter().filter_map(asked).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(valid: bool, at: i64) -> Look {
        Look { since: Some(1), known: Some(Known { valid, at }) }
    }

    #[test]
    fn of_several_places_the_worst_and_the_oldest_count() {
        let unknown = Look { since: Some(3), known: None };
        let told = |places: &[Look]| (valid(places), checked(places));
        assert_eq!(told(&[known(true, 5)]), (Some(true), Some(5)));
        assert_eq!(told(&[known(true, 7), known(true, 5), known(true, 6)]), (Some(true), Some(5)));
        assert_eq!(told(&[known(true, 5), known(false, 7)]), (Some(false), Some(5)));
        assert_eq!(told(&[]), (None, None));
        assert_eq!(told(&[unknown]), (None, Some(3)));
        assert_eq!(told(&[unknown, known(true, 5)]), (None, Some(3)), "the other may be of no use");
        assert_eq!(told(&[known(false, 5), unknown]), (Some(false), Some(3)), "it can not be worse");
    }

    #[test]
    fn what_serves_nothing_yet_is_not_waited_for() {
        let told = |places: &[Look]| (valid(places), checked(places));
        assert_eq!(told(&[Look::default()]), (None, None));
        assert_eq!(told(&[Look::default(), known(true, 5)]), (None, Some(5)));
        let again = Look { since: Some(9), ..known(true, 5) };
        assert_eq!(told(&[again]), (Some(true), Some(9)), "it has served anew since 9");
    }
}

//! Whether what each sink serves of each credential works, and when that was last known.
//!
//! What is not known has no series, and what could not be asked again stays as it was: its age tells.

use super::lines::{metric, write};
use crate::model::names::CredentialName;
use crate::model::policy::Policy;
use crate::ports::Served;
use prometheus::proto::Metric;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// What is known of the places of each credential, in the order of its policy: small, for there may be ten thousand.
#[derive(Default)]
pub(super) struct Places(Mutex<BTreeMap<CredentialName, Vec<Option<Known>>>>);

/// Whether Twilio accepts what a place serves, and when that was so, in seconds since 1970.
#[derive(Clone, Copy)]
struct Known {
    valid: bool,
    at: i64,
}

/// A family with one series per credential and sink, or none where nothing is known.
struct Family {
    name: &'static str,
    help: &'static str,
    value: fn(Known) -> f64,
}

const FAMILIES: [Family; 2] = [
    Family {
        name: "rekeyd_served_pair_valid",
        help: "1 if Twilio accepts what the sink serves for the credential, 0 if it does not or nothing usable is there.",
        value: |known| f64::from(u8::from(known.valid)),
    },
    Family {
        name: "rekeyd_served_pair_checked_timestamp_seconds",
        help: "When it was last known whether Twilio accepts what the sink serves for the credential.",
        value: |known| known.at as f64,
    },
];

impl Places {
    pub(super) fn note(&self, policy: &Policy, name: &CredentialName, served: Served<'_>) {
        let Some(rules) = policy.credentials.get(name) else { return };
        let Some(index) = rules.places.iter().position(|place| place == served.place) else { return };
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = places.entry(name.clone()).or_insert_with(|| vec![None; rules.places.len()]);
        known[index] = Some(Known { valid: served.flaw.is_none(), at: served.at.as_second() });
    }

    /// Adds the text form.
    pub(super) fn render(&self, policy: &Policy, text: &mut String) -> Result<(), prometheus::Error> {
        FAMILIES.iter().try_for_each(|family| write(text, family.name, family.help, self.metrics(policy, family.value)))
    }

    fn metrics(&self, policy: &Policy, value: fn(Known) -> f64) -> Vec<Metric> {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut metrics = Vec::new();
        for (name, known) in places.iter() {
            let Some(rules) = policy.credentials.get(name) else { continue };
            for sink in rules.places.iter().map(|place| &place.sink).collect::<BTreeSet<_>>() {
                let here = rules.places.iter().zip(known).filter(|(place, _)| &place.sink == sink);
                let told = of_sink(&here.map(|(_, known)| *known).collect::<Vec<_>>());
                metrics.extend(told.map(|told| metric(name, Some(("sink", sink.as_str())), value(told))));
            }
        }
        metrics
    }
}

/// Of several places the worst and the oldest; what is not known of one of them could be worse than all that is known.
fn of_sink(places: &[Option<Known>]) -> Option<Known> {
    let worst = |one: Known, other: Known| Known { valid: one.valid && other.valid, at: one.at.min(other.at) };
    let told = places.iter().flatten().copied().reduce(worst)?;
    (!told.valid || places.iter().all(Option::is_some)).then_some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_places_the_worst_and_the_oldest_count() {
        let known = |valid, at| Some(Known { valid, at });
        let told = |places: &[Option<Known>]| of_sink(places).map(|known| (known.valid, known.at));
        assert_eq!(told(&[known(true, 5)]), Some((true, 5)));
        assert_eq!(told(&[known(true, 7), known(true, 5), known(true, 6)]), Some((true, 5)));
        assert_eq!(told(&[known(true, 5), known(false, 7)]), Some((false, 5)));
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[None]), None);
        assert_eq!(told(&[None, known(true, 5)]), None, "the other may be of no use");
        assert_eq!(told(&[known(false, 5), None]), Some((false, 5)), "it can not be worse");
    }
}

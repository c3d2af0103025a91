//! Since when it is not known whether what is served works, as the metrics tell it.

use super::deadline::{HOUR, START, Told};
use crate::support::world::policy_with;
use jiff::Timestamp;
use rekeyd::model::home::Home;
use rekeyd::model::key::AccountSid;
use rekeyd::model::policy::{Policy, Timing};
use rekeyd::model::rotation::State;
use rekeyd::ports::{Observer as _, Served};
use std::time::Duration;

const MINUTE: i64 = 60;

fn watching(watch: Option<Duration>) -> Told {
    let policy = policy_with(&["a"], |_| {});
    Told::of(Policy { timing: Timing { watch, ..policy.timing }, ..policy })
}

fn watched() -> Told {
    watching(Some(Duration::from_secs(15 * 60)))
}

/// When the two sinks were last known to serve what works, after the start.
fn checked(told: &Told) -> [Option<i64>; 2] {
    ["one", "two"].map(|sink| {
        told.value(&format!("rekeyd_served_pair_checked_timestamp_seconds{{credential=\"a\",sink=\"{sink}\"}}"))
    })
}

/// A look at the first sink, so long after the start.
fn looks(told: &Told, after: i64) {
    let at = Timestamp::from_second(START + after).unwrap();
    told.metrics.served(&told.rules.name, Served { place: &told.rules.places[0], at, flaw: None });
}

#[test]
fn a_sink_that_has_not_answered_since_the_start_is_as_old_as_the_daemon() {
    let told = watched();
    let state = told.serving();
    told.see(0, &state);
    assert_eq!(checked(&told), [Some(0), Some(0)]);
    assert!(!told.metrics.render().unwrap().contains("rekeyd_served_pair_valid"), "nothing is known");
    looks(&told, MINUTE);
    told.see(3 * HOUR, &state);
    assert_eq!(checked(&told), [Some(MINUTE), Some(0)], "what is seen again and again does not grow younger");
    looks(&told, 4 * HOUR);
    assert_eq!(checked(&told), [Some(4 * HOUR), Some(0)]);
}

#[test]
fn what_nobody_could_look_at_has_no_age() {
    let told = watched();
    told.see(0, &State::default());
    assert_eq!(checked(&told), [None, None], "there is no key yet");
    let mut state = told.serving();
    state.current.as_mut().unwrap().places.remove(&told.rules.places[1]);
    told.see(HOUR, &state);
    assert_eq!(checked(&told), [Some(HOUR), None], "it is not published there yet");
    told.see(2 * HOUR, &told.serving());
    assert_eq!(checked(&told), [Some(HOUR), Some(2 * HOUR)]);
    let account = AccountSid::new("AC00000000000000000000000000000002").unwrap();
    let elsewhere = State { home: Some(Home::us1(account)), ..told.serving() };
    told.see(3 * HOUR, &elsewhere);
    assert_eq!(checked(&told), [None, None], "its keys live in another account");

    let told = watching(None);
    told.see(0, &told.serving());
    assert_eq!(checked(&told), [None, None], "the watch is off");
}

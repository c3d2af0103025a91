//! What a place may show: reads that are out of date, and the words about what was expected.

use super::*;
use rekeyd::decide::drift;

/// Serving version 5, and nothing else ever happened.
fn serving() -> Scene {
    let verified = Event::Verified { successes: 3, refusals: 0 };
    let publishing = Event::Publishing { place: place(), base: Version("4".into()) };
    let written = Event::Written { place: place(), version: Version("5".into()) };
    let events = [intended(1, "4"), created(1), verified, publishing, written, published("5"), Event::Completed];
    Scene::new().after(events.map(|event| (0, event)))
}

fn outdated(scene: &Scene, version: &str) -> Option<String> {
    drift::outdated(&scene.state, &place(), &Version(version.into())).map(|newer| newer.0.clone())
}

fn failed(ms: u64, step: StepName, fault: Fault) -> (u64, Event) {
    (ms, Event::Failed { step, failure: Failure::new(fault, "x") })
}

const QUARTER: u64 = 15 * 60 * 1000;

#[test]
fn a_version_that_is_counted_and_less_than_one_seen_before_is_out_of_date() {
    let scene = serving();
    assert_eq!(outdated(&scene, "4"), Some("5".into()));
    assert_eq!((outdated(&scene, "5"), outdated(&scene, "6")), (None, None));
    assert_eq!(outdated(&scene, "a-uuid"), None, "what is not counted can not be told to be older");
    let other = Place::new(SinkName::new("two").unwrap(), "billing");
    assert_eq!(drift::outdated(&scene.state, &other, &Version("1".into())), None, "nothing is known of that place");
    assert_eq!(outdated(&Scene::new(), "1"), None);
}

#[test]
fn what_the_rotation_has_read_and_written_counts_too() {
    let scene = serving().after([(1, intended(2, "7"))]);
    assert_eq!((outdated(&scene, "6"), outdated(&scene, "7")), (Some("7".into()), None));
    let verified = Event::Verified { successes: 3, refusals: 0 };
    let publishing = Event::Publishing { place: place(), base: Version("7".into()) };
    let written = Event::Written { place: place(), version: Version("8".into()) };
    let scene = scene.after([created(2), verified, publishing, written].map(|event| (2, event)));
    assert_eq!((outdated(&scene, "7"), outdated(&scene, "8")), (Some("8".into()), None));
}

#[test]
fn what_stays_so_for_a_quarter_of_an_hour_is_believed_and_other_troubles_do_not_count() {
    let lagging = |ms, step, fault| serving().after([failed(1, step, fault), failed(1 + ms, step, fault)]);
    assert_eq!(outdated(&lagging(QUARTER, StepName::Look, Fault::Conflict), "4"), Some("5".into()));
    assert_eq!(outdated(&lagging(QUARTER + 1, StepName::Look, Fault::Conflict), "4"), None);
    assert_eq!(outdated(&lagging(QUARTER + 1, StepName::Look, Fault::Timeout), "4"), Some("5".into()));
    assert_eq!(outdated(&lagging(QUARTER + 1, StepName::Publish, Fault::Conflict), "4"), Some("5".into()));
}

#[test]
fn an_operator_who_allows_whatever_is_there_is_believed() {
    let resumed = Event::Resumed { by: "tester".into(), overwrite: true, forget: BTreeSet::new() };
    assert_eq!(outdated(&serving().after([(1, resumed)]), "4"), None);
}

#[test]
fn a_halt_says_what_was_expected_and_what_was_seen() {
    let told = |content: Content, allowed: &[KeySid], served: bool| {
        let (scene, allowed) = (Scene::new(), allowed.iter().collect::<Vec<_>>());
        let seen = Seen { version: Version("1".into()), content, staged: false };
        scene.with(|view| drift::check(view, &place(), &seen, &allowed, served).err().map(|drift| drift.detail))
    };
    let pair = |n| Content::Pair { sid: sid(n), stamp: None };
    let (one, two) = (sid(1), sid(2));
    assert_eq!(told(Content::Absent, &[], true).unwrap(), "one:billing holds no key, none expected");
    let both = told(pair(3), &[one.clone(), two.clone()], true).unwrap();
    assert_eq!(both, format!("one:billing serves {}, {one} or {two} expected", sid(3)));
    assert_eq!(told(pair(3), &[], true).unwrap(), format!("one:billing already serves {}, which is not ours", sid(3)));
    assert_eq!((told(pair(1), &[one], true), told(Content::Blank, &[two], false)), (None, None));
}

#[test]
fn what_a_place_at_rest_should_not_show_is_unexpected() {
    let (one, two) = (sid(1), sid(2));
    let unexpected = |state: &State| [Some(&one), Some(&two), None].map(|shown| drift::unexpected(state, shown));
    let mut state = serving().state;
    assert_eq!(unexpected(&state), [false, true, true]);
    state.leftovers.push(two.clone());
    assert_eq!(unexpected(&state), [false, false, true], "a rotation that was cut short may have left it");
    assert_eq!(unexpected(&serving().after([(1, intended(2, "5"))]).state), [false; 3], "it will be looked at anyway");
    let halted = Event::Halted { halt: Halt::Drift, detail: "x".into() };
    assert_eq!(unexpected(&serving().after([(1, halted)]).state), [false; 3], "a human must look");
}

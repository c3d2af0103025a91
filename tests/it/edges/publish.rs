//! Publishing, and what happens when it is disturbed.

use super::*;

/// Key 1 is served; a rotation to key 2 has been verified at that time, and its secret is in memory.
fn verified(ms: u64) -> Scene {
    let events = [intended(2, "1"), created(2), Event::Verified { successes: 3, refusals: 0 }];
    serving().after(events.map(|event| (ms, event))).holding(2, Tally::default())
}

fn publishing() -> Event {
    Event::Publishing { place: place(), base: Version("1".into()) }
}

#[test]
fn a_write_that_may_be_under_way_is_looked_for_before_it_is_sent_again() {
    assert!(matches!(verified(HOUR).step(), Step::Publish { .. }));
    let asked = || verified(HOUR).after([(HOUR, publishing())]);
    assert_eq!(asked().step(), Step::Look(vec![place()]));
    assert!(matches!(asked().serves(1, "1", HOUR).step(), Step::Publish { .. }));
    assert!(matches!(asked().serves(2, "2", HOUR).step(), Step::Record(Event::Written { .. })));
}

#[test]
fn what_shows_the_old_key_at_another_version_is_a_fence_of_ours_or_somebody_elses_write() {
    let moved = |fenced| {
        let mut scene = verified(HOUR).after([(HOUR, publishing())]).serves(1, "7", HOUR);
        scene.state.rotation.as_mut().unwrap().fenced = fenced;
        scene
    };
    assert!(matches!(moved(true).step(), Step::Record(Event::Rebased { base, .. }) if base == Version("7".into())));
    assert_eq!(moved(false).halts(), Some(Halt::Drift));
}

#[test]
fn without_its_secret_a_key_is_given_up_and_ten_minutes_tell_why() {
    let cause = |held: u64| {
        let mut scene = verified(HOUR).now(HOUR + held).serves(1, "1", HOUR + held);
        scene.hand = Hand::default();
        let Step::Record(Event::Abandoned { cause, .. }) = scene.step() else { panic!("{:?}", scene.step()) };
        cause
    };
    assert_eq!(cause(600_000), Cause::SecretLost);
    assert_eq!(cause(600_001), Cause::SinksDown);
}

#[test]
fn grace_begins_when_what_every_place_serves_was_tried() {
    let written = || {
        let written = Event::Written { place: place(), version: Version("2".into()) };
        verified(HOUR).after([(HOUR, publishing()), (HOUR, written)]).serves(2, "2", HOUR)
    };
    assert_eq!(written().step(), Step::Prove(vec![place()]));
    assert_eq!(written().proven(2, "1", HOUR).step(), Step::Prove(vec![place()]));
    assert!(matches!(written().proven(2, "2", HOUR).step(), Step::Record(Event::Published { .. })));
}

#[test]
fn a_create_that_nobody_answered_is_looked_for_while_nothing_is_due() {
    let mut scene = serving().after([(HOUR, intended(2, "1")), (HOUR, Event::Unsettled)]).serves(1, "1", HOUR);
    assert_eq!(scene.step(), Step::Find(attempt(2)));
    scene.sight.labelled.insert(attempt(2), Vec::new());
    assert!(scene.waits().is_some());
}

/// In grace, with an operator's request at that time after the rotation began.
fn asked(after: u64, overwrite: bool) -> Scene {
    let at = HOUR + after;
    let mut scene = grace_since(HOUR).after([(at, Event::Requested { by: "somebody".into() })]);
    scene.state.overwrite = overwrite;
    scene.serves(2, "2", at)
}

#[test]
fn only_what_was_asked_after_a_rotation_began_makes_another_on_top() {
    assert!(matches!(asked(1, true).step(), Step::Issue(intent) if intent.reason == Reason::Requested));
    assert!(asked(0, true).waits().is_some());
    assert!(asked(1, false).waits().is_some());
}

#[test]
fn with_three_keys_alive_no_further_one_is_made_but_for_one_that_is_refused() {
    let crowded = |alive: usize, spoiled| {
        let mut scene = asked(1, true);
        let rotation = scene.state.rotation.as_mut().unwrap();
        rotation.spoiled = spoiled;
        rotation.predecessors.extend((10..8 + u32::try_from(alive).unwrap()).map(sid));
        assert_eq!(scene.state.alive(), alive);
        scene.step()
    };
    assert!(matches!(crowded(2, false), Step::Issue(_)));
    assert!(matches!(crowded(3, false), Step::Wait { .. }));
    assert!(matches!(crowded(4, false), Step::Wait { .. }));
    assert!(matches!(crowded(3, true), Step::Issue(_)));
}

#[test]
fn a_new_key_that_was_deleted_is_replaced_only_when_somebody_asks() {
    let lost = |after| {
        let mut scene = asked(after, false);
        scene.state.rotation.as_mut().unwrap().lost = true;
        scene
    };
    assert_eq!(lost(0).halts(), Some(Halt::SuccessorGone));
    assert!(matches!(lost(1).step(), Step::Issue(intent) if intent.reason == Reason::CurrentGone));
}

#[test]
fn a_key_noted_under_a_clock_that_ran_far_ahead_is_due_and_one_a_little_ahead_is_not() {
    let due = |ahead: u64| {
        let mut scene = serving().now(HOUR);
        scene.state.current.as_mut().unwrap().since = at(HOUR + ahead).wall;
        let rules = scene.rules().clone();
        plan::due(&scene.state, &rules, at(HOUR).wall).at
    };
    assert_eq!(due(300_000), at(25 * HOUR + 300_000).wall);
    assert_eq!(due(300_001), at(HOUR).wall);
}

#[test]
fn a_create_that_is_not_answered_is_asked_about_ever_more_rarely() {
    let pause = |age: u64| {
        let mut scene = Scene::new().after([(0, intended(1, "0")), (0, Event::Unsettled)]).now(age);
        scene.sight.labelled.insert(attempt(1), Vec::new());
        scene.sees("0", Content::Absent, age).waits()
    };
    assert_eq!([pause(1_000), pause(100_000), pause(890_000)], [1, 50, 10].map(|s| Some(Duration::from_secs(s))));
}

#[test]
fn two_creates_a_day_may_leave_keys_that_nobody_can_tell_from_others() {
    let now = 26 * HOUR;
    let unclear = |times: &[u64], ambiguous| {
        let mut scene = serving().now(now).serves(1, "1", now);
        let create = |(n, ms): (usize, &u64)| Unsettled {
            attempt: attempt(n as u128 + 7),
            intended: at(*ms),
            ambiguous,
            auth_token: false,
        };
        scene.state.unsettled = times.iter().enumerate().map(create).collect();
        for n in 0..times.len() {
            scene.sight.labelled.insert(attempt(n as u128 + 7), Vec::new());
        }
        scene
    };
    let young = now - 24 * HOUR + 1;
    assert_eq!(unclear(&[young, now - 1], true).waits(), Some(Duration::from_secs(600)));
    assert!(matches!(unclear(&[young], true).step(), Step::Issue(_)));
    assert!(matches!(unclear(&[young - 1, now - 1], true).step(), Step::Issue(_)));
    // Of others the answer came late, and that is all.
    assert!(matches!(unclear(&[young, now - HOUR], false).step(), Step::Issue(_)));
}

#[test]
fn a_key_of_another_credential_is_not_adopted() {
    let adopts = |taken: bool| {
        let mut scene = Scene::new().fetched(1, 0);
        scene.rules().adopt = Some(sid(1));
        if taken {
            scene.sight.owners.insert(sid(1), CredentialName::new("other").unwrap());
        }
        scene
    };
    assert_eq!(adopts(true).halts(), Some(Halt::AdoptTaken));
    assert!(matches!(adopts(false).step(), Step::Record(Event::Adopted { .. })));
}

#[test]
fn what_lacks_of_grace_by_twilios_clock_alone_does_not_keep_twilio_from_being_asked_for_its_date() {
    let mut scene = grace_since(0).now(HOUR).serves(2, "2", HOUR);
    scene.now.twilio = Some(at(HOUR - 10_000).wall);
    assert_eq!(scene.step(), Step::Fetch(sid(1)));
    // One second more: so coarse is the `Date` header.
    assert_eq!(scene.fetched(1, HOUR).waits(), Some(Duration::from_secs(11)));
}

#[test]
fn a_write_is_decided_once_for_the_version_that_the_intent_saw() {
    let verified = Event::Verified { successes: 3, refusals: 0 };
    let flight = || Scene::new().after([(0, intended(1, "0")), (0, created(1)), (0, verified.clone())]);
    let decided = |scene: &Scene, base: &str| {
        let event = Event::Publishing { place: place(), base: Version(base.into()) };
        apply(scene.state.clone(), &Entry { seq: 9, at: at(1), event }).is_ok()
    };
    assert!(decided(&flight(), "0"));
    assert!(!decided(&flight(), "1"), "another version than the one that was seen");
    let mut written = flight();
    let target = written.state.rotation.as_mut().unwrap().targets.get_mut(&place()).unwrap();
    target.written = Some(Version("1".into()));
    assert!(!decided(&written, "0"), "it is written already");
}

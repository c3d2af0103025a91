//! Restricted keys: what the decisions make of the permissions that are wanted, and of those that Twilio shows.

use super::*;
use rekeyd::model::permission::{Granted, Permission, Permissions};
use rekeyd::model::policy::{Allow, KeyKind};

fn these(texts: &[&str]) -> Permissions {
    texts.iter().map(|text| Permission::new(text).unwrap()).collect()
}

fn wanted() -> Permissions {
    these(&["/twilio/messaging/messages/read", "/twilio/messaging/messages/list"])
}

/// A rotation whose key shall have those permissions.
fn intended_with(permissions: Option<Permissions>) -> Event {
    let Event::Intended(intent) = intended(1, "0") else { panic!("an intent") };
    Event::Intended(Box::new(Intent { permissions, ..*intent }))
}

/// The new key was accepted as often as it must be.
fn accepted() -> Tally {
    Tally { successes: 3, first: Some(Uptime(0)), last: Some(Uptime(10_000)), misses: 0 }
}

fn verifying(granted: Option<(Granted, u64)>, now: u64) -> Scene {
    let mut scene = Scene::new().after([(0, intended_with(Some(wanted()))), (0, created(1))]).now(now);
    scene = scene.holding(1, accepted());
    scene.sight.granted = granted.into_iter().map(|(granted, ms)| (sid(1), (granted, Uptime(ms)))).collect();
    scene
}

fn only(texts: &[&str]) -> Granted {
    Granted::Only(these(texts))
}

#[test]
fn a_key_that_works_is_verified_only_when_its_permissions_were_just_read_and_are_the_wanted_ones() {
    let verified = Step::Record(Event::Verified { successes: 3, refusals: 0 });
    let right = || Granted::Only(wanted());
    assert_eq!(verifying(None, 10_000).step(), Step::Permissions(sid(1)));
    assert_eq!(verifying(Some((right(), 10_000)), 10_000).step(), verified);
    assert_eq!(verifying(Some((right(), 10_000)), 40_000).step(), verified, "30 s old");
    assert_eq!(verifying(Some((right(), 10_000)), 40_001).step(), Step::Permissions(sid(1)), "older");
    let given_up = Step::Record(Event::Abandoned { sid: sid(1), cause: Cause::Permissions });
    for wrong in [
        Granted::Everything,
        Granted::Unknown("/twilio/a/b/c/d".into()),
        only(&["/twilio/messaging/messages/read"]),
        only(&["/twilio/messaging/messages/*"]),
        only(&["/twilio/messaging/messages/read", "/twilio/messaging/messages/list", "/twilio/a/b/read"]),
        only(&[]),
    ] {
        assert_eq!(verifying(Some((wrong.clone(), 10_000)), 10_000).step(), given_up, "{wrong:?}");
    }
}

#[test]
fn a_key_that_twilio_does_not_know_yet_is_asked_for_again_until_its_time_is_over() {
    let gone = |now| verifying(Some((Granted::Gone, 10_000)), now);
    assert_eq!(gone(11_999).waits(), Some(Duration::from_millis(1)));
    assert_eq!(gone(12_000).step(), Step::Permissions(sid(1)));
    let late = gone(310_001).step();
    assert_eq!(late, Step::Record(Event::Abandoned { sid: sid(1), cause: Cause::NotAccepted }));
}

#[test]
fn permissions_are_no_matter_of_ordinary_keys() {
    let scene = Scene::new().after([(0, intended(1, "0")), (0, created(1))]).now(10_000).holding(1, accepted());
    assert_eq!(scene.step(), Step::Record(Event::Verified { successes: 3, refusals: 0 }));
}

/// A credential at rest whose key has those permissions, under a policy that wants these.
fn at_rest(has: Option<Permissions>, wants: Option<Allow>) -> Scene {
    let verified = Event::Verified { successes: 3, refusals: 0 };
    let written = Event::Written { place: place(), version: Version("1".into()) };
    let publishing = Event::Publishing { place: place(), base: Version("0".into()) };
    let events = [intended_with(has), created(1), verified, publishing, written, published("1"), Event::Completed];
    let mut scene = Scene::new().after(events.map(|event| (0, event))).serves(1, "1", 0);
    scene.rules().kind = wants.map_or(KeyKind::Standard, KeyKind::Restricted);
    scene
}

#[test]
fn other_permissions_in_the_policy_are_a_reason_to_rotate_and_the_same_are_none() {
    let due = |scene: &Scene| scene.with(|view| plan::due(view.state, view.rules, view.now.wall));
    let other = these(&["/twilio/messaging/messages/read"]);
    let like = || Some(Allow::LikeKey(sid(9)));
    for (has, wants, reason) in [
        (None, None, Reason::Aged),
        (Some(wanted()), Some(Allow::These(wanted())), Reason::Aged),
        (Some(wanted()), like(), Reason::Aged),
        (None, Some(Allow::These(wanted())), Reason::Permissions),
        (None, like(), Reason::Permissions),
        (Some(wanted()), None, Reason::Permissions),
        (Some(wanted()), Some(Allow::These(other.clone())), Reason::Permissions),
        (Some(other.clone()), Some(Allow::These(wanted())), Reason::Permissions),
    ] {
        let scene = at_rest(has.clone(), wants.clone());
        assert_eq!(due(&scene).reason, reason, "{has:?} {wants:?}");
        let issues = matches!(scene.step(), Step::Issue(_) | Step::Permissions(_));
        assert_eq!(issues, reason == Reason::Permissions, "{has:?} {wants:?}: {:?}", scene.step());
    }
}

#[test]
fn the_intent_says_what_the_key_may_do_and_a_template_is_asked_first() {
    let issued = |scene: &Scene| {
        let Step::Issue(intent) = scene.step() else { panic!("{:?}", scene.step()) };
        intent.permissions
    };
    assert_eq!(issued(&at_rest(None, Some(Allow::These(wanted())))), Some(wanted()));
    assert_eq!(issued(&at_rest(Some(wanted()), None)), None);
    let mut scene = at_rest(None, Some(Allow::LikeKey(sid(9))));
    assert_eq!(scene.step(), Step::Permissions(sid(9)));
    scene.sight.granted.insert(sid(9), (Granted::Only(wanted()), Uptime(0)));
    assert_eq!(issued(&scene), Some(wanted()));
    let many: Vec<_> = (0..101).map(|n| format!("/twilio/p/r{n}/read")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    scene.sight.granted.insert(sid(9), (only(&many[..100]), Uptime(0)));
    assert_eq!(issued(&scene).map(|permissions| permissions.len()), Some(100));
    let unknown = || Granted::Unknown("/twilio/a/b/c/d".into());
    for unfit in [Granted::Gone, Granted::Everything, only(&[]), only(&many), unknown()] {
        scene.sight.granted.insert(sid(9), (unfit, Uptime(0)));
        assert_eq!(scene.halts(), Some(Halt::NoTemplate));
    }
}

#[test]
fn a_row_of_trials_is_counted_and_ended_by_a_refusal() {
    let mut tally = Tally::default();
    for (accepted, ms) in [(false, 1), (false, 2), (true, 3), (true, 4), (false, 5), (true, 6)] {
        tally.count(accepted, Uptime(ms));
    }
    assert_eq!((tally.successes, tally.first, tally.last, tally.misses), (1, Some(Uptime(6)), Some(Uptime(6)), 3));
    tally.count(true, Uptime(7));
    assert_eq!((tally.successes, tally.first, tally.last, tally.misses), (2, Some(Uptime(6)), Some(Uptime(7)), 3));
}

#[test]
fn another_kind_of_key_in_the_policy_is_a_reason_to_rotate_and_the_intent_says_which() {
    let restricted = || KeyKind::Restricted(Allow::These(wanted()));
    for (prefix, wants, reason) in [
        ("SK", KeyKind::Standard, Reason::Aged),
        ("CR", KeyKind::KeyPair, Reason::Aged),
        ("SK", KeyKind::KeyPair, Reason::Kind),
        ("CR", KeyKind::Standard, Reason::Kind),
        ("CR", restricted(), Reason::Kind),
    ] {
        let mut scene = at_rest(None, None);
        let sid = KeySid::new(&format!("{prefix}{:032x}", 1)).unwrap();
        scene.state.current.as_mut().unwrap().sid = sid.clone();
        scene = scene.sees("1", Content::Pair { sid, stamp: None }, 0);
        scene.rules().kind = wants.clone();
        let due = scene.with(|view| plan::due(view.state, view.rules, view.now.wall));
        assert_eq!(due.reason, reason, "{prefix} {wants:?}");
        if reason == Reason::Kind {
            let Step::Issue(intent) = scene.step() else { panic!("{:?}", scene.step()) };
            let asked = (intent.key_pair, intent.permissions.is_some());
            assert_eq!(asked, (wants == KeyKind::KeyPair, wants == restricted()), "{prefix} {wants:?}");
        }
    }
}

//! Auth tokens: what may still be on its way is waited for by every clock, and no third token is asked for.

use super::*;
use rekeyd::model::policy::KeyKind;

const SETTLE: u64 = 15 * 60 * 1000;
/// Both readings of Twilio's clock are cut to whole seconds.
const SECOND: u64 = 1000;

fn token(n: u128) -> KeySid {
    KeySid::of_token(attempt(n))
}

fn of_tokens(mut scene: Scene) -> Scene {
    scene.rules().kind = KeyKind::AuthToken { quiet: false };
    scene
}

/// The account's own token is adopted, and nothing else has happened.
fn adopted() -> Scene {
    let scene = of_tokens(Scene::new());
    let Step::Record(event) = scene.step() else { panic!("{:?}", scene.step()) };
    assert!(matches!(&event, Event::Adopted { created_at: None, .. }));
    scene.after([(0, event)])
}

fn making(n: u128) -> Event {
    let Event::Intended(intent) = intended(1, "0") else { unreachable!() };
    Event::Intended(Box::new(Intent { attempt: attempt(n), auth_token: true, ..*intent }))
}

/// Twilio was asked about the token in use just now.
fn asked(mut scene: Scene, ms: u64) -> Scene {
    let sid = scene.state.current.clone().unwrap().sid;
    let facts = KeyFacts { sid: sid.clone(), label: None, created_at: at(0).wall };
    scene.sight.keys.insert(sid, (Some(facts), Uptime(ms)));
    scene
}

/// A create at 0 that nobody answered.
fn lost() -> Scene {
    adopted().after([(0, making(5)), (0, Event::Unsettled)])
}

#[test]
fn a_create_without_an_answer_is_not_looked_for_in_any_list() {
    let making = adopted().after([(0, making(5))]);
    assert_eq!(making.step(), Step::Record(Event::Unsettled));
}

#[test]
fn the_token_of_a_lost_create_is_a_stray_once_it_can_be_made_no_more() {
    assert_eq!(lost().now(SETTLE - 1).waits(), Some(Duration::from_millis(1)));
    let current = adopted().state.current.unwrap().sid;
    assert_eq!(lost().now(SETTLE + SECOND).step(), Step::Fetch(current), "Twilio's date has to be fresh");
    let early = asked(lost().now(SETTLE), SETTLE);
    assert_eq!(early.waits(), Some(Duration::from_millis(SECOND)));
    let over = asked(lost().now(SETTLE + SECOND), SETTLE + SECOND);
    assert_eq!(over.step(), Step::Record(Event::Found { attempt: attempt(5), sid: token(5) }));
}

#[test]
fn a_clock_of_twilios_that_stands_still_delays_it() {
    let mut late = asked(lost().now(SETTLE + SECOND), SETTLE + SECOND);
    late.now.twilio = Some(at(60_000).wall);
    assert!(late.waits().is_some());
}

#[test]
fn after_an_end_the_next_token_is_made_when_nothing_is_on_its_way_any_more() {
    let ended = |ms: u64| {
        let mut scene = asked(adopted().now(ms), ms).sees("0", Content::Absent, ms);
        scene.state.token_ended = Some(at(0));
        scene
    };
    assert_eq!(ended(SETTLE - 1).waits(), Some(Duration::from_millis(1)));
    assert!(matches!(ended(SETTLE + SECOND).step(), Step::Issue(intent) if intent.auth_token));
}

#[test]
fn what_ends_a_token_is_noted_and_what_ends_a_key_is_not() {
    let stray = lost().after([(SETTLE, Event::Found { attempt: attempt(5), sid: token(5) })]);
    let removed = stray.after([(SETTLE + 7, Event::Removed { sid: token(5) })]);
    assert_eq!(removed.state.token_ended, Some(at(SETTLE + 7)));
    assert_eq!(grace_since(HOUR).after([(HOUR + 9, Event::Revoked { sid: sid(1) })]).state.token_ended, None);
}

#[test]
fn no_third_token_is_asked_for_where_a_third_key_would_be() {
    let served = |kind: KeyKind, old: KeySid, new: KeySid| {
        let mut scene = grace_since(HOUR).now(HOUR + 60_000);
        scene.rules().kind = kind;
        let rotation = scene.state.rotation.as_mut().unwrap();
        (rotation.predecessors, rotation.successor) = (vec![old], Some(new.clone()));
        rotation.auth_token = new.is_auth_token();
        scene.state.current.as_mut().unwrap().sid = new.clone();
        scene.state.overwrite = true;
        let at = at(HOUR + 30_000);
        scene.state.requested = Some(rekeyd::model::rotation::Requested { by: "ada".into(), at });
        scene.sees("2", Content::Pair { sid: new, stamp: None }, HOUR + 60_000)
    };
    let keys = served(KeyKind::Standard, sid(1), sid(2));
    assert!(matches!(keys.step(), Step::Issue(_)), "{:?}", keys.step());
    let tokens = served(KeyKind::AuthToken { quiet: false }, token(1), token(2));
    assert!(!matches!(tokens.step(), Step::Issue(_)), "{:?}", tokens.step());
}

#[test]
fn keys_and_tokens_do_not_follow_one_another() {
    let mut keys = of_tokens(serving());
    assert_eq!(keys.halts(), Some(Halt::KindChanged));
    keys.rules().kind = KeyKind::Standard;
    assert_eq!(keys.halts(), None);
    let mut tokens = lost();
    tokens.rules().kind = KeyKind::KeyPair;
    assert_eq!(tokens.halts(), Some(Halt::KindChanged));
}

#[test]
fn a_lost_create_of_a_key_is_none_of_a_token() {
    let mut scene = Scene::new().after([(0, intended(5, "0")), (0, Event::Unsettled)]);
    scene.rules().kind = KeyKind::AuthToken { quiet: false };
    assert_eq!(scene.now(SETTLE + SECOND).halts(), Some(Halt::KindChanged));
}

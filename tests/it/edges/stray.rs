//! Keys that were given up, and what the sinks show meanwhile.

use super::*;

/// Key 1 is served. Key 2 was given up: before a write of it was decided, or after.
fn given_up(asked: bool) -> Scene {
    let mut events = vec![intended(2, "1"), created(2), Event::Verified { successes: 3, refusals: 0 }];
    if asked {
        events.push(Event::Publishing { place: place(), base: Version("1".into()) });
    }
    events.push(Event::Abandoned { sid: sid(2), cause: Cause::SinksDown });
    serving().after(events.into_iter().map(|event| (HOUR, event)))
}

/// Twilio has just said that key 2 does not exist.
fn gone(mut scene: Scene) -> Scene {
    scene.sight.keys.insert(sid(2), (None, Uptime(HOUR)));
    scene
}

#[test]
fn a_key_that_is_gone_is_forgotten_at_once_only_if_no_write_of_it_was_decided() {
    assert_eq!(gone(given_up(false)).step(), Step::Record(Event::Removed { sid: sid(2) }));
    assert_eq!(gone(given_up(true)).step(), Step::Look(vec![place()]));
}

#[test]
fn a_key_that_is_served_after_all_is_taken_up_again() {
    let revived = Step::Record(Event::Revived { attempt: attempt(2) });
    assert_eq!(given_up(true).fetched(2, HOUR).serves(2, "2", HOUR).step(), revived);
    let mut staged = given_up(true).fetched(2, HOUR).serves(1, "1", HOUR);
    staged.sight.places.get_mut(&place()).unwrap().0.staged = true;
    assert_eq!(staged.step(), revived);
    assert!(matches!(given_up(true).fetched(2, HOUR).serves(1, "1", HOUR).step(), Step::Record(Event::Fencing { .. })));
}

#[test]
fn a_key_whose_end_was_decided_or_whose_rotation_is_not_known_is_not_taken_up_again() {
    let served = |change: fn(&mut Scene)| {
        let mut scene = given_up(true).fetched(2, HOUR).serves(2, "2", HOUR);
        change(&mut scene);
        scene.halts()
    };
    assert_eq!(served(|scene| scene.state.strays[0].condemned = true), Some(Halt::Drift));
    assert_eq!(served(|scene| scene.state.strays[0].rotation = None), Some(Halt::Drift));
}

#[test]
fn a_fence_is_not_drawn_over_what_a_person_put_there() {
    let fencing = Event::Fencing { attempt: attempt(2), versions: BTreeMap::from([(place(), Version("1".into()))]) };
    let fenced = |n: u32| given_up(true).after([(HOUR, fencing.clone())]).fetched(2, HOUR).serves(n, "1", HOUR).step();
    assert!(matches!(fenced(1), Step::Fence { .. }));
    assert!(!matches!(fenced(9), Step::Fence { .. }));
}

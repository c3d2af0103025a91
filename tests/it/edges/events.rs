//! The transition table where only a few events may come, or much depends on what was before.

use super::*;
use rekeyd::model::rotation::DAY;

fn fits(scene: &Scene, event: Event) -> Option<State> {
    apply(scene.state.clone(), &Entry { seq: scene.seq + 1, at: scene.now, event }).ok()
}

fn condemn(n: u32) -> Event {
    Event::Condemned { sid: sid(n), evidence: Evidence { places: BTreeMap::new(), proven: 0, spent: 0 } }
}

fn elsewhere() -> Place {
    Place::new(SinkName::new("two").unwrap(), "billing")
}

#[test]
fn a_place_is_replaced_only_with_permission_or_where_a_fence_of_ours_may_have_moved_it() {
    let rebased = || Event::Rebased { place: place(), base: Version("7".into()) };
    let verified = Event::Verified { successes: 3, refusals: 0 };
    let flight = || serving().after([intended(2, "1"), created(2), verified.clone()].map(|event| (HOUR, event)));
    assert!(fits(&flight(), rebased()).is_none());
    let with = |change: fn(&mut State)| {
        let mut scene = flight();
        change(&mut scene.state);
        fits(&scene, rebased()).map(|state| state.rotation.unwrap().targets[&place()].base.clone())
    };
    assert_eq!(with(|state| state.overwrite = true), Some(Version("7".into())));
    assert_eq!(with(|state| state.rotation.as_mut().unwrap().fenced = true), Some(Version("7".into())));
    let confirmed = |state: &mut State| {
        let rotation = state.rotation.as_mut().unwrap();
        (rotation.fenced, rotation.phase) = (true, Phase::Confirming);
    };
    assert_eq!(with(confirmed), None, "what is written already is not a fence's");
}

#[test]
fn a_place_that_is_taken_up_again_no_longer_lingers() {
    let mut scene = serving();
    scene.state.lingering = BTreeSet::from([elsewhere(), place()]);
    let widened = Event::Widened { bases: BTreeMap::from([(elsewhere(), Version("0".into()))]) };
    assert_eq!(fits(&scene, widened).unwrap().lingering, BTreeSet::from([place()]));
}

/// Key 2 was given up, and is a stray.
fn stray() -> Scene {
    let given_up = Event::Abandoned { sid: sid(2), cause: Cause::NotAccepted };
    serving().after([intended(2, "1"), created(2), given_up].map(|event| (HOUR, event)))
}

#[test]
fn a_stray_is_condemned_behind_its_fence_only_and_by_its_own_name() {
    assert!(fits(&stray(), condemn(2)).is_none());
    let mut fenced = stray();
    fenced.state.strays[0].fence = Some(BTreeMap::new());
    fenced.state.spent.deletes = vec![(sid(2), Uptime(1)), (sid(9), Uptime(HOUR))];
    let state = fits(&fenced, condemn(2)).unwrap();
    assert!(state.strays[0].condemned);
    assert_eq!(state.spent.deletes, [(sid(9), Uptime(HOUR)), (sid(2), Uptime(HOUR))], "the last decision counts");
    assert!(fits(&fenced, condemn(3)).is_none());
}

#[test]
fn an_old_key_that_others_deleted_is_remembered_and_one_that_was_condemned_is_not() {
    let revoked = |scene: &Scene| fits(scene, Event::Revoked { sid: sid(1) }).unwrap();
    let by_others = revoked(&grace_since(0));
    assert_eq!(by_others.vanished, BTreeSet::from([sid(1)]));
    let by_us = revoked(&grace_since(0).after([(HOUR, condemn(1))]));
    assert!(by_us.vanished.is_empty() && by_us.rotation.unwrap().condemned.is_none());
}

#[test]
fn places_linger_until_every_old_key_is_known_to_be_gone() {
    let lingering = |vanished: &[u32], leftovers: &[u32]| {
        let mut scene = grace_since(0);
        scene.state.lingering = BTreeSet::from([elsewhere()]);
        scene.state.vanished = vanished.iter().map(|n| sid(*n)).collect();
        scene.state.leftovers = leftovers.iter().map(|n| sid(*n)).collect();
        scene.state.rotation.as_mut().unwrap().predecessors.clear();
        fits(&scene, Event::Completed).unwrap().lingering.len()
    };
    assert_eq!([lingering(&[], &[]), lingering(&[5], &[]), lingering(&[], &[5]), lingering(&[5], &[6])], [0, 1, 1, 1]);
}

#[test]
fn a_key_that_is_missing_counts_as_vanished_only_if_it_may_have_served() {
    let vanished = |scene: &Scene, n| fits(scene, Event::Missing { sid: sid(n) }).map(|state| state.vanished.len());
    assert_eq!(vanished(&stray(), 2), Some(0), "a stray never served");
    assert_eq!(vanished(&stray(), 1), Some(1), "what is served did");
    assert_eq!(vanished(&stray(), 3), None, "nobody knows it");
    let flight = serving().after([intended(2, "1"), created(2)].map(|event| (HOUR, event)));
    assert_eq!(vanished(&flight, 2), Some(0), "nor did the successor before it was written");
    assert_eq!(vanished(&flight, 1), Some(1));
    let mut written = flight;
    written.state.rotation.as_mut().unwrap().served = true;
    assert_eq!(vanished(&written, 2), Some(1));
}

#[test]
fn what_a_missing_key_was_is_forgotten_and_nothing_else() {
    let mut scene = grace_since(0);
    scene.state.leftovers = vec![sid(5), sid(6)];
    let missing = |n| fits(&scene, Event::Missing { sid: sid(n) }).unwrap();
    assert_eq!(missing(5).leftovers, [sid(6)]);
    let (old, current) = (missing(1), missing(2));
    let rotation = |state: &State| state.rotation.clone().unwrap();
    assert_eq!((rotation(&old).lost, rotation(&old).predecessors.len()), (false, 0));
    assert_eq!((rotation(&current).lost, rotation(&current).predecessors.len()), (true, 1));
    assert_eq!([&old, &current].map(|state| state.current.as_ref().unwrap().gone), [false, true]);
    let condemned = grace_since(0).after([(HOUR, condemn(1))]);
    let gone = fits(&condemned, Event::Missing { sid: sid(1) }).unwrap();
    assert_eq!((rotation(&gone).condemned, rotation(&gone).phase), (None, Phase::Grace));
    let other = fits(&condemned, Event::Missing { sid: sid(2) }).unwrap();
    assert_eq!(rotation(&other).condemned, Some(sid(1)));
}

#[test]
fn what_was_spent_is_forgotten_when_no_limit_counts_it_any_more() {
    let day = DAY.as_millis() as u64;
    let kept = |now: u64| {
        let mut scene = serving();
        scene.state.spent.creates = vec![Uptime(0), Uptime(1)];
        scene.state.spent.deletes = vec![(sid(8), Uptime(0)), (sid(9), Uptime(1))];
        scene.now = at(now);
        let state = fits(&scene, Event::Requested { by: "tester".into() }).unwrap();
        (state.spent.creates.len(), state.spent.deletes.len())
    };
    assert_eq!(kept(HOUR), (2, 2));
    assert_eq!(kept(day - 1), (2, 2));
    assert_eq!(kept(day), (1, 1));
    assert_eq!(kept(2 * day), (0, 0));
}

#[test]
fn a_rotation_on_top_of_another_keeps_what_may_linger_and_drops_what_is_gone() {
    let mut scene = grace_since(0);
    scene.state.lingering = BTreeSet::from([place(), elsewhere()]);
    let before = scene.state.rotation.as_ref().unwrap().clone();
    assert_eq!(before.predecessors, [sid(1)]);
    let next = |scene: &Scene| fits(scene, intended(3, "2")).unwrap();
    let state = next(&scene);
    assert_eq!(state.lingering, BTreeSet::from([elsewhere()]), "what is written again lingers no more");
    assert_eq!(state.rotation.unwrap().predecessors, [sid(1), sid(2)]);
    scene.state.vanished = BTreeSet::from([sid(1)]);
    assert_eq!(next(&scene).rotation.unwrap().predecessors, [sid(2)]);
    scene.state.rotation.as_mut().unwrap().lost = true;
    scene.state.current.as_mut().unwrap().gone = true;
    assert!(next(&scene).rotation.unwrap().predecessors.is_empty());
}

#[test]
fn unanswered_creates_are_forgotten_after_a_day_unless_several_keys_carry_their_label() {
    let day = DAY.as_millis() as u64;
    let left = |now: u64, ambiguous| {
        let mut scene = serving();
        scene.state.unsettled = vec![Unsettled { attempt: attempt(9), intended: at(0), ambiguous, auth_token: false }];
        scene.now = at(now);
        fits(&scene, intended(2, "1")).unwrap().unsettled.len()
    };
    assert_eq!([left(day - 1, false), left(day, false), left(day + 1, false), left(2 * day, true)], [1, 0, 0, 1]);
}

#[test]
fn another_key_is_not_made_beside_a_stray_unless_what_is_served_is_dead() {
    let mut scene = stray();
    assert!(fits(&scene, intended(3, "1")).is_none());
    scene.state.current.as_mut().unwrap().gone = true;
    assert!(fits(&scene, intended(3, "1")).is_some());
    let second = scene.state.strays[0].clone();
    scene.state.strays.push(second);
    assert!(fits(&scene, intended(3, "1")).is_none());
}

#[test]
fn a_rotation_that_is_given_up_leaves_its_old_keys_to_the_next_but_not_the_current_one() {
    let mut scene = serving().after([(HOUR, intended(2, "1"))]);
    scene.state.rotation.as_mut().unwrap().predecessors = vec![sid(1), sid(7)];
    let state = fits(&scene, Event::Unsettled).unwrap();
    assert_eq!((state.leftovers.as_slice(), state.unsettled.len()), (&[sid(7)][..], 1));
}

#[test]
fn an_outcome_tells_its_fault_and_one_word() {
    use rekeyd::model::fault::Outcome;
    let failure = || Failure::new(Fault::Timeout, "no answer");
    let told = |outcome: Outcome<()>| (outcome.fault(), outcome.word());
    assert_eq!(told(Outcome::Done(())), (None, "done"));
    assert_eq!(told(Outcome::NotDone(failure())), (Some(Fault::Timeout), Fault::Timeout.word()));
    assert_eq!(told(Outcome::Unknown(failure())), (Some(Fault::Timeout), Fault::Timeout.word()));
}

#[test]
fn a_key_that_turns_up_is_that_of_the_create_without_an_answer_or_of_nobody_any_more() {
    let unsettled = |n: u128| Unsettled { attempt: attempt(n), intended: at(0), ambiguous: false, auth_token: false };
    let mut scene = serving();
    scene.state.unsettled = vec![unsettled(8), unsettled(9)];
    let found = |n: u128| {
        let state = fits(&scene, Event::Found { attempt: attempt(n), sid: sid(5) }).unwrap();
        let left: Vec<_> = state.unsettled.iter().map(|create| create.attempt).collect();
        (state.strays[0].cause, left)
    };
    assert_eq!(found(9), (Cause::AnswerLost, vec![attempt(8)]));
    assert_eq!(found(7), (Cause::Resurfaced, vec![attempt(8), attempt(9)]));
    assert!(fits(&scene, Event::Found { attempt: attempt(9), sid: sid(1) }).is_none(), "what is known is not found");
}

#[test]
fn a_key_that_was_believed_gone_takes_its_place_again() {
    let found = |scene: &Scene, n: u32| fits(scene, Event::Found { attempt: attempt(n.into()), sid: sid(n) }).unwrap();
    let lose = |mut scene: Scene, n: u32| {
        scene.state = fits(&scene, Event::Missing { sid: sid(n) }).unwrap();
        scene
    };
    let current = lose(serving(), 1);
    assert!(current.state.current.as_ref().unwrap().gone);
    let state = found(&current, 1);
    assert_eq!((state.current.unwrap().gone, state.leftovers.len()), (false, 0));
    let successor = found(&lose(grace_since(0), 2), 2).rotation.unwrap();
    assert_eq!((successor.lost, successor.predecessors.as_slice()), (false, &[sid(1)][..]));
    let old = found(&lose(grace_since(0), 1), 1).rotation.unwrap();
    assert_eq!((old.lost, old.predecessors.as_slice()), (false, &[sid(1)][..]));
    let mut rest = serving();
    rest.state.vanished = BTreeSet::from([sid(7)]);
    assert_eq!(found(&rest, 7).leftovers, [sid(7)]);
}

#[test]
fn whoever_relied_on_a_version_that_a_fence_has_moved_relies_on_the_next() {
    let mut scene = stray();
    let versions = BTreeMap::from([(place(), Version("1".into()))]);
    let fenced = |from: &str| Event::Fenced {
        attempt: attempt(2),
        place: place(),
        from: Version(from.into()),
        to: Version("2".into()),
    };
    assert!(fits(&scene, fenced("1")).is_none(), "no fence was decided");
    scene.state.strays[0].fence = Some(versions);
    let at = |state: State| state.current.unwrap().places[&place()].clone();
    assert_eq!(at(fits(&scene, fenced("1")).unwrap()), Version("2".into()));
    assert_eq!(at(fits(&scene, fenced("0")).unwrap()), Version("1".into()), "it was not what the fence has met");
}

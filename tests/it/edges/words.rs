//! What entries and states tell of themselves.

use super::*;

#[test]
fn an_entry_names_the_key_it_tells_of_and_the_failure() {
    let evidence = Evidence { places: BTreeMap::new(), proven: 0, spent: 0 };
    for event in [
        created(7),
        Event::Condemned { sid: sid(7), evidence },
        Event::Revoked { sid: sid(7) },
        Event::Abandoned { sid: sid(7), cause: Cause::NotAccepted },
        Event::Found { attempt: attempt(7), sid: sid(7) },
        Event::Removed { sid: sid(7) },
        Event::Missing { sid: sid(7) },
    ] {
        assert_eq!((event.sid(), event.failure().is_some()), (Some(&sid(7)), false), "{event:?}");
    }
    let failure = Failure::new(Fault::Timeout, "no answer");
    let failed = Event::Failed { step: StepName::Probe, failure: failure.clone() };
    assert_eq!((failed.sid(), failed.failure()), (None, Some((StepName::Probe, &failure))));
    let refused = Event::CreateRefused { failure: failure.clone() };
    assert_eq!((refused.sid(), refused.failure()), (None, Some((StepName::Issue, &failure))));
    let silent = Event::Published { versions: BTreeMap::new() };
    assert_eq!((silent.sid(), silent.failure()), (None, None));
}

#[test]
fn a_key_is_condemned_by_its_rotation_as_a_stray_or_by_a_delete_that_was_decided() {
    let told = |scene: &Scene| [1, 2, 3].map(|n| scene.state.condemned(&sid(n)));
    let mut scene = grace_since(0);
    assert_eq!(told(&scene), [false; 3]);
    scene.state.rotation.as_mut().unwrap().condemned = Some(sid(1));
    assert_eq!(told(&scene), [true, false, false]);
    let given_up = [intended(2, "1"), created(2), Event::Abandoned { sid: sid(2), cause: Cause::NotAccepted }];
    let mut stray = serving().after(given_up.map(|event| (HOUR, event)));
    assert_eq!(told(&stray), [false; 3], "given up is not yet condemned");
    stray.state.strays[0].condemned = true;
    assert_eq!(told(&stray), [false, true, false]);
    let mut spent = serving();
    spent.state.spent.deletes.push((sid(3), Uptime(0)));
    assert_eq!(told(&spent), [false, false, true]);
}

#[test]
fn a_pair_that_some_place_has_can_be_read_back_from_there() {
    let mut scene = Scene::new().after([(0, intended(1, "0")), (0, created(1))]);
    let rotation = scene.state.rotation.as_mut().unwrap();
    assert!(!rotation.escrowed());
    assert_eq!(rotation.unwritten([place()].iter()), Some(&place()));
    rotation.targets.get_mut(&place()).unwrap().written = Some(Version("1".into()));
    assert!(rotation.escrowed());
    assert_eq!(rotation.unwritten([place()].iter()), None);
}

#[test]
fn a_reservation_names_no_key_and_says_whose_it_is() {
    let names = rekeyd::model::document::Names::default();
    let object = rekeyd::model::document::reservation(&names, attempt(7));
    let members: Vec<_> = object.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
    assert_eq!(members, [("rekeyd", format!("reserved:{}", attempt(7)).as_str())]);
}

#[test]
fn every_step_halt_and_breaker_has_a_word_of_its_own_and_says_something() {
    let distinct = |words: Vec<&str>| {
        assert!(words.iter().all(|word| !word.is_empty()), "{words:?}");
        assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len(), "{words:?}");
    };
    distinct(StepName::ALL.map(StepName::word).to_vec());
    distinct(Halt::ALL.map(Halt::word).to_vec());
    distinct(Breaker::ALL.map(Breaker::word).to_vec());
    distinct(Breaker::ALL.map(Breaker::meaning).to_vec());
    assert!(Halt::ALL.iter().all(|halt| halt.hint().len() > 20), "a hint is a sentence");
}

#[test]
fn a_credential_is_told_in_one_word() {
    let word = |scene: &Scene| scene.state.word();
    assert_eq!([word(&Scene::new()), word(&serving()), word(&grace_since(0))], ["new", "serving", "grace"]);
    let given_up = [intended(2, "1"), created(2), Event::Abandoned { sid: sid(2), cause: Cause::NotAccepted }];
    let stray = serving().after(given_up.map(|event| (HOUR, event)));
    assert_eq!(word(&stray), "abandoning");
    let halted = Event::Halted { halt: Halt::Drift, detail: "somebody".into() };
    assert_eq!(word(&serving().after([(HOUR, halted)])), "halted");
}

#[test]
fn an_empty_place_is_fenced_only_if_a_write_to_it_was_decided() {
    let verified = Event::Verified { successes: 3, refusals: 0 };
    let publishing = Event::Publishing { place: place(), base: Version("1".into()) };
    let given_up = Event::Abandoned { sid: sid(2), cause: Cause::SinksDown };
    let needs = |asked: bool, content: Content| {
        let mut events = vec![intended(2, "1"), created(2), verified.clone()];
        events.extend(asked.then(|| publishing.clone()));
        events.push(given_up.clone());
        let scene = serving().after(events.into_iter().map(|event| (HOUR, event)));
        let seen = Seen { version: Version("1".into()), content, staged: false };
        scene.state.strays[0].needs_fence(&place(), &seen)
    };
    assert_eq!([needs(false, Content::Absent), needs(true, Content::Absent)], [false, true]);
    assert_eq!([needs(false, Content::Foreign), needs(true, Content::Blank)], [true, true]);
}

#[test]
fn a_failure_tells_its_kind_and_its_detail() {
    assert_eq!(Failure::new(Fault::Timeout, "no answer").to_string(), "timeout: no answer");
}

#[test]
fn a_state_knows_every_place_that_it_has_to_do_with() {
    let places = |scene: &Scene| scene.state.places().cloned().collect::<BTreeSet<_>>();
    assert_eq!(places(&Scene::new()), BTreeSet::new());
    assert_eq!(places(&serving()), BTreeSet::from([place()]));
    assert_eq!(places(&Scene::new().after([(0, intended(1, "0"))])), BTreeSet::from([place()]));
}

#[test]
fn trouble_tells_how_often() {
    let failed = || Event::Failed { step: StepName::Probe, failure: Failure::new(Fault::Timeout, "no answer") };
    let told = |scene: Scene| scene.state.trouble.unwrap().to_string();
    assert_eq!(told(serving().after([(HOUR, failed())])), "probe failed once: timeout: no answer");
    let twice = serving().after([(HOUR, failed()), (HOUR + 1, failed())]);
    assert_eq!(told(twice), "probe failed 2 times: timeout: no answer");
}

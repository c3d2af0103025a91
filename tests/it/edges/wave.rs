//! Whose turn it is in a fleet.

use super::*;
use rekeyd::decide::wave::{self, Member, Pause, Progress, turn};
use rekeyd::model::fleet::{FleetName, Membership, Waves};

const HOLD: u64 = HOUR;

fn waves() -> Waves {
    Waves { canary: 1, hold: Duration::from_millis(HOLD), batch: 2, tolerate: 0 }
}

fn name(text: &str) -> CredentialName {
    CredentialName::new(text).unwrap()
}

fn served(ms: u64) -> Progress {
    Progress::Serving(at(ms).wall)
}

fn due(ms: u64) -> Progress {
    Progress::Due(at(ms).wall)
}

/// What a process knows: who was let through, and who waits.
struct Asked<'n>(&'n [&'n str], &'n [&'n str]);

impl wave::Line for Asked<'_> {
    fn has_begun(&self, name: &CredentialName) -> bool {
        self.0.contains(&name.as_str())
    }

    fn waits(&self, name: &CredentialName) -> bool {
        self.1.contains(&name.as_str())
    }
}

/// A fleet of a canary, and of members that are called after their number.
struct Fleet(Vec<Member>);

impl Fleet {
    fn of(canary: Progress, others: &[Progress]) -> Self {
        let member = |text: &str, canary, progress| Member { name: name(text), canary, progress, failing: None };
        let others = others.iter().enumerate().map(|(n, progress)| member(&format!("f-{n}"), false, *progress));
        Self([member("f-canary", true, canary)].into_iter().chain(others).collect())
    }

    fn failing(mut self, member: &str) -> Self {
        let found = self.0.iter_mut().find(|known| known.name == name(member)).unwrap();
        found.failing = Some("it burns".to_owned());
        self
    }

    fn turn(&self, me: &str, ms: u64) -> Result<(), Pause> {
        self.turn_beside(me, &[], &waves(), ms)
    }

    fn turn_beside(&self, me: &str, begun: &[&str], waves: &Waves, ms: u64) -> Result<(), Pause> {
        turn(&FleetName::new("f").unwrap(), waves, &self.0, &name(me), &Asked(begun, &[]), at(ms).wall)
    }

    fn turn_behind(&self, me: &str, asked: &Asked<'_>) -> Result<(), Pause> {
        turn(&FleetName::new("f").unwrap(), &waves(), &self.0, &name(me), asked, at(9 * HOLD).wall)
    }
}

#[test]
fn others_follow_when_the_canary_has_served_for_as_long_as_the_hold() {
    let fleet = Fleet::of(served(0), &[due(0)]);
    let (left, why) = fleet.turn("f-0", HOLD - 1).unwrap_err();
    assert_eq!((left, why.contains("f-canary")), (Duration::from_millis(1), true));
    assert_eq!(fleet.turn("f-0", HOLD), Ok(()));
}

#[test]
fn nobody_goes_before_a_canary_that_has_no_key_or_is_not_through() {
    for first in [Progress::Nothing, due(0), Progress::Underway] {
        let fleet = Fleet::of(first, &[due(0)]);
        assert!(fleet.turn("f-0", 9 * HOLD).unwrap_err().1.contains("goes first"), "{first:?}");
        assert_eq!(fleet.turn("f-canary", 0), Ok(()));
    }
}

#[test]
fn so_many_are_on_the_way_at_a_time_and_those_who_were_let_through_count() {
    let [due, way] = [due(0), Progress::Underway];
    let now = 9 * HOLD;
    assert_eq!(Fleet::of(served(0), &[way, due, due]).turn("f-1", now), Ok(()));
    let full = Fleet::of(served(0), &[way, way, due]);
    assert!(full.turn("f-2", now).unwrap_err().1.contains("2 of `f` are on the way"));
    let line = Fleet::of(served(0), &[way, due, due, due]);
    assert!(line.turn_beside("f-2", &["f-1"], &waves(), now).is_err());
    // Who was let through is not in his own way, nor are the canaries and those who are through.
    assert_eq!(line.turn_beside("f-1", &["f-1"], &waves(), now), Ok(()));
    assert_eq!(line.turn_beside("f-1", &["f-canary"], &waves(), now), Ok(()));
    assert_eq!(Fleet::of(served(0), &[served(1), served(2), served(3), due]).turn("f-3", now), Ok(()));
}

#[test]
fn who_is_due_for_longest_goes_first_among_those_who_ask() {
    let way = Progress::Underway;
    // A place is free, and f-2 came for it before f-1.
    let fleet = Fleet::of(served(0), &[way, due(5), due(4)]);
    assert_eq!(fleet.turn_behind("f-2", &Asked(&[], &["f-1", "f-2"])), Ok(()));
    let (pause, why) = fleet.turn_behind("f-1", &Asked(&[], &["f-1", "f-2"])).unwrap_err();
    assert_eq!((pause, why.contains("due for longer")), (Duration::from_secs(5), true));
    // Who does not ask holds up nobody: it may be kept by something else. Nor does who has begun, beside the place he takes.
    assert_eq!(fleet.turn_behind("f-1", &Asked(&[], &["f-1"])), Ok(()));
    let begun = Fleet::of(served(0), &[served(1), due(5), due(4)]);
    assert_eq!(begun.turn_behind("f-1", &Asked(&["f-2"], &["f-2"])), Ok(()));
    // There is room for both.
    let both = Fleet::of(served(0), &[served(1), due(5), due(4)]);
    assert_eq!(both.turn_behind("f-1", &Asked(&[], &["f-2"])), Ok(()));
    // In the same moment the name says who is first, and nobody is behind himself.
    let same = Fleet::of(served(0), &[way, due(4), due(4)]);
    let all: &[&str] = &["f-1", "f-2"];
    assert_eq!(same.turn_behind("f-1", &Asked(&[], all)), Ok(()));
    assert!(same.turn_behind("f-2", &Asked(&[], all)).is_err());
}

#[test]
fn who_stands_far_behind_asks_more_rarely() {
    let mut others = vec![Progress::Underway; 2];
    others.extend([due(0); 8]);
    let fleet = Fleet::of(served(0), &others);
    let pause = |me: &str| fleet.turn(me, 9 * HOLD).unwrap_err().0;
    assert_eq!([pause("f-2"), pause("f-4"), pause("f-9")], [5, 10, 20].map(Duration::from_secs));
}

#[test]
fn while_one_fails_nobody_else_begins_and_he_himself_may_try_again() {
    let fleet = Fleet::of(served(0), &[due(0), due(0)]).failing("f-0");
    let now = 9 * HOLD;
    assert!(fleet.turn("f-1", now).unwrap_err().1.contains("it burns"));
    assert!(fleet.turn("f-canary", now).is_err());
    assert_eq!(fleet.turn("f-0", now), Ok(()));
    let tolerant = Waves { tolerate: 1, ..waves() };
    assert_eq!(fleet.turn_beside("f-1", &[], &tolerant, now), Ok(()));
    assert!(fleet.failing("f-canary").turn_beside("f-1", &[], &tolerant, now).is_err());
}

#[test]
fn only_what_time_and_policy_bring_has_an_order() {
    for reason in [Reason::Aged, Reason::Scheduled, Reason::Kind, Reason::Permissions] {
        assert!(wave::is_ordered(reason), "{reason:?}");
    }
    for reason in [Reason::CurrentGone, Reason::First, Reason::Adopted, Reason::Requested, Reason::Widened] {
        assert!(!wave::is_ordered(reason), "{reason:?}");
    }
}

impl Scene {
    fn as_member(&self, canary: bool) -> Member {
        let fleet = FleetName::new("f").unwrap();
        let mut rules = self.policy.credentials.values().next().unwrap().clone();
        rules.member = Some(Membership { fleet, canary });
        Member::of(&rules, &self.state, self.now)
    }
}

#[test]
fn the_journal_tells_how_far_a_member_is() {
    let progress = |scene: Scene| scene.as_member(false).progress;
    assert_eq!(progress(Scene::new()), Progress::Nothing);
    assert_eq!(progress(Scene::new().after([(0, intended(1, "0"))])), Progress::Nothing);
    assert_eq!(progress(serving().now(24 * HOUR - 1)), served(0));
    assert_eq!(progress(serving().now(24 * HOUR)), due(24 * HOUR));
    assert_eq!(progress(serving().now(30 * HOUR)), due(24 * HOUR));
    assert_eq!(progress(serving().after([(24 * HOUR, intended(2, "1"))])), Progress::Underway);
    assert_eq!(progress(serving().after([(5, intended(2, "1")), (6, created(2))])), Progress::Underway);
    // In grace every sink serves the new key.
    assert_eq!(progress(grace_since(7)), served(7));
    assert!(serving().as_member(true).canary && !serving().as_member(false).canary);
}

#[test]
fn what_others_must_not_do_too_is_a_failure_of_the_member() {
    let failing = |scene: Scene| scene.as_member(false).failing;
    assert_eq!(failing(grace_since(7)), None);
    let halted = Event::Halted { halt: Halt::Drift, detail: "somebody".into() };
    assert!(failing(serving().after([(1, halted.clone())])).unwrap().contains("drift"));
    // Where nothing is served nobody can be hurt.
    assert_eq!(failing(Scene::new().after([(1, halted)])), None);
    let trouble = |fault| Event::Failed { step: StepName::Prove, failure: Failure::new(fault, "x") };
    assert!(failing(serving().after([(1, trouble(Fault::PairRefused))])).unwrap().contains("refuses"));
    assert_eq!(failing(serving().after([(1, trouble(Fault::Throttled))])), None);
    let given_up = |cause| {
        let abandoned = Event::Abandoned { sid: sid(2), cause };
        serving().after([(HOUR, intended(2, "1")), (HOUR, created(2)), (HOUR, abandoned)])
    };
    assert!(failing(given_up(Cause::NotAccepted)).unwrap().contains("given up"));
    assert!(failing(given_up(Cause::Permissions)).is_some());
    assert_eq!(failing(given_up(Cause::SecretLost)), None);
}

#[test]
fn three_new_keys_in_an_hour_that_serve_nobody_are_a_failure() {
    let now = 30 * HOUR;
    let tries = |times: &[u64]| {
        // Its key serves since hour zero.
        let mut scene = serving().now(now);
        scene.state.spent.creates = times.iter().map(|ms| Uptime(*ms)).collect();
        scene.as_member(false).failing
    };
    assert_eq!(tries(&[now - HOUR, now - 2, now - 1]), None);
    assert!(tries(&[now - HOUR + 1, now - 2, now - 1]).unwrap().contains("3 new keys"));
    // What was made before the key that serves now has served, or was in vain for another reason.
    let mut through = grace_since(now).now(now + 10);
    through.state.spent.creates = vec![Uptime(now - 1), Uptime(now + 1), Uptime(now + 2)];
    assert_eq!(through.as_member(false).failing, None);
    through.state.spent.creates.push(Uptime(now + 3));
    assert!(through.as_member(false).failing.is_some());
}

#[test]
fn a_member_whose_turn_it_is_not_waits_unless_it_is_urgent() {
    let now = 24 * HOUR;
    let mut scene = serving().now(now).serves(1, "1", now);
    scene.weather.turn = Some((Duration::from_secs(7), "others go first".into()));
    assert_eq!(scene.waits(), Some(Duration::from_secs(7)));
    scene.state.current.as_mut().unwrap().gone = true;
    let scene = scene.sees("1", Content::Pair { sid: sid(1), stamp: None }, now);
    assert!(matches!(scene.step(), Step::Issue(intent) if intent.reason == Reason::CurrentGone));
}

#[test]
fn a_fleet_names_its_members_after_the_last_ten_digits_and_asks_who_they_are_where_it_must() {
    use rekeyd::model::fleet::{Choice, Fleet, Pattern};
    use rekeyd::model::key::AccountSid;
    let account = AccountSid::new("AC0000000000000000000000ABCDEF0123").unwrap();
    let mut each = policy_with(&["billing"], |_| {}).credentials.into_values().next().unwrap();
    let listed = || Choice::Listed(vec![account.clone()]);
    let fleet = |choice: Choice, each: &Rules| Fleet {
        name: FleetName::new("customers").unwrap(),
        region: None,
        choice,
        waves: waves(),
        each: each.clone(),
        reserved: BTreeSet::new(),
    };
    let of_a_list = fleet(listed(), &each);
    assert_eq!(of_a_list.member(&account), Some(name("customers-abcdef0123")));
    assert_eq!(of_a_list.prefix(), "customers-");
    assert_eq!(Fleet::longest(&of_a_list.name), Some(name("customers-0000000000")));
    assert!(!of_a_list.is_discovered());
    assert!(fleet(Choice::Named(Pattern("*".to_owned())), &each).is_discovered());
    each.places = vec![Place::new(SinkName::new("one").unwrap(), "{account_name}")];
    assert!(fleet(listed(), &each).is_discovered(), "only Twilio knows what an account is called");
}

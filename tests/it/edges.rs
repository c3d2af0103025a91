//! Both sides of every edge of time and of every limit in the decisions, without any engine around them.

mod drift;
mod events;
mod limits;
mod permissions;
mod publish;
mod stray;
mod tokens;
mod wave;
mod words;

use jiff::Timestamp;
use rekeyd::decide::interlock::interlock;
use rekeyd::decide::ownership::{Ownership, ownership};
use rekeyd::decide::step::step;
use rekeyd::decide::{Hand, Proof, Sight, Step, Tally, View, Weather, plan};
use rekeyd::model::apply::apply;
use rekeyd::model::document::{Content, Members, Seen, Stamp};
use rekeyd::model::event::{Entry, Event, Evidence, Intent};
use rekeyd::model::fault::{Failure, Fault};
use rekeyd::model::key::{AttemptId, KeyFacts, KeySid};
use rekeyd::model::names::{CredentialName, Instance, Place, SinkName, Version};
use rekeyd::model::policy::{Cadence, Policy, Rules};
use rekeyd::model::reason::{Breaker, Cause, Halt, Reason, StepName};
use rekeyd::model::rotation::{Phase, State, Unsettled};
use rekeyd::model::time::{Moment, Uptime};
use rekeyd::ports::Standing;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

use crate::support::world::policy_with;

const START: i64 = 1_800_000_000;

fn sid(n: u32) -> KeySid {
    KeySid::new(&format!("SK{n:032x}")).unwrap()
}

fn attempt(n: u128) -> AttemptId {
    AttemptId(Uuid::from_u128(n))
}

fn place() -> Place {
    Place::new(SinkName::new("one").unwrap(), "billing")
}

/// All clocks agree: so many milliseconds after the start.
fn at(ms: u64) -> Moment {
    let wall = Timestamp::from_millisecond(START * 1000 + ms as i64).unwrap();
    Moment { wall, uptime: Uptime(ms), twilio: Some(wall) }
}

/// A credential at one place, what is known of it, and what is seen.
struct Scene {
    policy: Policy,
    state: State,
    seq: u64,
    now: Moment,
    hand: Hand,
    sight: Sight,
    weather: Weather,
}

impl Scene {
    fn new() -> Self {
        let policy = policy_with(&["billing"], |rules| drop(rules.places.pop()));
        let (hand, sight, weather) = (Hand::default(), Sight::default(), Weather::default());
        Self { policy, state: State::default(), seq: 0, now: at(0), hand, sight, weather }
    }

    fn rules(&mut self) -> &mut Rules {
        self.policy.credentials.values_mut().next().unwrap()
    }

    fn after(mut self, events: impl IntoIterator<Item = (u64, Event)>) -> Self {
        for (ms, event) in events {
            self.seq += 1;
            self.state = apply(self.state, &Entry { seq: self.seq, at: at(ms), event }).unwrap();
            self.now = at(ms);
        }
        self
    }

    fn now(mut self, ms: u64) -> Self {
        self.now = at(ms);
        self
    }

    /// The place was just read and shows this.
    fn sees(mut self, version: &str, content: Content, ms: u64) -> Self {
        let seen = Seen { version: Version(version.into()), content, staged: false };
        self.sight.places.insert(place(), (seen, Uptime(ms)));
        self
    }

    fn serves(self, n: u32, version: &str, ms: u64) -> Self {
        let stamp = None;
        self.sees(version, Content::Pair { sid: sid(n), stamp }, ms)
    }

    fn proven(mut self, n: u32, version: &str, ms: u64) -> Self {
        let proof = Proof { sid: sid(n), version: Version(version.into()), at: Uptime(ms) };
        self.sight.proofs.insert(place(), proof);
        self
    }

    fn fetched(mut self, n: u32, ms: u64) -> Self {
        let facts = KeyFacts { sid: sid(n), label: None, created_at: at(0).wall };
        self.sight.keys.insert(sid(n), (Some(facts), Uptime(ms)));
        self
    }

    fn holding(mut self, n: u128, tally: Tally) -> Self {
        self.hand = Hand { secret_of: Some(attempt(n)), recalled: false, tally };
        self
    }

    fn with<T>(&self, ask: impl FnOnce(&View<'_>) -> T) -> T {
        let instance = Instance::new("test").unwrap();
        let roots: BTreeSet<_> = self.policy.twilio.access.admin.key.clone().into_iter().collect();
        let sinks: BTreeSet<_> = self.policy.sinks.keys().cloned().collect();
        ask(&View {
            state: &self.state,
            seq: self.seq,
            rules: self.policy.credentials.values().next().unwrap(),
            instance: &instance,
            timing: &self.policy.timing,
            limits: &self.policy.limits,
            roots: &roots,
            sinks: &sinks,
            now: self.now,
            local: self.now.uptime,
            fresh: attempt(77),
            hand: self.hand.clone(),
            sight: &self.sight,
            weather: &self.weather,
        })
    }

    fn step(&self) -> Step {
        self.with(step)
    }

    fn waits(&self) -> Option<Duration> {
        if let Step::Wait { wait, .. } = self.step() { wait } else { None }
    }

    fn halts(&self) -> Option<Halt> {
        if let Step::Record(Event::Halted { halt, .. }) = self.step() { Some(halt) } else { None }
    }
}

fn intended(n: u32, base: &str) -> Event {
    let policy = policy_with(&["billing"], |_| {});
    Event::Intended(Box::new(Intent {
        home: policy.twilio.home(&policy.twilio.account),
        attempt: attempt(n.into()),
        reason: Reason::Aged,
        bases: BTreeMap::from([(place(), Version(base.into()))]),
        members: Members::default(),
        grace: Duration::from_secs(3600),
        permissions: None,
        key_pair: false,
        auth_token: false,
    }))
}

fn created(n: u32) -> Event {
    Event::Created { sid: sid(n), created_at: at(0).wall }
}

fn published(version: &str) -> Event {
    Event::Published { versions: BTreeMap::from([(place(), Version(version.into()))]) }
}

/// The events from an intent to grace, all at one time.
fn rotate(n: u32, base: &str, version: &str, ms: u64) -> Vec<(u64, Event)> {
    let events = [
        intended(n, base),
        created(n),
        Event::Verified { successes: 3, refusals: 0 },
        Event::Publishing { place: place(), base: Version(base.into()) },
        Event::Written { place: place(), version: Version(version.into()) },
        published(version),
    ];
    events.into_iter().map(|event| (ms, event)).collect()
}

/// Serving key 1 at version 1 since 0.
fn serving() -> Scene {
    Scene::new().after(rotate(1, "0", "1", 0)).after([(0, Event::Completed)])
}

/// Key 2 took over from key 1 at that time; grace is an hour.
fn grace_since(ms: u64) -> Scene {
    serving().after(rotate(2, "1", "2", ms))
}

const HOUR: u64 = 3_600_000;

#[test]
fn a_key_is_rotated_when_its_period_is_over_and_not_a_moment_before() {
    let early = serving().now(24 * HOUR - 1).serves(1, "1", 24 * HOUR - 1);
    assert!(early.waits().is_some());
    let due = serving().now(24 * HOUR).serves(1, "1", 24 * HOUR);
    assert!(matches!(due.step(), Step::Issue(intent) if intent.reason == Reason::Aged));
}

#[test]
fn the_sinks_are_looked_at_just_before_the_intent() {
    let stale = serving().now(24 * HOUR).serves(1, "1", 24 * HOUR - 30_001);
    assert!(matches!(stale.step(), Step::Look(_)));
    let fresh = serving().now(24 * HOUR).serves(1, "1", 24 * HOUR - 30_000);
    assert!(matches!(fresh.step(), Step::Issue(_)));
}

#[test]
fn a_new_key_must_be_accepted_in_a_row_and_for_long_enough() {
    let verifying =
        |tally, now| Scene::new().after([(0, intended(1, "0")), (0, created(1))]).now(now).holding(1, tally);
    let tally =
        |successes, first, last| Tally { successes, first: Some(Uptime(first)), last: Some(Uptime(last)), misses: 2 };
    assert_eq!(verifying(Tally::default(), 0).step(), Step::Probe);
    assert!(!matches!(verifying(tally(3, 0, 9_999), 10_000).step(), Step::Record(_)));
    assert_eq!(
        verifying(tally(3, 0, 10_000), 10_000).step(),
        Step::Record(Event::Verified { successes: 3, refusals: 2 })
    );
    assert!(!matches!(verifying(tally(2, 0, 10_000), 10_000).step(), Step::Record(_)));
}

#[test]
fn probes_are_spread_over_the_period_and_slow_down_after_refusals() {
    let verifying =
        |tally, now| Scene::new().after([(0, intended(1, "0")), (0, created(1))]).now(now).holding(1, tally);
    let one = Tally { successes: 1, first: Some(Uptime(0)), last: Some(Uptime(0)), misses: 0 };
    assert_eq!(verifying(one, 4_999).waits(), Some(Duration::from_millis(1)));
    assert_eq!(verifying(one, 5_000).step(), Step::Probe);
    let refused = |misses| Tally { successes: 0, first: None, last: Some(Uptime(0)), misses };
    assert_eq!(verifying(refused(1), 499).waits(), Some(Duration::from_millis(1)));
    assert_eq!(verifying(refused(1), 500).step(), Step::Probe);
    assert_eq!(verifying(refused(30), 29_999).waits(), Some(Duration::from_millis(1)));
    assert_eq!(verifying(refused(30), 30_000).step(), Step::Probe);
}

#[test]
fn a_key_that_is_not_accepted_in_time_is_given_up() {
    let tally = Tally { successes: 0, first: None, last: Some(Uptime(0)), misses: 20 };
    let verifying = |now| Scene::new().after([(0, intended(1, "0")), (0, created(1))]).now(now).holding(1, tally);
    assert_eq!(verifying(310_000).step(), Step::Probe);
    assert_eq!(verifying(310_001).step(), Step::Record(Event::Abandoned { sid: sid(1), cause: Cause::NotAccepted }));
}

#[test]
fn without_its_secret_a_new_key_is_given_up_at_once() {
    let scene = Scene::new().after([(0, intended(1, "0")), (0, created(1))]);
    assert_eq!(scene.step(), Step::Record(Event::Abandoned { sid: sid(1), cause: Cause::SecretLost }));
}

#[test]
fn a_secret_that_no_sink_has_is_held_for_ten_minutes() {
    let publishing = |now| {
        let verified = Event::Verified { successes: 3, refusals: 0 };
        let events = [(0, intended(1, "0")), (0, created(1)), (0, verified)];
        Scene::new().after(events).now(now).holding(1, Tally::default())
    };
    assert!(matches!(publishing(600_000).step(), Step::Publish { .. }));
    assert_eq!(publishing(600_001).step(), Step::Drop);
}

#[test]
fn grace_is_counted_by_every_clock() {
    let evident = |scene: Scene, now: u64| scene.now(now).serves(2, "2", now).proven(2, "2", now).fetched(1, now);
    let over = evident(grace_since(0), HOUR + 1000);
    assert!(matches!(over.step(), Step::Delete { .. }), "{:?}", over.step());
    assert!(evident(grace_since(0), HOUR - 1).waits().is_some());
    let mut wall = evident(grace_since(0), HOUR + 1000);
    wall.now.wall = at(HOUR - 1).wall;
    assert_eq!(wall.waits(), Some(Duration::from_millis(1)));
    let mut uptime = evident(grace_since(0), HOUR + 1000);
    uptime.now.uptime = Uptime(HOUR - 1);
    assert_eq!(uptime.waits(), Some(Duration::from_millis(1)));
    let mut twilio = evident(grace_since(0), HOUR + 1000);
    twilio.now.twilio = Some(at(HOUR + 999).wall);
    assert_eq!(twilio.waits(), Some(Duration::from_millis(1)));
}

#[test]
fn a_longer_grace_in_the_policy_counts_for_a_rotation_under_way_and_a_shorter_one_does_not() {
    let evident = |scene: Scene, now: u64| scene.now(now).serves(2, "2", now).proven(2, "2", now).fetched(1, now);
    let mut longer = evident(grace_since(0), HOUR + 1000);
    longer.rules().grace = Duration::from_secs(7200);
    assert!(longer.waits().is_some());
    let mut shorter = evident(grace_since(0), HOUR - 1);
    shorter.rules().grace = Duration::from_secs(60);
    assert!(shorter.waits().is_some());
}

#[test]
fn the_last_look_before_a_delete_is_at_most_two_seconds_old() {
    let now = 2 * HOUR;
    let scene =
        |look, proof, fetch| grace_since(0).now(now).serves(2, "2", look).proven(2, "2", proof).fetched(1, fetch);
    assert!(matches!(scene(now - 2_000, now, now).step(), Step::Delete { .. }));
    assert!(matches!(scene(now - 2_001, now, now).step(), Step::Look(_)));
    assert!(matches!(scene(now, now - 60_000, now).step(), Step::Delete { .. }));
    assert!(matches!(scene(now, now - 60_001, now).step(), Step::Prove(_)));
    assert!(matches!(scene(now, now, now - 60_000).step(), Step::Delete { .. }));
    assert!(matches!(scene(now, now, now - 60_001).step(), Step::Fetch(_)));
}

/// Everything is as it must be for key 1 to be deleted.
fn ripe() -> Scene {
    let now = 2 * HOUR;
    grace_since(0).now(now).serves(2, "2", now).proven(2, "2", now).fetched(1, now)
}

#[test]
fn each_condition_of_the_interlock_alone_keeps_the_key_alive() {
    assert!(ripe().with(|view| interlock(view, &sid(1))).is_ok());
    let refuses = |scene: Scene, why: &str| {
        let blocked = scene.with(|view| interlock(view, &sid(1))).unwrap_err();
        assert!(blocked.0.contains(why), "`{}` does not say `{why}`", blocked.0);
    };
    let now = 2 * HOUR;
    refuses(ripe().serves(1, "2", now), "does not serve what was published");
    refuses(ripe().serves(2, "3", now), "does not serve what was published");
    refuses(ripe().sees("2", Content::Absent, now), "does not serve what was published");
    refuses(ripe().proven(1, "2", now), "was not tried");
    refuses(ripe().proven(2, "1", now), "was not tried");
    refuses(ripe().now(HOUR - 1).serves(2, "2", HOUR - 1), "grace has");
    let changed = |change: fn(&mut Scene)| {
        let mut scene = ripe();
        change(&mut scene);
        scene
    };
    refuses(changed(|s| s.sight.places.clear()), "was not read just now");
    refuses(changed(|s| s.sight.keys.clear()), "was not asked for it");
    refuses(changed(|s| drop(s.sight.keys.insert(sid(1), (None, Uptime(2 * HOUR))))), "does not exist");
    refuses(changed(|s| assert!(s.weather.breakers.insert(Breaker::KeysVanished))), "breaker open: keys_vanished");
    refuses(changed(|s| s.weather.held = Duration::from_secs(1)), "held after a journal was restored");
    refuses(changed(|s| s.weather.deletes = (10, 10)), "limit: 10 deletes per account");
    refuses(changed(|s| s.state.spent.deletes.push((sid(9), Uptime(2 * HOUR - 1)))), "limit: 1 deletes per credential");
    refuses(changed(|s| s.sight.keys.get_mut(&sid(1)).unwrap().0.as_mut().unwrap().sid = sid(3)), "another key");
    refuses(changed(|s| s.policy.twilio.access.admin.key = Some(sid(1))), "signs in with this key");
    refuses(changed(|s| s.now.wall = at(2 * HOUR + 301_000).wall), "clock");
    refuses(changed(|s| s.state.current.as_mut().unwrap().sid = sid(1)), "current key");
}

#[test]
fn a_key_lives_while_another_one_than_its_successor_is_served() {
    let with = |current: Option<u32>| {
        let mut scene = ripe();
        match (current, &mut scene.state.current) {
            (Some(n), Some(known)) => known.sid = sid(n),
            (_, known) => *known = None,
        }
        scene.with(|view| interlock(view, &sid(1))).map(drop).unwrap_err().0
    };
    assert!(with(Some(7)).contains("the successor is not the current key"));
    assert!(with(None).contains("the successor is not the current key"));
}

#[test]
fn a_place_that_is_written_no_more_keeps_the_key_alive_while_it_may_serve_it() {
    let old = Place::new(SinkName::new("two").unwrap(), "billing");
    let with = |content: Option<Content>| {
        let mut scene = ripe();
        scene.state.lingering.insert(old.clone());
        if let Some(content) = content {
            let seen = Seen { version: Version("9".into()), content, staged: false };
            scene.sight.places.insert(old.clone(), (seen, Uptime(2 * HOUR)));
        }
        scene.with(|view| interlock(view, &sid(1))).map_err(|blocked| blocked.0)
    };
    let pair = |n| Content::Pair { sid: sid(n), stamp: None };
    assert!(with(None).unwrap_err().contains("was not read just now"));
    assert!(with(Some(pair(1))).unwrap_err().contains("may still serve it"));
    assert!(with(Some(Content::Foreign)).unwrap_err().contains("may still serve it"));
    for content in [pair(2), pair(7), Content::Absent] {
        let evidence = with(Some(content.clone())).unwrap();
        assert_eq!(evidence.places[&old], (content.sid().cloned(), Version("9".into())));
        assert_eq!(evidence.proven, 1);
    }
}

#[test]
fn a_key_that_no_rotation_names_never_dies() {
    let blocked = ripe().fetched(5, 2 * HOUR).with(|view| interlock(view, &sid(5))).unwrap_err();
    assert!(blocked.0.contains("not a predecessor"), "{}", blocked.0);
    let now = 2 * HOUR;
    let idle = serving().now(now).fetched(5, now);
    assert!(idle.with(|view| interlock(view, &sid(5))).is_err());
}

#[test]
fn deletes_are_limited_over_a_sliding_hour() {
    let spent = |ms| {
        let mut scene = ripe();
        scene.state.spent.deletes.push((sid(9), Uptime(ms)));
        scene
    };
    assert!(spent(2 * HOUR - HOUR + 1).waits().is_some());
    assert!(matches!(spent(HOUR).step(), Step::Delete { .. }));
}

#[test]
fn creates_are_limited_over_an_hour_and_over_a_day() {
    let now = 30 * HOUR;
    let spent = |times: &[u64]| {
        let mut scene = serving().now(now).serves(1, "1", now);
        scene.state.spent.creates = times.iter().map(|ms| Uptime(*ms)).collect();
        scene
    };
    assert!(matches!(spent(&[now - 1, now - 2]).step(), Step::Issue(_)));
    assert!(spent(&[now - 1, now - 2, now - HOUR + 1]).waits().is_some());
    assert!(matches!(spent(&[now - 1, now - 2, now - HOUR]).step(), Step::Issue(_)));
    let day = [2, 4, 6, 8, 10].map(|hours| now - hours * HOUR);
    assert!(matches!(spent(&day).step(), Step::Issue(_)));
    let six = [2, 4, 6, 8, 10, 23].map(|hours| now - hours * HOUR);
    assert!(spent(&six).waits().is_some());
    let old = [2, 4, 6, 8, 10, 24].map(|hours| now - hours * HOUR);
    assert!(matches!(spent(&old).step(), Step::Issue(_)));
}

#[test]
fn a_create_without_an_answer_holds_the_next_one_until_it_is_settled() {
    let unsettled = |now| {
        let events = [(0, intended(1, "0")), (0, Event::Unsettled)];
        let mut scene = Scene::new().after(events).now(now).sees("0", Content::Absent, now);
        scene.sight.labelled.insert(attempt(1), Vec::new());
        scene
    };
    assert!(unsettled(15 * 60_000 - 1).waits().is_some());
    assert!(matches!(unsettled(15 * 60_000).step(), Step::Issue(_)));
}

#[test]
fn what_became_of_a_create_is_not_asked_with_a_main_key_that_is_refused() {
    let lost = |breaker: Option<Breaker>| {
        let mut scene = Scene::new().after([(0, intended(1, "0"))]).now(1_000).sees("0", Content::Absent, 1_000);
        scene.weather.breakers.extend(breaker);
        scene
    };
    assert!(matches!(lost(None).step(), Step::Find(_)));
    assert!(matches!(lost(Some(Breaker::Shape)).step(), Step::Find(_)));
    assert!(lost(Some(Breaker::MainKeyRefused)).waits().is_some());
    let mut unsettled = lost(Some(Breaker::MainKeyRefused)).after([(1_000, Event::Unsettled)]);
    assert!(unsettled.waits().is_some());
    unsettled.weather.breakers.clear();
    assert!(matches!(unsettled.step(), Step::Find(_)));
}

#[test]
fn a_key_is_ours_by_its_label_only_alone_and_in_the_window() {
    let intended = at(0);
    let settle = Duration::from_secs(900);
    let key = |n: u32, seconds: i64| KeyFacts {
        sid: sid(n),
        label: None,
        created_at: Timestamp::from_second(START + seconds).unwrap(),
    };
    let owner = |keys: &[KeyFacts]| ownership(keys, &intended, settle);
    assert_eq!(owner(&[]), Ownership::None);
    for (seconds, ours) in [(-121, false), (-120, true), (0, true), (900, true), (901, false)] {
        let expected = if ours { Ownership::Ours(sid(1)) } else { Ownership::Unclear(vec![sid(1)]) };
        assert_eq!(owner(&[key(1, seconds)]), expected, "{seconds} s");
    }
    assert_eq!(owner(&[key(1, 0), key(2, 0)]), Ownership::Unclear(vec![sid(1), sid(2)]));
}

#[test]
fn failures_hold_the_next_try_back() {
    let failed = |now| {
        let failure = Failure { fault: Fault::Server, detail: "503".into() };
        serving().after([(0, Event::Failed { step: StepName::Look, failure })]).now(now)
    };
    assert!(failed(0).waits().is_some_and(|wait| wait <= Duration::from_secs(1)));
    assert!(matches!(failed(1_000).step(), Step::Look(_)));
}

#[test]
fn what_twilio_will_not_make_halts_and_nothing_is_deleted_to_make_room() {
    let refused = |fault| {
        let failure = Failure { fault, detail: "no".into() };
        Scene::new().after([(0, intended(1, "0")), (0, Event::CreateRefused { failure })]).now(HOUR)
    };
    for fault in [Fault::Quota, Fault::Forbidden, Fault::Refused] {
        assert_eq!(refused(fault).halts(), Some(Halt::CreateRefused), "{fault:?}");
    }
    for fault in [Fault::Throttled, Fault::Unreachable, Fault::Unauthorized] {
        assert_eq!(refused(fault).halts(), None, "{fault:?}");
    }
}

#[test]
fn a_pair_that_twilio_refuses_for_five_minutes_halts() {
    let refused = |last, now| {
        let failed = |fault| Event::Failed { step: StepName::Prove, failure: Failure { fault, detail: "401".into() } };
        let mut events = rotate(2, "1", "2", 0);
        events.pop();
        let trouble =
            [(0, failed(Fault::Timeout)), (1, failed(Fault::PairRefused)), (last, failed(Fault::PairRefused))];
        serving().after(events).after(trouble).now(now)
    };
    assert_eq!(refused(300_001, 300_001).halts(), None);
    assert_eq!(refused(300_002, 300_002).halts(), Some(Halt::PairRefused));
    // What counts is that it was still refused then, not that time has passed since.
    assert_eq!(refused(2, 10_000_000).halts(), None);
}

#[test]
fn a_value_newer_than_the_journal_halts() {
    let stamped = |seq| {
        let stamp = Stamp {
            instance: Instance::new("test").unwrap(),
            credential: CredentialName::new("billing").unwrap(),
            seq,
            attempt: attempt(1),
        };
        let now = 24 * HOUR;
        serving().now(now).sees("1", Content::Pair { sid: sid(1), stamp: Some(stamp) }, now)
    };
    assert!(matches!(stamped(7).step(), Step::Issue(_)));
    assert_eq!(stamped(8).halts(), Some(Halt::JournalStale));
}

#[test]
fn a_closed_account_is_left_alone_and_a_suspended_one_waits() {
    let mut scene = serving().now(30 * HOUR);
    scene.weather.standing = Standing::Suspended;
    assert!(scene.waits().is_some());
    scene.weather.standing = Standing::Closed;
    assert_eq!(scene.step(), Step::Wait { wait: None, why: "the account is closed".into() });
}

#[test]
fn every_breaker_stops_creates_and_deletes() {
    for breaker in Breaker::ALL {
        let now = 24 * HOUR;
        let mut due = serving().now(now).serves(1, "1", now);
        due.weather.breakers.insert(breaker);
        assert!(due.waits().is_some(), "{breaker:?}");
        let mut ripe = ripe();
        ripe.weather.breakers.insert(breaker);
        assert!(ripe.waits().is_some(), "{breaker:?}");
    }
}

#[test]
fn a_main_key_is_never_adopted() {
    let mut scene = Scene::new();
    scene.rules().adopt = Some(sid(3));
    scene.policy.twilio.access.admin.key = Some(sid(3));
    assert_eq!(scene.halts(), Some(Halt::Guard));
}

#[test]
fn a_schedule_runs_once_around_a_change_of_the_clocks() {
    let cron = |pattern: &str, zone: &str| {
        let pattern = croner::parser::CronParser::new().parse(pattern).unwrap();
        let zone = jiff::tz::TimeZone::get(zone).unwrap();
        rekeyd::model::policy::Cron { pattern, zone, shortest: Duration::from_secs(3600) }
    };
    let next = |cron: &rekeyd::model::policy::Cron, after: &str| {
        plan::next_run(cron, after.parse::<Timestamp>().unwrap()).to_string()
    };
    let berlin = cron("30 2 * * *", "Europe/Berlin");
    assert_eq!(next(&berlin, "2027-03-26T12:00:00Z"), "2027-03-27T01:30:00Z");
    assert_eq!(next(&berlin, "2027-03-27T01:30:00Z"), "2027-03-28T01:00:00Z", "02:30 does not exist that day");
    assert_eq!(next(&berlin, "2027-03-28T01:00:00Z"), "2027-03-29T00:30:00Z");
    assert_eq!(next(&berlin, "2027-10-30T12:00:00Z"), "2027-10-31T00:30:00Z", "02:30 comes twice that day");
    assert_eq!(next(&berlin, "2027-10-31T00:30:00Z"), "2027-11-01T01:30:00Z");
}

#[test]
fn reasons_come_in_their_order() {
    let mut scene = serving();
    let reason = |scene: &Scene| {
        let rules = scene.policy.credentials.values().next().unwrap();
        plan::due(&scene.state, rules, scene.now.wall).reason
    };
    assert_eq!(reason(&scene), Reason::Aged);
    scene.rules().places.push(Place::new(SinkName::new("two").unwrap(), "billing"));
    assert_eq!(reason(&scene), Reason::Widened);
    let mut scene = scene.after([(1, Event::Requested { by: "ada".into() })]);
    assert_eq!(reason(&scene), Reason::Requested);
    scene.state.current.as_mut().unwrap().gone = true;
    assert_eq!(reason(&scene), Reason::CurrentGone);
    scene.state.current = None;
    assert_eq!(reason(&scene), Reason::First);
    scene.rules().adopt = Some(sid(3));
    assert_eq!(reason(&scene), Reason::Adopted);
}

#[test]
fn a_week_switched_off_loses_nothing() {
    let scene = serving();
    let rules = scene.policy.credentials.values().next().unwrap();
    let due = plan::due(&scene.state, rules, at(7 * 24 * HOUR).wall);
    assert_eq!(due.at, at(24 * HOUR).wall, "it is overdue since then, and starts at once");
    assert!(matches!(rules.cadence, Cadence::Every(_)));
}

#[test]
fn a_condemned_key_is_deleted_again_only_with_fresh_evidence() {
    let evidence = Evidence { places: BTreeMap::new(), proven: 1, spent: 0 };
    let now = 2 * HOUR;
    let scene = grace_since(0).after([(now, Event::Condemned { sid: sid(1), evidence })]);
    assert_eq!(scene.state.phase(), Some(Phase::Revoking));
    assert!(matches!(scene.step(), Step::Look(_)));
    let seen = scene.serves(2, "2", now).proven(2, "2", now);
    assert!(matches!(seen.step(), Step::Fetch(_)));
    assert!(matches!(seen.fetched(1, now).step(), Step::Delete { .. }));
}

/// A write of key 2 was under way when its secret was lost, and its fence is begun.
fn fencing() -> Scene {
    let versions = BTreeMap::from([(place(), Version("1".into()))]);
    let mut events: Vec<_> = rotate(2, "1", "2", 0).into_iter().take(4).collect();
    events.push((0, Event::Abandoned { sid: sid(2), cause: Cause::SecretLost }));
    events.push((0, Event::Fencing { attempt: attempt(2), versions }));
    serving().after(events)
}

#[test]
fn a_stray_that_is_gone_already_is_fenced_before_it_is_forgotten() {
    let gone = |version: &str| {
        let mut scene = fencing().now(1).serves(1, version, 1);
        scene.sight.keys.insert(sid(2), (None, Uptime(1)));
        scene.step()
    };
    assert!(matches!(gone("1"), Step::Fence { base, .. } if base.0 == "1"), "a write of it may still be under way");
    assert_eq!(gone("2"), Step::Record(Event::Removed { sid: sid(2) }));
    let missed = fencing().after([(1, Event::Missing { sid: sid(2) })]);
    assert_eq!(missed.state.strays.len(), 1, "a sweep that misses it does not draw its fence");
}

#[test]
fn a_key_that_was_served_and_can_not_be_read_back_is_replaced_and_not_widened() {
    let mut events: Vec<_> = rotate(2, "1", "2", 0).into_iter().take(5).collect();
    events.push((0, Event::Halted { halt: Halt::Drift, detail: "the old pair is back".into() }));
    events.push((0, Event::Resumed { by: "ada".into(), overwrite: true, forget: BTreeSet::new() }));
    events.push((0, Event::Rebased { place: place(), base: Version("3".into()) }));
    let scene = serving().after(events).now(1).serves(1, "3", 1);
    assert!(matches!(scene.step(), Step::Issue(_)), "{:?}", scene.step());
}

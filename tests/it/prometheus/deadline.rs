//! When a rotation is late, as the metrics tell it; and metrics whose clock a test sets.

use crate::support::world::policy_with;
use async_trait::async_trait;
use jiff::Timestamp;
use rekeyd::metrics::Metrics;
use rekeyd::model::fleet::{Choice, Fleet, FleetName, Membership, Pattern, Waves};
use rekeyd::model::key::{AttemptId, KeySid};
use rekeyd::model::names::{CredentialName, Version};
use rekeyd::model::policy::{Policy, Rules};
use rekeyd::model::reason::Halt;
use rekeyd::model::rotation::{Current, Halted, State};
use rekeyd::ports::{Clock, Observer as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use uuid::Uuid;

pub(super) const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
pub(super) const START: i64 = 1_800_000_000;

/// A clock that says what it is told.
struct Set(AtomicI64);

#[async_trait]
impl Clock for Set {
    fn wall(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
    }

    fn running(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, _duration: Duration) {}

    fn attempt(&self) -> AttemptId {
        AttemptId(Uuid::nil())
    }
}

pub(super) struct Told {
    pub(super) metrics: Metrics,
    clock: Arc<Set>,
    pub(super) rules: Rules,
}

impl Told {
    pub(super) fn of(policy: Policy) -> Self {
        let (clock, rules) = (Arc::new(Set(START.into())), policy.credentials.values().next().unwrap().clone());
        let metrics = Metrics::new(Arc::new(policy), clock.clone(), || 0).unwrap();
        Self { metrics, clock, rules }
    }

    /// What is told of a state that is seen so long after the start.
    fn at(&self, after: i64, state: &State) -> (Option<i64>, Option<i64>) {
        self.see(after, state);
        (
            self.value("rekeyd_next_rotation_timestamp_seconds{"),
            self.value("rekeyd_rotation_deadline_timestamp_seconds{"),
        )
    }

    /// A state is seen so long after the start.
    pub(super) fn see(&self, after: i64, state: &State) {
        self.clock.0.store(START + after, Ordering::Relaxed);
        self.metrics.seen(&self.rules.name, state);
    }

    /// The value of the first series that begins so, in seconds since the start.
    pub(super) fn value(&self, series: &str) -> Option<i64> {
        let text = self.metrics.render().unwrap();
        let line = text.lines().find(|line| line.starts_with(series))?;
        Some(line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as i64 - START)
    }

    /// A key that every place serves since the start.
    pub(super) fn serving(&self) -> State {
        let version = |place: &_| (Clone::clone(place), Version("1".to_owned()));
        let current = Current {
            sid: KeySid::new("SK00000000000000000000000000000009").unwrap(),
            attempt: Some(AttemptId(Uuid::nil())),
            created_at: None,
            since: Timestamp::from_second(START).unwrap(),
            places: self.rules.places.iter().map(version).collect(),
            members: self.rules.members.clone(),
            gone: false,
            permissions: None,
        };
        State { current: Some(current), ..State::default() }
    }
}

#[test]
fn a_rotation_is_late_two_hours_after_it_is_due() {
    let told = Told::of(policy_with(&["a"], |_| {}));
    let state = told.serving();
    assert_eq!(told.at(HOUR, &state), (Some(DAY), Some(DAY + 2 * HOUR)));
    assert_eq!(told.at(3 * DAY, &state), (Some(DAY), Some(DAY + 2 * HOUR)), "however late it is");
}

#[test]
fn what_is_due_at_once_is_due_since_it_was_seen_to_be() {
    let told = Told::of(policy_with(&["a"], |_| {}));
    assert_eq!(told.at(HOUR, &State::default()), (Some(HOUR), Some(3 * HOUR)), "there is no key yet");
    assert_eq!(told.at(2 * HOUR, &State::default()), (Some(HOUR), Some(3 * HOUR)));
    let mut state = told.serving();
    assert_eq!(told.at(3 * HOUR, &state), (Some(DAY), Some(DAY + 2 * HOUR)));
    state.current.as_mut().unwrap().gone = true;
    assert_eq!(told.at(5 * HOUR, &state), (Some(5 * HOUR), Some(7 * HOUR)), "somebody deleted the key");
    assert_eq!(told.at(6 * HOUR, &state), (Some(5 * HOUR), Some(7 * HOUR)));
}

#[test]
fn what_is_halted_is_not_late() {
    let told = Told::of(policy_with(&["a"], |_| {}));
    let at = Timestamp::from_second(START).unwrap();
    let halted = Halted { halt: Halt::Drift, detail: String::new(), at };
    let state = State { halted: Some(halted), ..told.serving() };
    assert_eq!(told.at(9 * DAY, &state), (None, None));
}

#[test]
fn members_of_a_fleet_may_wait_for_those_that_go_first() {
    let name = FleetName::new("f").unwrap();
    for (canary, hold) in [(true, 0), (false, 6 * HOUR)] {
        let member = Membership { fleet: name.clone(), canary };
        let mut policy = policy_with(&["f-0"], |rules| rules.member = Some(member.clone()));
        let each = policy.credentials[&CredentialName::new("f-0").unwrap()].clone();
        let waves = Waves { canary: 1, hold: Duration::from_secs(6 * 3600), batch: 5, tolerate: 0 };
        let choice = Choice::Named(Pattern("*".to_owned()));
        policy.fleets =
            vec![Fleet { name: name.clone(), region: None, choice, waves, each, reserved: Default::default() }];
        let told = Told::of(policy);
        let state = told.serving();
        assert_eq!(told.at(HOUR, &state), (Some(DAY), Some(DAY + 2 * HOUR + hold)), "canary: {canary}");
    }
}

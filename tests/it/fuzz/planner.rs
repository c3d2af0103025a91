//! The planner in a small world: whatever happens, in whatever order, a decision is the same when it is made again, the
//! journal accepts it, and nothing is proposed for deletion that a second list of conditions, written here, does not
//! condemn (protocol, b.7).

use super::play;
use crate::policy::accepted;
use jiff::Timestamp;
use proptest::prelude::*;
use rekeyd::decide::interlock::interlock;
use rekeyd::decide::step::step;
use rekeyd::decide::{Hand, INTERLOCK, PROVEN, Proof, Sight, Step, View, Weather};
use rekeyd::model::apply::apply;
use rekeyd::model::document::{Content, Seen};
use rekeyd::model::event::{Entry, Event, Intent};
use rekeyd::model::fault::{Failure, Fault};
use rekeyd::model::key::{AttemptId, KeyFacts, KeySid};
use rekeyd::model::names::{CredentialName, Place, SinkName, Version};
use rekeyd::model::permission::Granted;
use rekeyd::model::policy::{Policy, Rules};
use rekeyd::model::reason::{Breaker, Cause, Halt, StepName};
use rekeyd::model::rotation::State;
use rekeyd::model::time::{Moment, Uptime};
use rekeyd::model::workload::{Before, Mark, Workload, WorkloadKind, WorkloadSeen};
use rekeyd::ports::Standing;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

/// One thing that happens: what kind, and two choices that it leaves open.
pub(super) type Happening = (u8, u8, u8);

pub(super) fn sid(number: u64) -> KeySid {
    KeySid::new(&format!("SK{number:032x}")).unwrap()
}

pub(super) fn attempt(number: u64) -> AttemptId {
    AttemptId(Uuid::from_u128(u128::from(number)))
}

/// Everything there is.
pub(super) struct World {
    policy: Policy,
    pub(super) state: State,
    pub(super) entries: Vec<Entry>,
    now: Moment,
    hand: Hand,
    sight: Sight,
    weather: Weather,
    /// What the places serve: a key by its number if any, and the version.
    served: BTreeMap<Place, (Content, u64)>,
    /// What restarts have left on the one workload, and whether its rollout goes on.
    marks: (Option<Mark>, u64, bool),
    /// The keys that Twilio has, by number; each was made for the attempt of the same number.
    alive: BTreeSet<u64>,
    next: u64,
    roots: BTreeSet<KeySid>,
    sinks: BTreeSet<SinkName>,
}

impl World {
    pub(super) fn new() -> Self {
        let text = crate::policy::MINIMAL.replace(
            "publish_to = [{ sink = \"files\", name = \"billing-sms.json\" }]",
            "rotate_every = \"4h\"\ngrace = \"1h\"\npublish_to = [{ sink = \"files\", name = \"a\" }, { sink = \"files\", name = \"b\" }]",
        );
        let mut policy = accepted(&text).policy;
        let workload =
            Workload { sink: SinkName::new("files").unwrap(), kind: WorkloadKind::Deployment, name: "a".into() };
        policy.credentials.values_mut().for_each(|rules| rules.restart = vec![workload.clone()]);
        let rules = policy.credentials.values().next().unwrap();
        let served = rules.places.iter().map(|place| (place.clone(), (Content::Absent, 1))).collect();
        let now =
            Moment { wall: Timestamp::from_second(1_800_000_000).unwrap(), uptime: Uptime(1_000_000), twilio: None };
        let (roots, sinks) = (BTreeSet::from([sid(0)]), policy.sinks.keys().cloned().collect());
        let (state, weather) = (State::default(), Weather::default());
        Self {
            policy,
            state,
            entries: Vec::new(),
            now,
            hand: Hand::default(),
            sight: Sight::default(),
            weather,
            served,
            marks: (None, 1, false),
            alive: BTreeSet::from([0, 7]),
            next: 10,
            roots,
            sinks,
        }
    }

    fn rules(&self) -> &Rules {
        self.policy.credentials.values().next().unwrap()
    }

    fn view(&self) -> View<'_> {
        View {
            state: &self.state,
            seq: self.entries.len() as u64,
            rules: self.rules(),
            instance: &self.policy.instance,
            timing: &self.policy.timing,
            limits: &self.policy.limits,
            roots: &self.roots,
            sinks: &self.sinks,
            now: self.now,
            local: self.now.uptime,
            fresh: attempt(self.next),
            hand: self.hand.clone(),
            sight: &self.sight,
            weather: &self.weather,
        }
    }

    /// Writes an event, if it fits.
    pub(super) fn append(&mut self, event: Event) -> bool {
        let entry = Entry { seq: self.entries.len() as u64 + 1, at: self.now, event };
        let Ok(state) = apply(self.state.clone(), &entry) else { return false };
        self.state = state;
        self.entries.push(entry);
        true
    }

    /// A decision must fit: the journal would refuse it for ever otherwise.
    fn decide(&mut self, event: Event) {
        let told = format!("{event:?}\n  on {:?}\n  after {:?}", self.state, self.entries);
        assert!(self.append(event), "a decision that the journal refuses: {told}");
    }

    fn changed(&mut self) {
        self.sight = Sight::default();
    }

    fn pass(&mut self, time: Duration) {
        self.now.uptime = self.now.uptime.plus(time);
        self.now.wall = self.now.wall.checked_add(time).unwrap();
    }

    fn facts(&self, number: u64) -> KeyFacts {
        KeyFacts { sid: sid(number), label: None, created_at: self.now.wall }
    }

    fn number(&self, key: &KeySid) -> Option<u64> {
        (0..=self.next).find(|number| sid(*number) == *key)
    }

    pub(super) fn happen(&mut self, (kind, one, two): Happening) {
        match kind % 16 {
            0..=8 => self.take_step(one, two),
            9 => self.pass([1, 5, 31, 120, 700, 3_700, 20_000, 90_000].map(Duration::from_secs)[usize::from(one % 8)]),
            10 => self.meddle(one, two),
            11 => _ = self.append(self.event(one, two)),
            12 => self.weather(one),
            13 => self.hand.secret_of = (one % 2 == 0).then(|| attempt(self.next.saturating_sub(1))),
            14 => self.changed(),
            _ => {
                self.now.twilio = [
                    None,
                    Some(self.now.wall),
                    self.now.wall.checked_add(Duration::from_secs(u64::from(two) * 10)).ok(),
                ][usize::from(one % 3)]
            }
        }
    }

    /// People and time do something to the world.
    fn meddle(&mut self, one: u8, two: u8) {
        let places: Vec<_> = self.served.keys().cloned().collect();
        let place = &places[usize::from(one) % places.len()];
        let (content, version) = self.served.get_mut(place).unwrap();
        match two % 6 {
            0 => *content = Content::Absent,
            1 => *content = Content::Foreign,
            2 => *content = Content::Blank,
            3 => *content = Content::Pair { sid: sid(u64::from(one % 12)), stamp: None },
            4 if one >= 128 => self.marks = (None, self.marks.1 + 1, one.is_multiple_of(2)),
            4 => _ = self.alive.remove(&u64::from(one % 16)),
            _ => _ = self.alive.insert(u64::from(one % 12)),
        }
        *version += u64::from(two < 128);
    }

    fn weather(&mut self, one: u8) {
        self.weather = Weather::default();
        match one % 7 {
            0 => _ = self.weather.breakers.insert(Breaker::MainKeyRefused),
            1 => _ = self.weather.breakers.insert(Breaker::Clock),
            2 => self.weather.standing = Standing::Suspended,
            3 => self.weather.held = Duration::from_secs(60),
            4 => self.weather.deletes = (1, 1),
            _ => (),
        }
    }

    /// Any event at all, about things that may or may not be there.
    pub(super) fn event(&self, one: u8, two: u8) -> Event {
        let key = sid(u64::from(two % 16));
        let places: Vec<_> = self.served.keys().cloned().collect();
        let place = places[usize::from(two) % places.len()].clone();
        let version = Version(u64::from(two % 5).to_string());
        let versions: BTreeMap<_, _> = places.iter().map(|place| (place.clone(), version.clone())).collect();
        let failure = Failure::new(Fault::ALL[usize::from(two) % Fault::ALL.len()], "so it is");
        let attempt = attempt(u64::from(two % 16));
        match one % 22 {
            0 => Event::Requested { by: "ada".into() },
            1 => Event::Created { sid: key, created_at: self.now.wall },
            2 => Event::Verified { successes: 3, refusals: 0 },
            3 => Event::Written { place, version },
            4 => Event::Published { versions },
            5 => Event::Revoked { sid: key },
            6 => Event::Abandoned { sid: key, cause: Cause::NotAccepted },
            7 => Event::Found { attempt, sid: key },
            8 => Event::Fencing { attempt, versions },
            9 => Event::Fenced { attempt, place, from: version.clone(), to: version },
            10 => Event::Revived { attempt },
            11 => Event::Removed { sid: key },
            12 => Event::Missing { sid: key },
            13 => Event::Failed {
                step: [StepName::Look, StepName::Prove, StepName::Issue][usize::from(two % 3)],
                failure,
            },
            14 => Event::Halted { halt: Halt::Drift, detail: "seen".into() },
            15 => Event::Resumed { by: "ada".into(), overwrite: two.is_multiple_of(2), forget: BTreeSet::new() },
            16 => Event::Widened { bases: versions },
            17 => Event::Restarting { attempt, workloads: self.workloads(two) },
            18 => Event::Restarted { workload: self.rules().restart[0].clone() },
            19 => Event::Served { versions },
            20 => Event::RolledOut {
                workload: self.rules().restart[0].clone(),
                drain: Duration::from_secs(u64::from(two) * 600),
            },
            _ => Event::Adopted { home: self.rules().home.clone(), sid: sid(7), created_at: Some(self.now.wall) },
        }
    }

    fn workloads(&self, two: u8) -> BTreeMap<Workload, Before> {
        let before = Before { number: u64::from(two), drain: Duration::from_secs(u64::from(two) * 600) };
        self.rules().restart.iter().map(|workload| (workload.clone(), before)).collect()
    }

    /// Does what the planner says, with an outcome that is open: 0 it works, 1 it fails, 2 it works and nobody hears.
    fn take_step(&mut self, outcome: u8, luck: u8) {
        let decided = step(&self.view());
        assert_eq!(decided, step(&self.view()), "the same view, and another decision");
        let heard = outcome % 4 != 2;
        let fails = outcome % 4 == 1;
        if let (true, Some(name)) = (fails, decided.name()) {
            return self.fail(&decided, name, luck);
        }
        match decided {
            Step::Record(event) => self.decide(event),
            Step::Wait { wait, .. } => {
                self.pass(wait.unwrap_or(Duration::from_secs(60)).min(Duration::from_secs(40_000)))
            }
            Step::Drop => self.hand = Hand::default(),
            Step::Look(places) => self.look(&places),
            Step::Prove(places) => self.prove(&places),
            Step::Fetch(key) => {
                let facts =
                    self.number(&key).filter(|number| self.alive.contains(number)).map(|number| self.facts(number));
                self.sight.keys.insert(key, (facts, self.now.uptime));
            }
            Step::Permissions(key) => {
                _ = self.sight.granted.insert(key, (Granted::Everything, self.now.uptime));
            }
            Step::Find(made_for) => {
                let found = (1..self.next).filter(|number| attempt(*number) == made_for && self.alive.contains(number));
                let found = found.map(|number| self.facts(number)).collect();
                self.sight.labelled.insert(made_for, found);
            }
            Step::Recall(_) => self.hand.secret_of = self.state.rotation.as_ref().map(|rotation| rotation.attempt),
            Step::Issue(intent) => self.issue(&intent, heard),
            Step::Inspect(workloads) => self.inspect(workloads, luck),
            Step::Restart { workload, mark, base } => {
                self.sight.workloads.clear();
                if self.marks.1.to_string() == base.0 {
                    self.marks = (Some(mark), self.marks.1 + 1, luck.is_multiple_of(4));
                    if heard {
                        self.decide(Event::Restarted { workload });
                    }
                }
            }
            Step::Probe => self.hand.tally.count(!luck.is_multiple_of(8), self.now.uptime),
            Step::Publish { place, base } => {
                self.decide(Event::Publishing { place: place.clone(), base: base.clone() });
                let key = self
                    .state
                    .rotation
                    .as_ref()
                    .and_then(|rotation| rotation.successor.clone())
                    .expect("a key to publish");
                let written = self.replace(&place, &base, Some(Content::Pair { sid: key, stamp: None }));
                if let (true, Some(version)) = (heard, written) {
                    _ = self.append(Event::Written { place, version });
                }
            }
            Step::Fence { attempt, place, base } => {
                let written = self.replace(&place, &base, None);
                if let (true, Some(to)) = (heard, written) {
                    _ = self.append(Event::Fenced { attempt, place, from: base, to });
                }
            }
            Step::Delete { ref sid, .. } => {
                let number = self.number(sid);
                self.condemn(&decided);
                number.map(|number| self.alive.remove(&number));
                self.changed();
            }
        }
    }

    /// What is decided first and then fails leaves its decision behind.
    fn fail(&mut self, decided: &Step, name: StepName, luck: u8) {
        if let Step::Issue(intent) = decided {
            self.decide(Event::Intended(intent.clone()));
        }
        self.condemn(decided);
        self.changed();
        let failure = Failure::new(Fault::ALL[usize::from(luck) % Fault::ALL.len()], "so it is");
        _ = self.append(Event::Failed { step: name, failure });
    }

    fn issue(&mut self, intent: &Intent, heard: bool) {
        let number = self.next;
        self.next += 1;
        self.decide(Event::Intended(Box::new(intent.clone())));
        self.alive.insert(number);
        self.changed();
        if heard && self.append(Event::Created { sid: sid(number), created_at: self.now.wall }) {
            self.hand = Hand { secret_of: Some(intent.attempt), ..Hand::default() };
        }
    }

    fn inspect(&mut self, workloads: Vec<Workload>, luck: u8) {
        let (mark, version, going) = self.marks.clone();
        let rollout = going.then(|| "it goes on".to_owned());
        self.marks.2 = going && luck.is_multiple_of(2);
        let drain = Duration::from_secs(u64::from(luck) * 600);
        let seen = WorkloadSeen { version: Version(version.to_string()), generation: version, mark, rollout, drain };
        let seen = workloads.into_iter().map(|workload| (workload, (seen.clone(), self.now.uptime)));
        self.sight.workloads.extend(seen);
    }

    fn look(&mut self, places: &[Place]) {
        for place in places {
            let (content, version) = self.served.get(place).cloned().unwrap_or((Content::Absent, 0));
            let seen = Seen { version: Version(version.to_string()), content, staged: false };
            self.sight.places.insert(place.clone(), (seen, self.now.uptime));
        }
    }

    fn prove(&mut self, places: &[Place]) {
        for place in places {
            let Some((seen, _)) = self.sight.places.get(place) else { continue };
            let Some(key) = seen.content.sid().cloned() else { continue };
            if self.number(&key).is_some_and(|number| self.alive.contains(&number)) {
                let proof = Proof { sid: key, version: seen.version.clone(), at: self.now.uptime };
                self.sight.proofs.insert(place.clone(), proof);
            }
        }
    }

    /// A compare-and-set.
    fn replace(&mut self, place: &Place, base: &Version, by: Option<Content>) -> Option<Version> {
        self.changed();
        let (content, version) = self.served.get_mut(place)?;
        (version.to_string() == base.0).then_some(())?;
        *version += 1;
        *content = by.unwrap_or_else(|| if *content == Content::Absent { Content::Blank } else { content.clone() });
        Some(Version(version.to_string()))
    }

    /// What is proposed for deletion is condemned only if everything speaks for it.
    fn condemn(&mut self, decided: &Step) {
        let Step::Delete { sid: key, evidence } = decided else { return };
        assert_eq!(interlock(&self.view(), key).as_ref(), Ok(evidence), "the interlock thinks otherwise");
        let told = format!("{key} in {:?}\n  seeing {:?}", self.state, self.sight);
        assert!(!self.roots.contains(key), "the Main key: {told}");
        assert!(self.state.current.as_ref().is_none_or(|current| current.sid != *key), "the current key: {told}");
        assert!(self.state.halted.is_none() && self.weather.breakers.is_empty(), "in bad weather: {told}");
        assert!(self.weather.standing == Standing::Active && self.weather.held.is_zero(), "in bad weather: {told}");
        let fresh = |at: Uptime, within| self.now.uptime.since(at) <= within;
        let (facts, at) = self.sight.keys.get(key).unwrap_or_else(|| panic!("a key that nobody asked for: {told}"));
        assert!(facts.as_ref().is_some_and(|facts| facts.sid == *key) && fresh(*at, PROVEN), "not seen alive: {told}");
        let shown =
            |place: &Place| self.sight.places.get(place).filter(|(_, at)| fresh(*at, INTERLOCK)).map(|(seen, _)| seen);
        match self.state.strays.iter().find(|stray| stray.sid == *key) {
            Some(stray) => {
                let fence = stray.fence.as_ref().unwrap_or_else(|| panic!("a stray without a fence: {told}"));
                for place in fence.keys() {
                    assert!(shown(place).is_some_and(|seen| seen.content.sid() != Some(key)), "{place}: {told}");
                }
            }
            None => {
                let rotation = self.state.rotation.as_ref().unwrap_or_else(|| panic!("no rotation: {told}"));
                assert!(rotation.predecessors.contains(key) && rotation.successor.is_some(), "no predecessor: {told}");
                let published = rotation.published.as_ref().unwrap_or_else(|| panic!("not published: {told}"));
                let grace = rotation.grace.max(self.rules().grace);
                assert!(self.now.uptime.since(published.uptime) >= grace, "in grace: {told}");
                for place in &self.rules().places {
                    let seen = shown(place).unwrap_or_else(|| panic!("{place} was not read: {told}"));
                    assert_eq!(seen.content.sid(), rotation.successor.as_ref(), "{place}: {told}");
                    assert!(
                        self.sight.proofs.get(place).is_some_and(|proof| fresh(proof.at, PROVEN)),
                        "{place}: {told}"
                    );
                }
            }
        }
        self.decide(Event::Condemned { sid: key.clone(), evidence: evidence.clone() });
    }
}

pub(super) fn life() -> impl Strategy<Value = Vec<Happening>> {
    // Mostly steps that work: a life that only fails gets nowhere.
    let step = (Just(0_u8), prop_oneof![6 => Just(0_u8), 1 => Just(1), 1 => Just(2)], any::<u8>());
    let other = (9_u8..16, any::<u8>(), any::<u8>());
    let hour = Just((9_u8, 5_u8, 0_u8));
    prop::collection::vec(prop_oneof![24 => step, 3 => other, 1 => hour], 20..160)
}

#[test]
fn the_planner_never_condemns_what_lives_and_the_journal_takes_its_decisions() {
    let reached = std::cell::Cell::new((0_u32, 0_u32));
    play("planner", &life(), |happenings| {
        let mut world = World::new();
        happenings.into_iter().for_each(|happening| world.happen(happening));
        let deletes = world.entries.iter().filter(|entry| matches!(entry.event, Event::Condemned { .. })).count();
        let (lives, all) = reached.get();
        reached.set((lives + u32::from(world.state.completed > 0), all + u32::try_from(deletes).unwrap()));
        let _: &CredentialName = &world.rules().name;
    });
    let (completed, deletes) = reached.get();
    println!("lives with a whole rotation: {completed}; deletes: {deletes}");
    assert!(completed > 20 && deletes > 20, "the lives get nowhere: {completed} rotations, {deletes} deletes");
}

//! One life after another of the daemon in the fake world.

use super::cluster::FakeCluster;
use super::doors::{FakeClock, FakeIssuer, FakeSink, Shown, Watcher};
use super::memory::Disk;
use super::{MemoryJournal, World};
use rekeyd::describe::describe;
use rekeyd::engine::{Engine, Ports};
use rekeyd::model::document::Members;
use rekeyd::model::event::Entry;
use rekeyd::model::home::{Home, Region};
use rekeyd::model::key::{AccountSid, KeySid};
use rekeyd::model::names::{CredentialName, Instance, Place, SinkName};
use rekeyd::model::policy::{
    Access, AccountDeletes, Admin, Cadence, KeyKind, Limits, Listen, Policy, Rules, SecretSource, SinkPolicy, StateUrl,
    Timing, TwilioPolicy, Verify,
};
use rekeyd::model::rotation::State;
use rekeyd::ports::{Ask, Journal, Request, Sink, Workloads};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The daemon, its policy, and the disk that outlives it.
pub struct Daemon {
    pub world: World,
    pub policy: Arc<Policy>,
    pub events: Arc<Mutex<Vec<(CredentialName, Entry)>>>,
    pub disk: Arc<Mutex<Disk>>,
    /// The key of each credential as each process last told it to those who look on.
    pub shown: Shown,
    /// How many processes there are.
    pub replicas: usize,
    /// Whether the journal is one that several can share.
    pub shared: bool,
}

impl Daemon {
    pub fn new(world: &World, policy: Policy) -> Self {
        let shortest = policy.credentials.values().map(|rules| rules.grace).min();
        world.truth(|truth| truth.grace = shortest.unwrap_or_default());
        Self {
            world: world.clone(),
            policy: Arc::new(policy),
            events: Arc::default(),
            disk: Arc::default(),
            shown: Arc::default(),
            replicas: 1,
            shared: false,
        }
    }

    /// So many processes with one policy, and one journal that they share.
    pub fn replicated(self, replicas: usize) -> Self {
        Self { replicas, shared: true, ..self }
    }

    /// Runs for so long, starting again after each crash; answers the number of crashes.
    pub async fn live(&self, time: Duration) -> usize {
        let end = tokio::time::Instant::now() + time;
        let lives = (0..self.replicas).map(|number| async move {
            // Processes do not start at the same moment; what they do at the same moment is up to their tasks.
            tokio::time::sleep(Duration::from_millis(number as u64 * 3500)).await;
            let mut crashes = 0;
            while tokio::time::Instant::now() < end {
                if self.one_life(end).await {
                    crashes += 1;
                }
            }
            crashes
        });
        futures_util::future::join_all(lives).await.into_iter().sum()
    }

    /// One life; true if it ended in a crash.
    async fn one_life(&self, end: tokio::time::Instant) -> bool {
        let generation = self.world.birth();
        let stop = CancellationToken::new();
        let engine = Engine::new(self.policy.clone(), self.ports(generation), stop.clone());
        let ticking = engine.clone();
        let tick = self.policy.timing.tick;
        let ticker = tokio::spawn(async move {
            loop {
                tokio::time::sleep(tick).await;
                ticking.wake();
            }
        });
        let mut running = tokio::spawn(async move { engine.run().await });
        let crashed = tokio::select! {
        biased;
                    () = self.world.crash(generation) => true,
                    () = tokio::time::sleep_until(end) => false,
                    // It gives up when it can not reach its journal, and whoever watches over it starts it again.
                    _ = &mut running => {
                        tokio::time::sleep(Duration::from_secs(5)).await;
                        true
                    }
                };
        ticker.abort();
        if !crashed {
            stop.cancel();
            // It may still crash while it stops.
            tokio::select! {
            biased;
                            ended = &mut running => {
                                let ended = ended.unwrap();
                                assert!(ended.is_ok() || self.world.is_cut_off(generation), "{ended:?}");
                            }
                            () = self.world.crash(generation) => {}
                        }
        }
        running.abort();
        self.world.bury(generation);
        crashed
    }

    fn ports(&self, generation: u64) -> Ports {
        let (world, born) = (self.world.clone(), tokio::time::Instant::now());
        let haste = world.truth(|truth| truth.haste.max(1));
        let journal = MemoryJournal::open(self.disk.clone(), Some((world.clone(), generation)));
        let journal = if self.shared { journal.shared() } else { journal };
        journal.show_to(&world);
        let sink = |name: &SinkName| {
            // One that can hold a value before it is served, like Secrets Manager, is written first.
            let stages = name.as_str() == "aws";
            let sink: Arc<dyn Sink> = Arc::new(FakeSink { world: world.clone(), generation, stages });
            (name.clone(), sink)
        };
        let cluster = |name: &SinkName| {
            let cluster: Arc<dyn Workloads> = Arc::new(FakeCluster { world: world.clone(), generation });
            (name.clone(), cluster)
        };
        Ports {
            clusters: self.policy.sinks.keys().map(cluster).collect(),
            sinks: self.policy.sinks.keys().map(sink).collect(),
            issuer: Arc::new(FakeIssuer { world: world.clone(), generation, seen: Mutex::new(None), born, haste }),
            journal: Arc::new(journal),
            clock: Arc::new(FakeClock { world: world.clone(), born, ids: AtomicU64::new(1), haste, generation }),
            observer: Arc::new(Watcher { world, events: self.events.clone(), shown: self.shown.clone(), generation }),
        }
    }

    pub fn state(&self, name: &str) -> State {
        let journal = MemoryJournal::open(self.disk.clone(), None);
        let rows = futures_util::FutureExt::now_or_never(journal.rows()).unwrap().unwrap();
        rows.into_iter().find(|row| row.name.as_str() == name).map(|row| row.state).unwrap_or_default()
    }

    pub fn waiting(&self, name: &str) -> String {
        let journal = MemoryJournal::open(self.disk.clone(), None);
        let rows = futures_util::FutureExt::now_or_never(journal.rows()).unwrap().unwrap();
        rows.into_iter().find(|row| row.name.as_str() == name).map(|row| row.waiting).unwrap_or_default()
    }

    pub fn ask(&self, name: &str, ask: Ask) {
        let journal = MemoryJournal::open(self.disk.clone(), None);
        let request = Request { credential: CredentialName::new(name).unwrap(), by: "tester".into(), ask };
        futures_util::FutureExt::now_or_never(journal.ask(request)).unwrap().unwrap();
    }

    /// The words of all events of a credential.
    pub fn words(&self, name: &str) -> Vec<&'static str> {
        let events = self.events.lock().unwrap();
        events.iter().filter(|(of, _)| of.as_str() == name).map(|(_, entry)| entry.event.word()).collect()
    }

    /// Faults have stopped and time has passed: all is as it should be (L1, L2), and nothing was ever broken.
    pub fn converged(&self) {
        if let Err(what) = self.verdict() {
            panic!("{what}\n{}", self.story());
        }
    }

    /// The same, as a verdict.
    pub fn verdict(&self) -> Result<(), String> {
        let broken = self.world.truth(|truth| truth.broken.clone());
        if let Some(first) = broken.first() {
            return Err(format!("{first} ({} broken)", broken.len()));
        }
        let mut named = Vec::new();
        for rules in self.policy.credentials.values() {
            named.extend(self.at_rest(rules)?);
        }
        let (ours, tellable) = self.world.truth(|truth| (truth.ours(), truth.tellable()));
        if let Some(dead) = named.iter().find(|sid| !ours.contains(sid)) {
            return Err(format!("L1: {dead} is current and not alive"));
        }
        // What can not be told to be ours is reported, and left to people.
        let left: Vec<_> = tellable.into_iter().filter(|sid| !named.contains(sid)).collect();
        if !left.is_empty() {
            return Err(format!("L2: strays are left: {left:?}"));
        }
        let (odd, reported) = (ours.len() - named.len(), self.world.truth(|truth| truth.reported.values().sum()));
        if odd <= reported { Ok(()) } else { Err(format!("L2: {odd} keys are left over, {reported} were reported")) }
    }

    /// One credential: nothing is under way, and every place serves the current key.
    fn at_rest(&self, rules: &Rules) -> Result<Option<KeySid>, String> {
        let (state, waiting) = (self.state(rules.name.as_str()), self.waiting(rules.name.as_str()));
        if let Some(halted) = &state.halted {
            return Err(format!("halted: {:?} {}", halted.halt, halted.detail));
        }
        let rests = state.rotation.is_none() && state.strays.is_empty() && waiting.starts_with("next rotation");
        if !rests {
            return Err(format!("L1: not at rest: {waiting}"));
        }
        let current = state.current.map(|current| current.sid);
        let serves = |place: &Place| self.world.truth(|truth| truth.serves(place));
        match rules.places.iter().find(|place| serves(place).is_none() || serves(place) != current) {
            Some(place) => Err(format!("L1: {place} serves {:?}, {current:?} expected", serves(place))),
            None => Ok(current),
        }
    }

    /// All events, for a failed test.
    pub fn story(&self) -> String {
        let events = self.events.lock().unwrap();
        let line = |(name, entry): &(CredentialName, Entry)| {
            let (seconds, text) = (entry.at.uptime.0 / 1000, describe(&entry.event));
            let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
            let time = format!("day {days} {hours:02}:{minutes:02}:{:02}", seconds % 60);
            format!("{time} {name} {:>3} {:<12} {text}\n", entry.seq, entry.event.word())
        };
        events.iter().map(line).collect()
    }
}

/// One credential, `billing`, at two sinks, with figures that make a rotation take an hour and a half.
pub fn policy() -> Policy {
    policy_with(&["billing"], |_| {})
}

/// A policy for these credentials, with a last change to the rules of each.
pub fn policy_with(names: &[&str], change: impl Fn(&mut Rules)) -> Policy {
    let sink = |name: &str| SinkName::new(name).unwrap();
    let home = home();
    let rules = |name: &&str| {
        let mut rules = Rules {
            name: CredentialName::new(name).unwrap(),
            home: home.clone(),
            cadence: Cadence::Every(Duration::from_secs(24 * 3600)),
            grace: Duration::from_secs(3600),
            verify: Verify { successes: 3, over: Duration::from_secs(10) },
            adopt: None,
            kind: KeyKind::Standard,
            verify_url: None,
            members: Members::default(),
            places: vec![Place::new(sink("one"), name), Place::new(sink("two"), name)],
            restart: Vec::new(),
            restart_pause: Duration::ZERO,
            member: None,
        };
        change(&mut rules);
        (rules.name.clone(), rules)
    };
    let directory = || SinkPolicy::Directory { path: "/nowhere".into() };
    Policy {
        instance: Instance::new("test").unwrap(),
        state: StateUrl::Sqlite("/nowhere".into()),
        listen: Listen { address: "127.0.0.1:0".parse().unwrap(), tls: None, token: None },
        twilio: twilio(&home.account),
        sinks: BTreeMap::from([(sink("one"), directory()), (sink("two"), directory())]),
        timing: Timing {
            tick: Duration::from_secs(30),
            settle: Duration::from_secs(15 * 60),
            sweep: Duration::from_secs(15 * 60),
            reconcile: Duration::from_secs(6 * 3600),
            watch: None,
        },
        limits: Limits {
            creates_per_hour: 3,
            deletes_per_hour: 1,
            account_deletes_per_hour: AccountDeletes::Auto,
            abandons_per_hour: 3,
            account_calls: 32,
            sink_calls: 32,
        },
        credentials: names.iter().map(rules).collect(),
        fleets: Vec::new(),
        subaccounts: Vec::new(),
    }
}

/// The one account of the world.
pub(super) fn home() -> Home {
    Home::us1(AccountSid::new("AC00000000000000000000000000000001").unwrap())
}

fn twilio(account: &AccountSid) -> TwilioPolicy {
    let admin = Admin {
        account: account.clone(),
        key: Some(KeySid::new(&format!("SK{}", "f".repeat(32))).unwrap()),
        secret: SecretSource::Env("NONE".into()),
        pkcv: None,
    };
    let base_url = url::Url::parse("http://127.0.0.1:1").unwrap();
    TwilioPolicy {
        account: account.clone(),
        access: Access { region: Region::us1(), base_url, admin, pkcv: None },
        accounts: BTreeMap::new(),
        regions: BTreeMap::new(),
        homes: BTreeMap::new(),
        key_pairs: BTreeSet::new(),
    }
}

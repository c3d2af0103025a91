//! Random lives: the policy, people, operators, Twilio and the sinks all do something odd at odd times, for a week or so;
//! then everything is calm, the operator does what the hints say, and the credential must come to rest.
//!
//! A seed is a life. `CHANCE=17 tests/run chance` plays life 17 and tells its story; `CHANCE=0..5000` many.

use super::*;
use crate::crash::on_all_cores;
use crate::support::counted::counted;
use crate::support::dice::Dice;
use std::fmt::Write as _;

/// One life.
struct Life {
    dice: Dice,
    world: World,
    daemon: Daemon,
    /// What happened, for a failed test.
    told: std::cell::RefCell<String>,
    /// What people have seen at the places, to put back some day.
    seen: Vec<(Place, Map<String, Value>)>,
    hidden: Vec<KeySid>,
    lied: bool,
}

const CALLS: [&str; 8] = ["create", "list", "fetch", "delete", "probe", "read", "publish", "fence"];

fn any_policy(dice: &mut Dice) -> Policy {
    let kept = dice.pick(&[["one", "two"], ["one", "two"], ["one", "one"], ["two", "two"]]);
    let (renamed, removed, swapped) = (dice.one_in(5), dice.one_in(3), dice.one_in(2));
    let mut policy = policy_with(&["billing"], |rules| {
        rules.places.retain(|place| kept.contains(&place.sink.as_str()));
        if swapped {
            rules.places.reverse();
        }
        if renamed {
            rules.members.api_key_sid = "TWILIO_API_KEY".into();
            rules.members.api_key_secret = "TWILIO_API_SECRET".into();
        }
    });
    if removed {
        policy.sinks.retain(|name, _| kept.contains(&name.as_str()));
    }
    policy
}

impl Life {
    fn new(seed: u64) -> Self {
        let world = World::new();
        world.truth(|truth| truth.foreign_key(None));
        let mut dice = Dice::new(seed);
        let daemon = Daemon::new(&world, policy());
        // Half of the daemons have a journal of their own; the others share one, some with themselves alone.
        let daemon = if dice.one_in(2) { daemon } else { daemon.replicated(1 + dice.roll(3) as usize) };
        Self { dice, world, daemon, told: Default::default(), seen: vec![], hidden: vec![], lied: false }
    }

    fn tell(&self, what: impl std::fmt::Display) {
        let now = self.world.truth(|truth| truth.now()).as_secs();
        let (days, hours, minutes) = (now / 86_400, now / 3600 % 24, now / 60 % 60);
        writeln!(self.told.borrow_mut(), "day {days} {hours:02}:{minutes:02}:{:02} {what}", now % 60).unwrap();
    }

    /// Odd things happen while the daemon lives.
    async fn odd_things(&mut self) {
        for _ in 0..=self.dice.roll(6) {
            let pause = self.dice.pause();
            tokio::time::sleep(pause).await;
            if self.dice.one_in(6) {
                let phase = self.dice.pick(&Phase::ALL);
                for _ in 0..2000 {
                    if self.daemon.state("billing").phase() == Some(phase) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            self.odd_thing().await;
        }
    }

    async fn odd_thing(&mut self) {
        let sink = self.dice.pick(&["one", "two"]);
        match self.dice.roll(14) {
            0..=2 => self.ask(Ask::Rotate),
            3 => self.ask(resume()),
            4 => self.ask(overwrite()),
            5 => self.forget(sink),
            6 => self.write(sink),
            7 => {
                let keys = self.world.truth(|truth| truth.ours());
                if !keys.is_empty() && self.dice.one_in(2) {
                    let key = self.dice.pick(&keys);
                    self.tell(format!("a person deletes {key}"));
                    self.world.truth(|truth| truth.human_deletes(&key));
                }
            }
            8 => {
                let keys = self.world.truth(|truth| truth.ours());
                if !keys.is_empty() && self.dice.one_in(2) {
                    let key = self.dice.pick(&keys);
                    self.tell(format!("Twilio hides {key}"));
                    lie(&self.world, &key, true);
                    self.hidden.push(key);
                    self.lied = true;
                } else {
                    self.reveal();
                }
            }
            9 => {
                let (call, fate) = (self.dice.pick(&CALLS), self.dice.pick(&Fate::ALL));
                self.tell(format!("every {call}: {fate:?}"));
                self.world.doom_all(call, Some(fate));
                let pause = self.dice.pause().min(20 * MINUTE);
                tokio::time::sleep(pause).await;
                self.tell(format!("every {call} as usual"));
                self.world.doom_all(call, None);
            }
            10 | 11 => {
                for _ in 0..=self.dice.roll(3) {
                    let (ahead, fate) = (self.dice.roll(25) as usize, self.dice.pick(&Fate::ALL));
                    self.tell(format!("in {ahead} calls: {fate:?}"));
                    self.world.doom(self.world.calls() + ahead, fate);
                }
            }
            12 => {
                let down = self.dice.one_in(2);
                self.tell(format!("{sink} is {}", if down { "down" } else { "up" }));
                self.world.down(sink, down);
            }
            _ => {
                let (what, by) = (self.dice.roll(4), self.dice.pick(&[-100_000, -400, 0, 0, 200, 400, 100_000]));
                self.tell(format!("setting {what} to {by}"));
                self.world.truth(|truth| match what {
                    0 => truth.wall_ahead = by,
                    1 => truth.twilio_ahead = by.clamp(-400, 400),
                    2 => truth.main_key_refused = by > 0,
                    _ => truth.acceptance = Duration::from_secs(by.unsigned_abs() / 10),
                });
            }
        }
    }

    fn ask(&self, ask: Ask) {
        self.tell(format!("asked: {ask:?}"));
        self.daemon.ask("billing", ask);
    }

    /// An operator has something forgotten that nobody reads any more.
    fn forget(&self, sink: &str) {
        if !self.daemon.policy.credentials.values().any(|rules| rules.places.contains(&place(sink))) {
            self.world.truth(|truth| truth.human_writes(&place(sink), None));
            self.ask(forget(sink));
        }
    }

    /// A person writes something into a sink.
    fn write(&mut self, sink: &str) {
        let place = place(sink);
        let there = self.world.truth(|truth| truth.places.get(&place).and_then(|slot| slot.value.clone()));
        self.seen.extend(there.clone().map(|value| (place.clone(), value)));
        let older: Vec<_> = self.seen.iter().filter(|(at, _)| at == &place).map(|(_, value)| value.clone()).collect();
        let (what, value) = match self.dice.roll(8) {
            0 => ("nothing", None),
            1 => ("something else", object(json!({"user": "x"}))),
            2 => ("another key", object(json!({"apiKeySid": format!("SK{}", "b".repeat(32)), "apiKeySecret": "x"}))),
            3 => ("the same", there),
            4 => ("a wrong secret", there.map(|value| with_secret(value, Some("wrong")))),
            5 => ("no secret", there.map(|value| with_secret(value, None))),
            _ if older.is_empty() => return,
            _ => ("what was there once", Some(self.dice.pick(&older))),
        };
        self.tell(format!("a person writes to {sink}: {what}"));
        self.world.truth(|truth| truth.human_writes(&place, value));
    }

    fn reveal(&mut self) {
        for key in std::mem::take(&mut self.hidden) {
            self.tell(format!("Twilio shows {key} again"));
            lie(&self.world, &key, false);
        }
    }

    async fn play(&mut self) {
        self.daemon.live(2 * HOUR).await;
        for _ in 0..3 + self.dice.roll(12) {
            let time = self.dice.pick(&[MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 2 * HOUR, 20 * HOUR]);
            // The daemon of this stretch of time, so that people can act beside it.
            let daemon = Daemon {
                world: self.world.clone(),
                policy: self.daemon.policy.clone(),
                events: self.daemon.events.clone(),
                disk: self.daemon.disk.clone(),
                shown: self.daemon.shown.clone(),
                replicas: self.daemon.replicas,
                shared: self.daemon.shared,
            };
            let living = daemon.live(time);
            tokio::pin!(living);
            let odd = async {
                self.odd_things().await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
            biased;
                            _ = &mut living => {}
                            () = odd => {}
                        }
            self.world.doom_all_none();
            if self.dice.one_in(3) {
                let policy = any_policy(&mut self.dice);
                let rules = policy.credentials.values().next().unwrap();
                let places: Vec<_> = rules.places.iter().map(|place| place.sink.as_str()).collect();
                let sinks: Vec<_> = policy.sinks.keys().map(SinkName::as_str).collect();
                self.tell(format!("policy: places {places:?} sinks {sinks:?} sid {}", rules.members.api_key_sid));
                self.daemon.policy = Arc::new(policy);
            }
        }
    }

    /// Calm: from here on nothing goes wrong, and the operator does what the hints say.
    async fn rest(&mut self) -> Result<(), String> {
        self.tell("calm");
        self.reveal();
        self.world.calm();
        self.daemon.policy = Arc::new(policy());
        let mut asked = 0;
        // Long enough for a look at the sinks, which comes every six hours.
        for _ in 0..20 {
            let calls = self.world.calls();
            self.daemon.live(7 * HOUR).await;
            let calls = self.world.calls() - calls;
            if calls > 7 * 100 {
                return Err(format!("L5: {calls} calls in seven hours: {}", self.daemon.waiting("billing")));
            }
            let state = self.daemon.state("billing");
            if let Some(halted) = state.halted {
                if halted.halt == Halt::Guard {
                    return Err(format!("guard: {}", halted.detail));
                }
                asked += 1;
                if asked > 8 {
                    return Err(format!("L6: halted again and again: {:?} {}", halted.halt, halted.detail));
                }
                // Every hint is followed; where it names two ways, now the one and now the other.
                let over =
                    matches!(halted.halt, Halt::Drift | Halt::PlaceGone | Halt::ForeignContent | Halt::JournalStale);
                let over = over || (halted.halt == Halt::PairRefused);
                self.tell(format!("halted: {:?} {}", halted.halt, halted.detail));
                self.ask(if over { overwrite() } else { resume() });
            } else if state.rotation.is_none()
                && state.strays.is_empty()
                && self.daemon.waiting("billing").starts_with("next")
            {
                return Ok(());
            }
        }
        Err(format!("L1: not at rest: {}", self.daemon.waiting("billing")))
    }

    fn verdict(&self) -> Result<(), String> {
        let broken = self.world.truth(|truth| truth.broken.clone());
        // Nobody can count keys that Twilio hides.
        let broken: Vec<_> = broken.into_iter().filter(|what| !what.starts_with("S5")).collect();
        if let Some(first) = broken.first() {
            return Err(first.clone());
        }
        let state = self.daemon.state("billing");
        let current = state.current.map(|current| current.sid);
        for sink in ["one", "two"] {
            if serves(&self.world, sink) != current {
                return Err(format!("L1: {sink} serves {:?}, not {current:?}", serves(&self.world, sink)));
            }
        }
        // What can not be told to be ours is reported, and left to people.
        let ours = self.world.truth(|truth| truth.tellable());
        let left = ours.iter().filter(|sid| Some(*sid) != current.as_ref() && !state.leftovers.contains(sid)).count();
        let lives = self.world.truth(|truth| current.is_some_and(|sid| truth.ours().contains(&sid)));
        if left > 0 || !lives {
            return Err(format!("L1: alive are {ours:?}, {} left over", state.leftovers.len()));
        }
        Ok(())
    }
}

fn with_secret(mut value: Map<String, Value>, secret: Option<&str>) -> Map<String, Value> {
    for member in ["apiKeySecret", "TWILIO_API_SECRET"] {
        if value.remove(member).is_some() {
            secret.map(|secret| value.insert(member.into(), secret.into()));
        }
    }
    value
}

/// Plays one life; whether all was well, and the story.
pub(crate) fn tell(seed: u64) -> (Result<(), String>, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut life = Life::new(seed);
        life.play().await;
        let rested = life.rest().await;
        let broken = life.world.truth(|truth| truth.broken.clone());
        let verdict = if broken.iter().all(|what| what.starts_with("S5")) {
            rested.and_then(|()| life.verdict())
        } else {
            life.verdict()
        };
        let state = life.daemon.state("billing");
        (verdict, format!("{}\n{}\n{state:#?}", life.told.borrow(), life.daemon.story()))
    })
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let told = |seed| tell(seed).1;
    for seed in [3, 17] {
        let story = told(seed);
        assert!(story.len() > 1000 && story == told(seed), "life {seed} went otherwise the second time");
    }
    assert_ne!(told(3), told(17));
}

#[test]
fn whatever_happens_a_credential_comes_to_rest_and_no_key_dies_in_use() {
    let asked = std::env::var("CHANCE").unwrap_or_else(|_| "0..300".into());
    let seeds = match asked.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => asked.parse().unwrap()..asked.parse::<u64>().unwrap() + 1,
    };
    let alone = seeds.end - seeds.start == 1;
    let failed = std::sync::Mutex::new(Vec::new());
    let lives = on_all_cores(seeds, |seed| {
        if let (Err(what), story) = tell(*seed) {
            println!("life {seed}: {what}\n{}", if alone { &story } else { "" });
            failed.lock().unwrap().push(*seed);
        }
    });
    counted("lives by chance", lives);
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} lives failed: {failed:?}", failed.len());
}

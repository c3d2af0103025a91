//! The fake world: Twilio, sinks and a journal in memory, under a clock that jumps from timer to timer.
//!
//! Every call of the daemon passes through [`World::effect`], which numbers it and may refuse it, lose its answer, or
//! crash the daemon before or after it took effect. The invariants of the protocol are checked while effects are applied,
//! on the world's own record of what is true.

mod cluster;
mod daemon;
mod doors;
mod ghost;
mod memory;
mod tokens;

pub use cluster::deployment;
pub use daemon::{Daemon, policy, policy_with};
pub use ghost::Truth;
pub use memory::MemoryJournal;
pub use tokens::Shows;

use crate::support::dice::Dice;
use memory::Disk;
use rekeyd::model::fault::{Failure, Fault, Outcome};
use rekeyd::model::policy::Policy;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens to one numbered call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// The daemon dies before the call leaves.
    CrashBefore,
    /// The daemon dies after the call took effect.
    CrashAfter,
    /// Refused for certain (429).
    Refuse,
    /// Never arrives; the daemon cannot know.
    Lose,
    /// Takes effect; the answer is lost.
    LoseAnswer,
    /// Takes effect three seconds after the daemon has given up on it.
    Late,
    /// Takes effect ten minutes after the daemon has given up on it.
    VeryLate,
    /// Is delivered twice.
    Twice,
    /// Takes effect, and is answered, after twenty seconds.
    Slow,
    /// The process is stopped for two minutes, just before the call leaves: longer than any claim lasts.
    Stop,
    /// Takes effect; the other side says that it has failed (5xx).
    Broken,
    /// Takes effect; the answer can not be understood.
    Garble,
    /// Refused for certain: not allowed (403).
    Forbid,
    /// Refused for certain: no more keys (error 70151).
    Quota,
}

impl Fate {
    /// Those that anybody's network may have, and that nobody need be told of.
    pub const ALL: [Fate; 10] = [
        Fate::CrashBefore,
        Fate::CrashAfter,
        Fate::Refuse,
        Fate::Lose,
        Fate::LoseAnswer,
        Fate::Late,
        Fate::VeryLate,
        Fate::Twice,
        Fate::Slow,
        Fate::Stop,
    ];
}

/// The world that outlives the daemon.
#[derive(Clone)]
pub struct World(Arc<Shared>);

struct Shared {
    truth: Mutex<Truth>,
    control: Mutex<Control>,
    crashed: tokio::sync::Notify,
}

#[derive(Default)]
struct Control {
    born: u64,
    dead: BTreeSet<u64>,
    frozen: BTreeMap<u64, tokio::time::Instant>,
    cut_off: BTreeSet<u64>,
    calls: usize,
    log: Vec<String>,
    fates: BTreeMap<usize, Fate>,
    by_name: BTreeMap<&'static str, Fate>,
    down: BTreeSet<String>,
    slow: BTreeMap<&'static str, Duration>,
    chaos: Option<Chaos>,
    ambush: Option<(char, &'static [&'static str], Strike)>,
    ambushed: Option<tokio::time::Instant>,
    orphan: bool,
    queue: VecDeque<(String, usize, Fate)>,
    backup: Option<(Arc<Mutex<Disk>>, Disk)>,
    policy: Option<Policy>,
}

impl Control {
    /// Whether it is the turn of this call.
    fn queued(&mut self, call: &str) -> Option<Fate> {
        let (name, left, fate) = self.queue.front_mut()?;
        if name != call {
            return None;
        }
        *left -= 1;
        let fate = *fate;
        (*left == 0).then(|| {
            self.queue.pop_front();
            fate
        })
    }
}

/// What an ambush does, and to the call that ran into it.
pub type Strike = Arc<dyn Fn(&World, u64) -> Option<Fate> + Send + Sync>;

/// Faults by chance.
struct Chaos {
    dice: Dice,
    one_in: u64,
    left: u32,
}

impl Chaos {
    /// What happens to the next call, if something does.
    fn next(&mut self) -> Option<Fate> {
        let hit = self.left > 0 && self.dice.one_in(self.one_in);
        hit.then(|| {
            self.left -= 1;
            self.dice.pick(&Fate::ALL)
        })
    }
}

impl World {
    /// A world with an empty account.
    pub fn new() -> Self {
        let shared = Shared { truth: Mutex::default(), control: Mutex::default(), crashed: tokio::sync::Notify::new() };
        Self(Arc::new(shared))
    }

    /// What is true, for tests to read and for people in them to change.
    pub fn truth<T>(&self, look: impl FnOnce(&mut Truth) -> T) -> T {
        look(&mut self.0.truth.lock().unwrap())
    }

    fn control<T>(&self, look: impl FnOnce(&mut Control) -> T) -> T {
        look(&mut self.0.control.lock().unwrap())
    }

    /// Decides the fate of the call with this number, counted from 0 over the life of the world.
    pub fn doom(&self, call: usize, fate: Fate) {
        self.control(|c| c.fates.insert(call, fate));
    }

    /// Decides the fate of every call of this name, until it is taken back.
    pub fn doom_all(&self, name: &'static str, fate: Option<Fate>) {
        self.control(|c| match fate {
            Some(fate) => c.by_name.insert(name, fate),
            None => c.by_name.remove(name),
        });
    }

    /// Every call goes as usual again, but for those that were doomed by their number.
    pub fn doom_all_none(&self) {
        self.control(|c| c.by_name.clear());
    }

    /// From now on nothing goes wrong any more.
    pub fn calm(&self) {
        self.control(|c| {
            c.fates.clear();
            c.by_name.clear();
            c.down.clear();
            c.slow.clear();
            c.frozen.clear();
            c.cut_off.clear();
            c.chaos = None;
            c.queue.clear();
        });
        self.truth(|truth| {
            (truth.main_key_refused, truth.acceptance) = (false, Duration::ZERO);
            (truth.twilio_ahead, truth.wall_ahead, truth.wall_frozen, truth.wall_hurries) = (0, 0, None, false);
            truth.haste = 1;
            truth.unlisted.clear();
            (truth.one_edge_refuses, truth.list_hides, truth.stale_reads, truth.all_vanish) =
                (false, false, false, false);
            truth.standing = None;
        });
    }

    /// One in so many calls meets a fault, up to this number of faults.
    pub fn chaos(&self, seed: u64, one_in: u64, faults: u32) {
        self.control(|c| c.chaos = Some(Chaos { dice: Dice::new(seed), one_in, left: faults }));
    }

    /// How many of the faults by chance have not happened yet.
    pub fn faults_left(&self) -> u32 {
        self.control(|c| c.chaos.as_ref().map_or(0, |chaos| chaos.left))
    }

    /// One after the other: at the call of this name, when it comes for the so-manieth time from now on.
    pub fn doom_in_turn(&self, fates: impl IntoIterator<Item = (String, usize, Fate)>) {
        self.control(|c| c.queue.extend(fates));
    }

    /// At the first of these calls (of any, if there is none) in this step of a rotation something happens.
    pub fn ambush(&self, step: char, calls: &'static [&'static str], strike: Strike) {
        self.control(|c| c.ambush = Some((step, calls, strike)));
    }

    /// How long ago somebody ran into the ambush.
    pub fn ambushed(&self) -> Option<Duration> {
        self.control(|c| c.ambushed.map(|at| at.elapsed()))
    }

    /// Whether this call runs into the ambush, and what becomes of it.
    fn struck(&self, generation: u64, name: &'static str) -> Option<Fate> {
        self.control(|c| c.ambush.as_ref().map(drop))?;
        let step = self.truth(Truth::step);
        let here = |(at, calls, _): &mut (char, &'static [&'static str], Strike)| {
            *at == step && (calls.is_empty() || calls.contains(&name))
        };
        let (_, _, strike) = self.control(|c| c.ambush.take_if(here))?;
        self.control(|c| c.ambushed = Some(tokio::time::Instant::now()));
        strike(self, generation)
    }

    /// The daemon dies before its next publication, and leaves a key behind.
    pub fn orphan_the_next(&self) {
        self.control(|c| c.orphan = true);
    }

    /// This is the backup of the journal that `restore` puts back.
    pub fn remember(&self, disk: &Arc<Mutex<Disk>>) {
        let backup = disk.lock().unwrap().clone();
        self.control(|c| c.backup = Some((disk.clone(), backup)));
    }

    /// Somebody puts the backup of the journal in place of it.
    pub fn restore(&self) {
        if let Some((disk, backup)) = self.control(|c| c.backup.clone()) {
            self.truth(|truth| truth.forgotten = truth.ours().into_iter().filter(|sid| !backup.knows(sid)).collect());
            *disk.lock().unwrap() = backup;
        }
    }

    /// The policy is another one from the next start on.
    pub fn change_policy(&self, policy: Policy) {
        self.control(|c| c.policy = Some(policy));
    }

    /// The new policy, if there is one that was not told yet.
    pub fn new_policy(&self) -> Option<Policy> {
        self.control(|c| c.policy.take())
    }

    /// Takes a peer down: calls to it cannot even connect.
    pub fn down(&self, peer: &str, down: bool) {
        self.control(|c| if down { c.down.insert(peer.to_owned()) } else { c.down.remove(peer) });
    }

    /// Every call of this name takes so long.
    pub fn slow(&self, name: &'static str, time: Duration) {
        self.control(|c| c.slow.insert(name, time));
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.control(|c| c.calls)
    }

    /// The names of all calls, in order.
    pub fn log(&self) -> Vec<String> {
        self.control(|c| c.log.clone())
    }

    /// A daemon comes to life; this is its number.
    fn birth(&self) -> u64 {
        self.control(|c| {
            c.born += 1;
            c.born
        })
    }

    /// This daemon is gone: whatever it still does changes nothing.
    fn bury(&self, generation: u64) {
        self.control(|c| c.dead.insert(generation));
        self.0.crashed.notify_waiters();
    }

    /// Ends when this daemon has crashed.
    async fn crash(&self, generation: u64) {
        loop {
            let crashed = self.0.crashed.notified();
            if self.control(|c| c.dead.contains(&generation)) {
                return;
            }
            crashed.await;
        }
    }

    /// The daemons that live.
    pub fn living(&self) -> Vec<u64> {
        self.control(|c| (1..=c.born).filter(|generation| !c.dead.contains(generation)).collect())
    }

    /// This daemon is killed.
    pub fn kill(&self, generation: u64) {
        self.bury(generation);
    }

    /// This daemon is stopped for a while, between any two of its effects, as by SIGSTOP.
    pub fn freeze(&self, generation: u64, time: Duration) {
        self.control(|c| c.frozen.insert(generation, tokio::time::Instant::now() + time));
    }

    /// This daemon can not reach the journal.
    pub fn cut_off(&self, generation: u64, cut: bool) {
        self.control(|c| if cut { c.cut_off.insert(generation) } else { c.cut_off.remove(&generation) });
    }

    fn is_cut_off(&self, generation: u64) -> bool {
        self.control(|c| c.cut_off.contains(&generation))
    }

    /// The one way in which a daemon touches the world.
    async fn effect<T: Send + 'static>(
        &self,
        generation: u64,
        peer: &str,
        name: &'static str,
        apply: impl Fn(&mut Truth) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        self.alive(generation).await;
        let slow = self.control(|c| c.slow.get(name).copied()).unwrap_or(Duration::from_millis(5));
        tokio::time::sleep(slow).await;
        self.alive(generation).await;
        let struck = self.struck(generation, name);
        let (fate, down) = self.control(|c| {
            let fate = c.fates.remove(&c.calls).or_else(|| c.by_name.get(name).copied());
            let fate = struck.or(fate).or_else(|| c.chaos.as_mut().and_then(Chaos::next));
            let fate = fate.or_else(|| c.queued(&format!("{peer} {name}")));
            if c.orphan && name == "publish" {
                c.orphan = false;
                return (Some(Fate::CrashBefore), false);
            }
            c.calls += 1;
            c.log.push(format!("{peer} {name}"));
            (fate, c.down.contains(peer))
        });
        if down {
            return Outcome::NotDone(Failure::new(Fault::Unreachable, "down"));
        }
        let unknown = || Outcome::Unknown(Failure::new(Fault::Timeout, "no answer"));
        match fate {
            None => self.truth(apply),
            // What a database is asked twice in a row it answers as if it had been asked once.
            Some(Fate::Twice) if peer == "journal" => self.truth(apply),
            Some(Fate::Twice) => {
                self.truth(&apply);
                self.truth(apply)
            }
            Some(Fate::Slow) => {
                tokio::time::sleep(Duration::from_secs(20)).await;
                self.truth(apply)
            }
            Some(Fate::Stop) => {
                self.freeze(generation, Duration::from_secs(120));
                self.alive(generation).await;
                self.truth(apply)
            }
            Some(Fate::Refuse) => Outcome::NotDone(Failure::new(Fault::Throttled, "too many requests")),
            Some(Fate::Forbid) => Outcome::NotDone(Failure::new(Fault::Forbidden, "permission denied")),
            Some(Fate::Quota) => Outcome::NotDone(Failure::new(Fault::Quota, "70151: no more keys")),
            Some(Fate::Broken) => {
                self.truth(apply);
                Outcome::Unknown(Failure::new(Fault::Server, "500: internal error"))
            }
            Some(Fate::Garble) => {
                self.truth(apply);
                Outcome::Unknown(Failure::new(Fault::Malformed, "not JSON"))
            }
            Some(Fate::Lose) => unknown(),
            Some(Fate::LoseAnswer) => {
                self.truth(apply);
                unknown()
            }
            Some(Fate::Late | Fate::VeryLate) => {
                let world = self.clone();
                let delay = Duration::from_secs(if fate == Some(Fate::Late) { 3 } else { 600 });
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    world.truth(apply);
                });
                unknown()
            }
            Some(Fate::CrashBefore) => self.die(generation).await,
            Some(Fate::CrashAfter) => {
                self.truth(apply);
                self.die(generation).await
            }
        }
    }

    async fn die<T>(&self, generation: u64) -> T {
        self.bury(generation);
        std::future::pending().await
    }

    /// A dead daemon's tasks stand still for ever, a stopped one's until it goes on.
    async fn alive(&self, generation: u64) {
        while let Some(until) = self.control(|c| c.frozen.get(&generation).copied()) {
            if until <= tokio::time::Instant::now() {
                self.control(|c| c.frozen.remove(&generation));
            } else {
                tokio::time::sleep_until(until).await;
            }
        }
        if self.control(|c| c.dead.contains(&generation)) {
            std::future::pending::<()>().await;
        }
    }
}

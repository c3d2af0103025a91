//! The shell: wakes, looks, asks `decide` what to do, does it, and writes down what happened. It knows no vendor.
//!
//! `perform` is the only function that changes the world, `Journal::append` the only one that changes a state, and
//! `advance` the only one that calls both.

mod account;
mod advance;
mod fleets;
mod gather;
mod main_keys;
mod pace;
mod pass;
mod perform;
pub mod subaccount;
mod sweep;
mod tokens;
mod watch;
mod weather;

use crate::model::fault::{Fault, Outcome};
use crate::model::key::KeySid;
use crate::model::names::{CredentialName, SinkName};
use crate::model::policy::{Policy, Rules};
use crate::model::time::{Moment, Uptime, later};
use crate::ports::{Call, Clock, Issuer, Journal, JournalError, Observer, Sink, Workloads};
use account::{Account, Accounts};
use fleets::Fleets;
use main_keys::MainKeys;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The doors to the world.
#[derive(Clone)]
pub struct Ports {
    /// Twilio.
    pub issuer: Arc<dyn Issuer>,
    /// The sinks by name.
    pub sinks: BTreeMap<SinkName, Arc<dyn Sink>>,
    /// The clusters by the name of their sink.
    pub clusters: BTreeMap<SinkName, Arc<dyn Workloads>>,
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// Time and chance.
    pub clock: Arc<dyn Clock>,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
}

/// Of the accounts of a policy, in each region, so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// There are so many.
    pub accounts: usize,
    /// The keys of so many were asked for at least once, whatever came of it.
    pub tried: usize,
    /// The keys of so many are known.
    pub listed: usize,
}

/// The running daemon's heart.
pub struct Engine {
    policy: Arc<Policy>,
    ports: Ports,
    roots: BTreeSet<KeySid>,
    main_keys: MainKeys,
    sinks: BTreeSet<SinkName>,
    accounts: Accounts,
    fleets: Fleets,
    sink_calls: BTreeMap<SinkName, Semaphore>,
    sweeps: Semaphore,
    swept: Notify,
    busy: Mutex<BTreeSet<CredentialName>>,
    stop: CancellationToken,
    tasks: TaskTracker,
    nudge: Notify,
    full: AtomicBool,
    beat: AtomicU64,
    begun: AtomicBool,
    draining: AtomicBool,
}

/// How many credentials are worked on at the same time; each holds at most one new secret in memory.
const AT_ONCE: usize = 256;
/// How many accounts are swept at the same time: a fleet has a thousand, and all are due at the start.
const SWEEPS: usize = 32;
/// How many places have to be free before a full house is filled again: finding what is due costs the same for one as for
/// many.
const REFILL: usize = 32;
/// The shortest time between two passes that nothing else asked for.
const LEAST: Duration = Duration::from_secs(1);

impl Engine {
    /// Puts the parts together; nothing is called before [`Engine::run`].
    pub fn new(policy: Arc<Policy>, ports: Ports, stop: CancellationToken) -> Arc<Self> {
        let sink_calls = ports.sinks.keys().map(|name| (name.clone(), Semaphore::new(policy.limits.sink_calls)));
        Arc::new(Self {
            roots: ports.issuer.roots().into_keys().collect(),
            main_keys: MainKeys::new(ports.issuer.main_keys()),
            sinks: ports.sinks.keys().cloned().collect(),
            accounts: Accounts::new(&policy),
            fleets: Fleets::new(&policy),
            sink_calls: sink_calls.collect(),
            sweeps: Semaphore::new(SWEEPS),
            swept: Notify::new(),
            busy: Mutex::default(),
            tasks: TaskTracker::new(),
            nudge: Notify::new(),
            full: AtomicBool::new(false),
            beat: AtomicU64::new(0),
            begun: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            policy,
            ports,
            stop,
        })
    }

    /// Makes the next pass come at once: a tick, or an operator's request.
    pub fn wake(&self) {
        self.nudge.notify_one();
    }

    /// When the last pass began, in running time of this process: what `/livez` asks.
    pub fn beat(&self) -> Duration {
        Duration::from_millis(self.beat.load(Ordering::Relaxed))
    }

    /// Whether a first pass was begun: what `/readyz` asks first.
    pub fn at_work(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// How far it has come with the accounts of the policy.
    pub fn reach(&self) -> Reach {
        let count = |which: fn(&Account) -> bool| self.accounts.iter().filter(|account| which(account)).count();
        Reach { accounts: count(|_| true), tried: count(Account::tried), listed: count(Account::listed) }
    }

    /// Takes nothing up any more, and waits until what is in hand has come to a rest, for so long at most: a new key whose
    /// secret is in memory only is then in a sink, or given up.
    pub async fn drain(&self, patience: Duration) {
        const GLANCE: Duration = Duration::from_millis(100);
        self.draining.store(true, Ordering::Relaxed);
        let end = self.ports.clock.running() + patience;
        while !self.busy().is_empty() && self.ports.clock.running() < end {
            self.ports.clock.sleep(GLANCE).await;
        }
    }

    /// Works until told to stop, then lets the calls in hand end.
    ///
    /// Ticks come from outside. Should they stay away, the engine goes on by itself: a lost tick costs nothing but time.
    pub async fn run(self: &Arc<Self>) -> Result<(), JournalError> {
        self.enrol().await?;
        self.show_main_keys();
        let watching = self.clone();
        self.tasks.spawn(async move { watching.watch().await });
        let fallback = self.policy.timing.tick * 3;
        let mut memory = pass::Memory::default();
        while !self.stop.is_cancelled() {
            let again = self.pass(&mut memory).await;
            tokio::select! {
                biased;
                () = self.nudge.notified() => {}
                () = self.ports.clock.sleep(again.map_or(fallback, |again| again.clamp(LEAST, fallback))) => {}
                () = self.stop.cancelled() => {}
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
        let checkpoint = self.ports.journal.checkpoint(self.ports.clock.running()).await;
        checkpoint.inspect_err(|error| tracing::warn!(%error, "the running time could not be noted"))
    }

    /// All clocks, now.
    fn now(&self) -> Moment {
        let running = self.ports.clock.running();
        // Carried forward by the monotonic clock; every sweep brings it anew.
        let twilio = self.ports.issuer.date().map(|(date, at)| later(date, running.saturating_sub(at)));
        Moment { wall: self.ports.clock.wall(), uptime: self.ports.journal.uptime(running), twilio }
    }

    /// What the age of a look is measured by.
    fn local(&self) -> Uptime {
        Uptime(0).plus(self.ports.clock.running())
    }

    fn rules(&self, name: &CredentialName) -> Option<&Rules> {
        self.policy.credentials.get(name)
    }

    /// Makes a call to Twilio: in its turn, timed, and with what its end says about the account.
    async fn twilio<T>(
        &self,
        account: &Account,
        operation: &'static str,
        call: impl Future<Output = Outcome<T>>,
    ) -> Outcome<T> {
        let _turn = account.pace.turn().await;
        self.twilio_in_turn(account, operation, call).await
    }

    /// The same for a caller whose turn it is.
    async fn twilio_in_turn<T>(
        &self,
        account: &Account,
        operation: &'static str,
        call: impl Future<Output = Outcome<T>>,
    ) -> Outcome<T> {
        let start = self.ports.clock.running();
        let outcome = call.await;
        account.pace.ended(outcome.fault() == Some(Fault::Throttled), self.ports.clock.running());
        self.called("twilio", operation, &outcome, start);
        outcome
    }

    /// Makes a call to a sink: in its turn, and timed.
    async fn sink<T>(
        &self,
        name: &SinkName,
        operation: &'static str,
        call: impl Future<Output = Outcome<T>>,
    ) -> Outcome<T> {
        let _turn = self.sink_turn(name).await;
        self.sink_in_turn(name, operation, call).await
    }

    /// Waits until this sink may be called.
    async fn sink_turn(&self, name: &SinkName) -> Option<SemaphorePermit<'_>> {
        match self.sink_calls.get(name) {
            Some(calls) => calls.acquire().await.ok(),
            None => None,
        }
    }

    /// The same for a caller whose turn it is.
    async fn sink_in_turn<T>(
        &self,
        name: &SinkName,
        operation: &'static str,
        call: impl Future<Output = Outcome<T>>,
    ) -> Outcome<T> {
        let start = self.ports.clock.running();
        let outcome = call.await;
        self.called(name.as_str(), operation, &outcome, start);
        outcome
    }

    fn called<T>(&self, peer: &str, operation: &'static str, outcome: &Outcome<T>, start: Duration) {
        let took = self.ports.clock.running().saturating_sub(start);
        self.ports.observer.called(Call { peer, operation, outcome: outcome.word(), took });
    }

    /// Takes a credential for one task of this process; false if another task has it.
    fn take(&self, name: &CredentialName) -> bool {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone())
    }

    fn give_back(&self, name: &CredentialName) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.fill_up();
    }

    /// More may be due than there was room for.
    fn fill_up(&self) {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner).len();
        if busy + REFILL <= AT_ONCE && self.full.swap(false, Ordering::Relaxed) {
            self.wake();
        }
    }

    fn busy(&self) -> BTreeSet<CredentialName> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

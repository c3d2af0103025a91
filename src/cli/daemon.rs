//! A daemon put together: what `run` and `demo` start.

use super::assemble::{Doors, Purpose, doors, journal};
use super::probe::Probes;
use super::{CliError, Kind};
use crate::adapters::clock::SystemClock;
use crate::adapters::journal::{Access, AnyJournal, SqliteJournal};
use crate::adapters::listener::{Files, ListenerError};
use crate::adapters::ticks;
use crate::engine::{Engine, Ports, Reach};
use crate::http::{Health, serve};
use crate::metrics::Metrics;
use crate::model::policy::{Policy, StateUrl};
use crate::ports::{Clock, Journal, Observer};
use crate::telemetry::{Everyone, lost_lines};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running daemon.
pub(super) struct Daemon {
    pub(super) address: SocketAddr,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) journal: Arc<dyn Journal>,
    opened: AnyJournal,
    stop: CancellationToken,
    worker: Arc<Engine>,
    view: View,
    engine: JoinHandle<Result<(), crate::ports::JournalError>>,
    listener: JoinHandle<()>,
    ticks: ticks::Ticks,
}

/// How long calls in hand may take to end after the daemon was told to stop; together under ten seconds.
const PATIENCE: Duration = Duration::from_secs(8);
/// The same where the process goes on: longer than any call may take, because nothing may be left that works.
const LONGER: Duration = Duration::from_secs(60);

impl Daemon {
    /// Opens the journal, then the listener, then starts to work. `watcher` sees every event beside the metrics.
    pub(super) async fn start(policy: Arc<Policy>, watcher: Arc<dyn Observer>) -> Result<Self, CliError> {
        let failed =
            |what: &str, error: &dyn std::fmt::Display| CliError::new(Kind::Failed, format!("{what}: {error}"));
        let Doors { issuer, sinks, clusters, clock } = doors(&policy, Purpose::Work).await?;
        let opened = journal(&policy, Access::Daemon, clock.clone()).await?;
        let journal = opened.port();
        #[cfg(debug_assertions)]
        let journal = super::ordeal::journal(journal);
        let metrics = Arc::new(
            Metrics::new(policy.clone(), clock.clone(), lost_lines).map_err(|error| failed("metrics", &error))?,
        );
        let listener = TcpListener::bind(policy.listen.address).await;
        let cannot = format!("cannot listen on {}", policy.listen.address);
        let listener = listener.map_err(|error| failed(&cannot, &error))?;
        let address = listener.local_addr().map_err(|error| failed("listen", &error))?;

        let stop = CancellationToken::new();
        let observer: Arc<dyn Observer> = Arc::new(Everyone(vec![metrics.clone(), watcher]));
        let probes = Probes::begin(&policy, &sinks, &clusters, observer.clone(), stop.clone());
        let ports = Ports { issuer, sinks, clusters, journal: journal.clone(), clock: clock.clone(), observer };
        let engine = Engine::new(policy.clone(), ports, stop.clone());
        let view = View { engine: Arc::downgrade(&engine), probes, metrics: metrics.clone() };
        let health = health(&policy, &view, clock.clone()).map_err(|error| failed(&cannot, &error))?;
        let listener = tokio::spawn(serve(listener, health, stop.clone()));
        // What only looks on does not keep the engine, and with it the journal, alive.
        let woken = view.clone();
        let ticks = ticks::every(policy.timing.tick, move || woken.wake()).await;
        let ticks = ticks.map_err(|error| failed("ticks", &error))?;
        let worker = engine.clone();
        let engine = tokio::spawn(async move { engine.run().await });
        Ok(Self { address, metrics, clock, journal, opened, stop, worker, view, engine, listener, ticks })
    }

    /// What can be seen of it from beside it.
    pub(super) fn view(&self) -> View {
        self.view.clone()
    }

    /// Ends when the engine ends by itself, which only a journal that can not be used makes it do.
    pub(super) async fn failed(&mut self) -> CliError {
        match (&mut self.engine).await {
            Ok(Ok(())) => CliError::new(Kind::Failed, "the engine stopped"),
            Ok(Err(error)) => CliError::journal(error),
            // Not with the text of the panic, which may quote what it failed on; where it was is in the log.
            Err(_) => CliError::new(Kind::Failed, "the engine stopped by a defect"),
        }
    }

    /// Waits until nothing is in hand whose end would cost a key. A secret is held for ten minutes at most.
    pub(super) fn drain(&self) -> impl Future<Output = ()> + use<> {
        let worker = self.worker.clone();
        async move { worker.drain(Duration::from_secs(11 * 60)).await }
    }

    /// Lets the calls in hand end, for a while; what does not end is recovered at the next start.
    pub(super) async fn stop(self) {
        let _ = self.ended(PATIENCE).await;
    }

    /// The same where another daemon follows in this process, which must not begin while anything of this one works.
    pub(super) async fn stop_wholly(self) -> Result<(), CliError> {
        let late = |()| CliError::new(Kind::Failed, "a call has not ended in a minute: the process is given up");
        self.ended(LONGER).await.map_err(late)
    }

    async fn ended(self, patience: Duration) -> Result<(), ()> {
        self.stop.cancel();
        let ended = tokio::time::timeout(patience, self.engine).await.map(drop).map_err(drop);
        if ended.is_err() {
            tracing::warn!("a call did not end in time; what it did is found out at the next start");
        }
        self.ticks.stop().await;
        let mut listener = self.listener;
        if tokio::time::timeout(Duration::from_secs(1), &mut listener).await.is_err() {
            listener.abort();
        }
        // Whoever has the journal still holds its lock, and the next daemon may be one of this process.
        drop((self.worker, self.journal));
        self.opened.close().await;
        ended
    }
}

/// What is seen of a daemon by those who only look on: it keeps neither the engine nor the journal.
#[derive(Clone)]
pub(super) struct View {
    engine: Weak<Engine>,
    probes: Arc<Probes>,
    metrics: Arc<Metrics>,
}

impl View {
    /// When the last pass began, in running time; nothing once it has ended.
    pub(super) fn beat(&self) -> Option<Duration> {
        self.engine.upgrade().map(|engine| engine.beat())
    }

    /// Asks for a pass.
    pub(super) fn wake(&self) {
        drop(self.engine.upgrade().inspect(|engine| engine.wake()));
    }

    /// Whether the journal is open and every account and every sink was tried once, whatever came of it.
    pub(super) fn ready(&self) -> Result<(), String> {
        let engine = self.engine.upgrade().ok_or("it is stopping")?;
        if !engine.at_work() {
            return Err("the first pass has not been made".to_owned());
        }
        let (reach, untried) = (engine.reach(), self.probes.untried());
        if reach.tried < reach.accounts {
            let Reach { accounts, tried, .. } = reach;
            return Err(format!("the keys of {tried} of {accounts} accounts were asked for"));
        }
        untried.first().map_or(Ok(()), |sink| Err(format!("sink {sink} was not read yet")))
    }

    /// How it is, in one line.
    pub(super) fn outlook(&self) -> String {
        let mut text = self.metrics.outlook().to_string();
        let reach = self.engine.upgrade().map(|engine| engine.reach());
        if let Some(Reach { accounts, listed, .. }) = reach.filter(|reach| reach.listed < reach.accounts) {
            text += &format!("; the keys of {} of {accounts} accounts can not be listed", accounts - listed);
        }
        self.probes.silent().iter().for_each(|sink| text += &format!("; sink {sink} can not be read"));
        text
    }
}

fn health(policy: &Policy, view: &View, clock: Arc<dyn Clock>) -> Result<Health, ListenerError> {
    let Files { certificate, token } = Files::read(&policy.listen)?;
    let tls = certificate.map(|certificate| Arc::new(move || certificate.now()) as Arc<_>);
    let token = token.map(|token| Arc::new(move |given: &[u8]| token.is(given)) as Arc<_>);
    // The engine makes a pass by itself after three ticks; after three of those it hangs.
    let patience = policy.timing.tick * 9 + Duration::from_secs(30);
    let (beating, now) = (view.clone(), clock.clone());
    let alive = move || {
        let beat = beating.beat().ok_or("it is stopping")?;
        let silent = now.running().saturating_sub(beat);
        if silent < patience { Ok(()) } else { Err(format!("no pass for {} s", silent.as_secs())) }
    };
    let (begun, metrics) = (view.clone(), view.metrics.clone());
    Ok(Health { metrics, alive: Arc::new(alive), ready: Arc::new(move || begun.ready()), tls, token })
}

/// The journal as others see it while a daemon may have it, and whether one works with it now.
pub(super) async fn visit(policy: &Policy) -> Result<(Arc<dyn Journal>, bool), CliError> {
    let opened = journal(policy, Access::Visitor, Arc::new(SystemClock::new())).await?;
    let running = in_use(&opened, policy).await?;
    Ok((opened.port(), running))
}

/// Whether a daemon works with the journal now.
pub(super) async fn in_use(opened: &AnyJournal, policy: &Policy) -> Result<bool, CliError> {
    match (opened, &policy.state) {
        (_, StateUrl::Sqlite(path)) => Ok(SqliteJournal::in_use(path)),
        (AnyJournal::Postgres(journal), _) => journal.in_use().await.map_err(CliError::journal),
        (AnyJournal::Sqlite(_), StateUrl::Postgres(_)) => Ok(false),
    }
}

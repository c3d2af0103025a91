//! A daemon put together: what `run` and `demo` start.

use super::assemble::{Doors, Purpose, doors, journal};
use super::{CliError, Kind};
use crate::adapters::clock::SystemClock;
use crate::adapters::journal::{Access, AnyJournal, SqliteJournal};
use crate::adapters::listener::{Files, ListenerError};
use crate::adapters::ticks;
use crate::engine::{Engine, Ports};
use crate::http::{Health, serve};
use crate::metrics::Metrics;
use crate::model::policy::{Policy, StateUrl};
use crate::ports::{Clock, Journal, Observer};
use crate::telemetry::{Everyone, lost_lines};
use std::net::SocketAddr;
use std::sync::Arc;
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
        let Doors { issuer, sinks, clock } = doors(&policy, Purpose::Work).await?;
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
        let ports = Ports { issuer, sinks, journal: journal.clone(), clock: clock.clone(), observer };
        let engine = Engine::new(policy.clone(), ports, stop.clone());
        let health =
            health(&policy, &engine, metrics.clone(), clock.clone()).map_err(|error| failed(&cannot, &error))?;
        let listener = tokio::spawn(serve(listener, health, stop.clone()));
        // What only looks on does not keep the engine, and with it the journal, alive.
        let woken = Arc::downgrade(&engine);
        let wake = move || drop(woken.upgrade().inspect(|engine| engine.wake()));
        let ticks = ticks::every(policy.timing.tick, wake).await;
        let ticks = ticks.map_err(|error| failed("ticks", &error))?;
        let worker = engine.clone();
        let engine = tokio::spawn(async move { engine.run().await });
        Ok(Self { address, metrics, clock, journal, opened, stop, worker, engine, listener, ticks })
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

fn health(
    policy: &Policy,
    engine: &Arc<Engine>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
) -> Result<Health, ListenerError> {
    let Files { certificate, token } = Files::read(&policy.listen)?;
    let tls = certificate.map(|certificate| Arc::new(move || certificate.now()) as Arc<_>);
    let token = token.map(|token| Arc::new(move |given: &[u8]| token.is(given)) as Arc<_>);
    // The engine makes a pass by itself after three ticks; after three of those it hangs.
    let patience = policy.timing.tick * 9 + Duration::from_secs(30);
    let (beating, now) = (Arc::downgrade(engine), clock.clone());
    let alive = move || {
        let beat = beating.upgrade().ok_or_else(|| "it is stopping".to_owned())?.beat();
        let silent = now.running().saturating_sub(beat);
        if silent < patience { Ok(()) } else { Err(format!("no pass for {} s", silent.as_secs())) }
    };
    let begun = Arc::downgrade(engine);
    let ready = move || {
        begun
            .upgrade()
            .is_some_and(|engine| engine.at_work())
            .then_some(())
            .ok_or_else(|| "the first pass has not been made".to_owned())
    };
    Ok(Health { metrics, alive: Arc::new(alive), ready: Arc::new(ready), tls, token })
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

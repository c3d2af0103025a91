//! A daemon put together: what `run` and `demo` start.

use super::assemble::{Doors, Purpose, doors, journal};
use super::{CliError, Kind};
use crate::adapters::clock::SystemClock;
use crate::adapters::journal::{Access, AnyJournal, SqliteJournal};
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
    engine: JoinHandle<Result<(), crate::ports::JournalError>>,
    listener: JoinHandle<std::io::Result<()>>,
    ticks: ticks::Ticks,
}

/// How long calls in hand may take to end after the daemon was told to stop; together under ten seconds.
const PATIENCE: Duration = Duration::from_secs(8);

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
        let metrics = Arc::new(Metrics::new(policy.clone(), lost_lines).map_err(|error| failed("metrics", &error))?);
        let listener = TcpListener::bind(policy.listen).await;
        let listener = listener.map_err(|error| failed(&format!("cannot listen on {}", policy.listen), &error))?;
        let address = listener.local_addr().map_err(|error| failed("listen", &error))?;

        let stop = CancellationToken::new();
        let observer: Arc<dyn Observer> = Arc::new(Everyone(vec![metrics.clone(), watcher]));
        let ports = Ports { issuer, sinks, journal: journal.clone(), clock: clock.clone(), observer };
        let engine = Engine::new(policy.clone(), ports, stop.clone());
        let health = health(&policy, &engine, metrics.clone(), clock.clone());
        let listener = tokio::spawn(serve(listener, health, stop.clone()));
        let woken = engine.clone();
        let ticks = ticks::every(policy.timing.tick, move || woken.wake()).await;
        let ticks = ticks.map_err(|error| failed("ticks", &error))?;
        let engine = tokio::spawn(async move { engine.run().await });
        Ok(Self { address, metrics, clock, journal, opened, stop, engine, listener, ticks })
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

    /// Lets the calls in hand end, for a while; what does not end is recovered at the next start.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(PATIENCE, self.engine).await.is_err() {
            tracing::warn!("a call did not end in time; what it did is found out at the next start");
        }
        self.ticks.stop().await;
        let _ = tokio::time::timeout(Duration::from_secs(1), self.listener).await;
        drop(self.journal);
        self.opened.close().await;
    }
}

fn health(policy: &Policy, engine: &Arc<Engine>, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Health {
    // The engine makes a pass by itself after three ticks; after three of those it hangs.
    let patience = policy.timing.tick * 9 + Duration::from_secs(30);
    let (beating, now) = (engine.clone(), clock.clone());
    let alive = move || {
        let silent = now.running().saturating_sub(beating.beat());
        if silent < patience { Ok(()) } else { Err(format!("no pass for {} s", silent.as_secs())) }
    };
    let begun = engine.clone();
    let ready = move || begun.at_work().then_some(()).ok_or_else(|| "the first pass has not been made".to_owned());
    Health { metrics, clock, alive: Arc::new(alive), ready: Arc::new(ready) }
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

//! `rekeyd run`: the daemon.

use super::daemon::Daemon;
use super::{CliError, Kind, load};
use crate::config::Loaded;
use crate::model::policy::Policy;
use crate::telemetry::EventLog;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs the daemon until SIGTERM or SIGINT; calls in hand end first, within ten seconds.
///
/// It recovers from whatever state a crash left, so it can be killed at any time. What is under way is in `rekeyd
/// status`, what happened in `rekeyd history NAME` and in the log on standard error: lines on a terminal, JSON elsewhere.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) async fn run(config: &Path, Args {}: Args) -> Result<(), CliError> {
    let signals = Signals::listen()?;
    let loaded = load(config)?;
    warn_of(&loaded);
    let policy = Arc::new(loaded.policy);
    let mut daemon = Daemon::start(policy.clone(), Arc::new(EventLog)).await?;
    announce(&policy, &daemon);
    let signal = tokio::select! {
        signal = signals.next() => signal,
        error = daemon.failed() => return Err(error),
    };
    tracing::info!(signal, "stopping; calls in hand end first");
    daemon.stop().await;
    tracing::info!("stopped");
    Ok(())
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> CliError {
    CliError::new(Kind::Failed, format!("{what}: {error}"))
}

fn warn_of(loaded: &Loaded) {
    for warning in &loaded.warnings {
        tracing::warn!(line = warning.line, key = warning.key, "{}", warning.message);
    }
}

fn announce(policy: &Policy, daemon: &Daemon) {
    let version = env!("CARGO_PKG_VERSION");
    let (credentials, listen) = (policy.credentials.len(), daemon.address.to_string());
    tracing::info!(version, instance = %policy.instance, credentials, listen, "rekeyd has started");
}

/// The signals that end what runs until it is told to stop.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(|error| failed("signals can not be caught", &error));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    pub(super) async fn next(mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

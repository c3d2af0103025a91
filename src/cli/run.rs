//! `rekeyd run`: the daemon.

use super::daemon::Daemon;
use super::{CliError, Kind, load};
use crate::hardening::harden;
use crate::telemetry::EventLog;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Runs the daemon until SIGTERM or SIGINT; calls in hand end first, within ten seconds.
///
/// It recovers from whatever state a crash left, so it can be killed at any time. What is under way is in `rekeyd
/// status`, what happened in `rekeyd history NAME` and in the log on standard error: lines on a terminal, JSON elsewhere.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) async fn run(config: &Path, Args {}: Args) -> Result<(), CliError> {
    let failed = |what: &str, error: &dyn std::fmt::Display| CliError::new(Kind::Failed, format!("{what}: {error}"));
    // Before any secret is read.
    harden().map_err(|error| failed("core files could not be turned off", &error))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| failed("SIGTERM", &error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| failed("SIGINT", &error))?;
    let loaded = load(config)?;
    for warning in &loaded.warnings {
        tracing::warn!(line = warning.line, key = warning.key, "{}", warning.message);
    }
    let policy = Arc::new(loaded.policy);
    let mut daemon = Daemon::start(policy.clone(), Arc::new(EventLog)).await?;
    let version = env!("CARGO_PKG_VERSION");
    let (credentials, listen) = (policy.credentials.len(), daemon.address.to_string());
    tracing::info!(version, instance = %policy.instance, credentials, listen, "rekeyd has started");
    let ended = tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
        error = daemon.failed() => Err(error),
    };
    let signal = ended?;
    tracing::info!(signal, "stopping; calls in hand end first");
    daemon.stop().await;
    tracing::info!("stopped");
    Ok(())
}

//! `rekeyd run`: the daemon.

use super::assemble::{Purpose, doors};
use super::daemon::Daemon;
use super::fleets::Roll;
use super::service::Service;
use super::sources::{GLANCE, Sources};
use super::{CliError, Kind, load};
use crate::adapters::clock::SystemClock;
use crate::adapters::listener::Files;
use crate::config::{Diagnostic, Loaded, Whole};
use crate::model::policy::Policy;
use crate::ports::Clock;
use crate::telemetry::EventLog;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What stands below the options in `--help`.
const SIGNALS: &str = "\
Signals:
  SIGTERM, SIGINT  the calls in hand end first, within ten seconds; then the daemon ends
  SIGHUP           the policy is read again
";

/// Runs the daemon until it is told to stop.
///
/// A Main key, auth token or private key that is replaced in its file has the policy read again, as SIGHUP has. What is not
/// accepted then changes nothing.
///
/// It recovers from whatever state a crash left, so it can be killed at any time. What is under way is in `rekeyd
/// status`, what happened in `rekeyd history NAME` and in the log on standard error: lines on a terminal, JSON elsewhere.
#[derive(Debug, clap::Args)]
#[command(after_long_help = SIGNALS)]
pub(super) struct Args {}

pub(super) async fn run(config: &Path, Args {}: Args) -> Result<(), CliError> {
    let mut signals = Signals::listen()?;
    let service = Service::new();
    let mut loaded = load(config)?;
    let (mut anew, mut roll) = (false, Roll::default());
    loop {
        warn_of(&loaded.warnings);
        let looked = async {
            let sources = Sources::of(&loaded.policy).await;
            roll.called(&loaded.policy).await;
            sources
        };
        let sources = tokio::select! {
            sources = looked => sources,
            signal = signals.stop() => {
                tracing::info!(signal, "stopping");
                break;
            }
        };
        let Whole { policy, left_out } = roll.whole(&loaded.policy);
        left_out.iter().for_each(|why| tracing::warn!("{why}"));
        let policy = Arc::new(policy);
        let begun = begin(&policy, anew, &mut signals, &service).await?;
        let Some(begun) = begun else { break };
        let _follower = service.follow(begun.view());
        let read = Read { service: &service, config, written: &loaded, policy: &policy };
        let (now, told) = work(read, (sources, &mut roll), begun, &mut signals).await?;
        anew = true;
        match told {
            Some(next) => {
                service.step("beginning anew; calls in hand end first");
                now.stop_wholly().await?;
                service.step("beginning anew");
                loaded = next;
            }
            None => {
                service.stopping();
                now.stop().await;
                break;
            }
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// Starts the daemon; nothing if it was told to stop meanwhile. A store of Main keys that does not answer is waited for. So is
/// everything when it begins anew: what stands in its way now may be gone in a moment, and nobody would start it again but a
/// person.
async fn begin(
    policy: &Arc<Policy>,
    anew: bool,
    signals: &mut Signals,
    service: &Service,
) -> Result<Option<Daemon>, CliError> {
    let clock = SystemClock::new();
    loop {
        let tried = async {
            match Daemon::start(policy.clone(), Arc::<EventLog>::default()).await {
                Err(error) if anew || error.kind == Kind::Unreachable => {
                    tracing::error!("it can not begin yet: {}", error.message);
                    service.step(&format!("it can not begin yet: {}", error.message));
                    clock.sleep(GLANCE).await;
                    Ok(None)
                }
                started => started.map(Some),
            }
        };
        let begun = tokio::select! {
            begun = tried => begun?,
            signal = signals.stop() => {
                tracing::info!(signal, "stopping");
                return Ok(None);
            }
        };
        if let Some(daemon) = begun {
            announce(policy, &daemon);
            return Ok(Some(daemon));
        }
    }
}

/// What was read, and what it means.
#[derive(Clone, Copy)]
struct Read<'r> {
    service: &'r Service,
    config: &'r Path,
    written: &'r Loaded,
    policy: &'r Policy,
}

/// Works by one policy; gives back the daemon, and the next policy if it did not end for good.
async fn work(
    read: Read<'_>,
    (sources, roll): (Sources, &mut Roll),
    mut daemon: Daemon,
    signals: &mut Signals,
) -> Result<(Daemon, Option<Loaded>), CliError> {
    let clock = daemon.clock.clone();
    let told = tokio::select! {
        told = until_something_changes(read, &clock, signals, (sources, roll)) => told,
        error = daemon.failed() => return Err(error),
    };
    let next = match told {
        Told::Stop(signal) => Err(signal),
        Told::Again(anew) => {
            let drained = drained(&daemon, signals);
            tokio::select! {
                drained = drained => drained.map(|()| *anew),
                error = daemon.failed() => return Err(error),
            }
        }
    };
    if let Err(signal) = next {
        tracing::info!(signal, "stopping; calls in hand end first");
    }
    Ok((daemon, next.ok()))
}

/// Waits until nothing is in hand; the signal, if one comes meanwhile.
fn drained<'s>(daemon: &Daemon, signals: &'s mut Signals) -> impl Future<Output = Result<(), &'static str>> + use<'s> {
    tracing::info!("beginning anew; what holds a new secret comes to its end first");
    let drain = daemon.drain();
    async move {
        tokio::select! {
            () = drain => Ok(()),
            signal = signals.stop() => Err(signal),
        }
    }
}

const REPLACED: &str = "what rekeyd signs in with was replaced";
const MOVED: &str = "others belong to the fleets now";

/// What was heard while the daemon works.
enum Told {
    Stop(&'static str),
    Again(Box<Loaded>),
}

/// A policy that is not accepted, or names what can not be read, changes nothing.
async fn until_something_changes(
    read: Read<'_>,
    clock: &Arc<dyn Clock>,
    signals: &mut Signals,
    (sources, roll): (Sources, &mut Roll),
) -> Told {
    let mut last: Option<String> = None;
    loop {
        let why = tokio::select! {
            signal = signals.next() => signal,
            () = sources.changed(clock) => REPLACED,
            () = roll.changed(&read.written.policy, read.policy, clock) => MOVED,
        };
        match why {
            "SIGTERM" | "SIGINT" => return Told::Stop(why),
            // As it was read: what stands in the file now was not asked for. What can not be begun is not stopped for.
            MOVED => (),
            REPLACED if last.is_some() => (),
            _ => tracing::info!(why, "reading the policy again"),
        }
        let asked = why == "SIGHUP" && read.service.reloading();
        match acceptable(read, why).await {
            Ok(loaded) => {
                read.service.accepted();
                return Told::Again(Box::new(loaded));
            }
            // Files that differ are tried every few seconds; what is wrong with them is told once.
            Err(error) if last.as_ref() == Some(&error.message) && why == REPLACED => (),
            Err(error) => {
                tracing::error!("going on with what was read before: {}", error.message);
                read.service.refused(asked, &error);
                last = Some(error.message);
            }
        }
    }
}

/// The policy as it stands in the file now, if it can take the place of this one.
async fn acceptable(read: Read<'_>, why: &str) -> Result<Loaded, CliError> {
    let loaded = if why == MOVED { read.written.clone() } else { load(read.config)? };
    fixed(read.policy, &loaded.policy)?;
    Files::read(&loaded.policy.listen).map_err(|error| failed("the listener", &error))?;
    doors(&loaded.policy, Purpose::Look).await?;
    Ok(loaded)
}

/// What would have to be tried by stopping what works: for that the process is started again.
fn fixed(now: &Policy, next: &Policy) -> Result<(), CliError> {
    let changed = [
        ("daemon.instance", now.instance != next.instance),
        ("daemon.state", now.state != next.state),
        ("daemon.listen", now.listen.address != next.listen.address),
    ];
    match changed.into_iter().find(|(_, changed)| *changed) {
        Some((key, _)) => Err(CliError::new(Kind::Policy, format!("`{key}` is another now, which needs a restart"))),
        None => Ok(()),
    }
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> CliError {
    CliError::new(Kind::Failed, format!("{what}: {error}"))
}

fn warn_of(warnings: &[Diagnostic]) {
    for warning in warnings {
        tracing::warn!(line = warning.line, key = warning.key, "{}", warning.message);
    }
}

fn announce(policy: &Policy, daemon: &Daemon) {
    let version = env!("CARGO_PKG_VERSION");
    let (credentials, listen) = (policy.credentials.len(), daemon.address.to_string());
    tracing::info!(version, instance = %policy.instance, credentials, listen, "rekeyd has started");
}

/// The signals that end what runs until it is told to stop, and the one that has the policy read again.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(|error| failed("signals can not be caught", &error));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Whichever comes next.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }

    /// The next that ends the daemon.
    async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// The next that ends what is no daemon: it does not outlive its terminal.
    pub(super) async fn end(&mut self) {
        self.next().await;
    }
}

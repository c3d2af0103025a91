//! What people read while it runs: log lines on a terminal, JSON elsewhere, one line per event, and never a secret.

use crate::describe::describe;
use crate::model::event::{Entry, Event};
use crate::model::home::Home;
use crate::model::key::KeySid;
use crate::model::names::{CredentialName, Place};
use crate::model::reason::Breaker;
use crate::model::rotation::State;
use crate::ports::{Call, Observer, Served};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use tracing::level_filters::LevelFilter;
use tracing::{error, info, warn};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts the log. Only our own lines follow the level asked for: what libraries say below WARN may hold requests.
pub fn start(level: LevelFilter) {
    let libraries = level.min(LevelFilter::WARN);
    // vaultrs reports every refused call as an error of its own; the engine tells it better.
    let targets =
        Targets::new().with_default(libraries).with_target("rekeyd", level).with_target("vaultrs", LevelFilter::OFF);
    let registry = tracing_subscriber::registry().with(targets);
    let to_terminal = std::io::stderr().is_terminal();
    // Whoever reads the log may stand still; the daemon does not wait for that (protocol, fault 46).
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(LINES).finish(std::io::stderr());
    let lost = writer.error_counter();
    let started = if to_terminal {
        registry.with(tracing_subscriber::fmt::layer().with_writer(writer).with_target(false)).try_init()
    } else {
        let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer);
        registry.with(layer.with_target(false).with_current_span(false).with_span_list(false)).try_init()
    };
    // A second start, as in tests, keeps the first.
    if started.is_ok() {
        *LOG.lock().unwrap_or_else(PoisonError::into_inner) = Some((guard, lost));
    }
}

/// The most lines that wait for whoever reads the log.
const LINES: usize = 4096;

static LOG: Mutex<Option<(WorkerGuard, ErrorCounter)>> = Mutex::new(None);

/// Writes out what still waits, for a moment at most: before the process ends.
pub fn finish() {
    drop(LOG.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// How many lines were lost because nobody read the log.
pub fn lost_lines() -> u64 {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    log.as_ref().map_or(0, |(_, lost)| lost.dropped_lines() as u64)
}

/// A panic tells where it happened and not what it held: its text may quote the data it failed on.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
        error!(place, "rekeyd has a defect and stops; nothing is lost, the journal holds every decision");
        finish();
    }));
}

/// Writes every event to the log.
#[derive(Default)]
pub struct EventLog {
    /// Where what is served is known to be of no use: that is told once.
    flawed: Mutex<BTreeSet<(CredentialName, Place)>>,
}

impl Observer for EventLog {
    fn recorded(&self, name: &CredentialName, before: &State, entry: &Entry, after: &State) {
        let rotation = after.rotation.as_ref().or(before.rotation.as_ref());
        let attempt = rotation.map(|rotation| rotation.attempt.to_string()).unwrap_or_default();
        let successor = rotation.and_then(|rotation| rotation.successor.as_ref());
        let key = entry.event.sid().or(successor).map(|sid| sid.as_str()).unwrap_or_default();
        let (event, seq, phase, text) = (entry.event.word(), entry.seq, after.word(), describe(&entry.event));
        match &entry.event {
            Event::Halted { .. } => error!(credential = %name, event, seq, phase, attempt, key, "{text}"),
            Event::Failed { .. }
            | Event::CreateRefused { .. }
            | Event::Unsettled
            | Event::Ambiguous { .. }
            | Event::Abandoned { .. }
            | Event::Missing { .. }
            | Event::Found { .. } => warn!(credential = %name, event, seq, phase, attempt, key, "{text}"),
            Event::Adopted { .. }
            | Event::Requested { .. }
            | Event::Intended(_)
            | Event::Created { .. }
            | Event::Verified { .. }
            | Event::Publishing { .. }
            | Event::Written { .. }
            | Event::Rebased { .. }
            | Event::Widened { .. }
            | Event::Served { .. }
            | Event::Restarting { .. }
            | Event::Restarted { .. }
            | Event::RolledOut { .. }
            | Event::Published { .. }
            | Event::Condemned { .. }
            | Event::Revoked { .. }
            | Event::Completed
            | Event::Fencing { .. }
            | Event::Fenced { .. }
            | Event::Revived { .. }
            | Event::Removed { .. }
            | Event::Recovered
            | Event::Resumed { .. } => info!(credential = %name, event, seq, phase, attempt, key, "{text}"),
        }
    }

    fn released(&self, name: &CredentialName, state: &State, wake: Option<Timestamp>, waiting: &str) {
        let wake = wake.map(|wake| wake.to_string()).unwrap_or_default();
        tracing::debug!(credential = %name, phase = state.word(), wake, "{waiting}");
    }

    fn called(&self, call: Call<'_>) {
        let ms = u64::try_from(call.took.as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(peer = call.peer, operation = call.operation, outcome = call.outcome, ms, "called");
    }

    fn breaker(&self, home: &Home, breaker: Breaker, open: bool) {
        let word = breaker.word();
        match (open, breaker) {
            (_, Breaker::Unlisted) => tracing::debug!(account = %home, breaker = word, open, "{}", breaker.meaning()),
            (true, _) => {
                error!(account = %home, breaker = word, open, "nothing is created or deleted: {}", breaker.meaning())
            }
            (false, _) => warn!(account = %home, breaker = word, open, "no longer so: {}", breaker.meaning()),
        }
    }

    fn unexplained(&self, home: &Home, keys: usize) {
        if keys > 0 {
            warn!(account = %home, keys, "keys carry a label of ours and can not be told from copies; they are left alone");
        }
    }

    fn main_key(&self, home: &Home, key: &KeySid, created: Option<Timestamp>) {
        if let Some(created) = created {
            info!(account = %home, %key, %created, "the age of the Main key is known");
        }
    }

    fn served(&self, name: &CredentialName, served: Served<'_>) {
        let mut flawed = self.flawed.lock().unwrap_or_else(PoisonError::into_inner);
        let (place, at) = (served.place, (name.clone(), served.place.clone()));
        let news = if served.flaw.is_some() { flawed.insert(at) } else { flawed.remove(&at) };
        match served.flaw.filter(|_| news) {
            Some(flaw) => warn!(credential = %name, %place, "what consumers read does not work: {flaw}"),
            None if news => info!(credential = %name, %place, "what consumers read works again"),
            None => {}
        }
    }
}

/// Passes everything on to several observers.
pub struct Everyone(pub Vec<std::sync::Arc<dyn Observer>>);

impl Observer for Everyone {
    fn recorded(&self, name: &CredentialName, before: &State, entry: &Entry, after: &State) {
        self.0.iter().for_each(|observer| observer.recorded(name, before, entry, after));
    }

    fn released(&self, name: &CredentialName, state: &State, wake: Option<Timestamp>, waiting: &str) {
        self.0.iter().for_each(|observer| observer.released(name, state, wake, waiting));
    }

    fn called(&self, call: Call<'_>) {
        self.0.iter().for_each(|observer| observer.called(call));
    }

    fn breaker(&self, home: &Home, breaker: Breaker, open: bool) {
        self.0.iter().for_each(|observer| observer.breaker(home, breaker, open));
    }

    fn unexplained(&self, home: &Home, keys: usize) {
        self.0.iter().for_each(|observer| observer.unexplained(home, keys));
    }

    fn main_key(&self, home: &Home, key: &KeySid, created: Option<Timestamp>) {
        self.0.iter().for_each(|observer| observer.main_key(home, key, created));
    }

    fn passed(&self) {
        self.0.iter().for_each(|observer| observer.passed());
    }

    fn served(&self, name: &CredentialName, served: Served<'_>) {
        self.0.iter().for_each(|observer| observer.served(name, served));
    }

    fn seen(&self, name: &CredentialName, state: &State) {
        self.0.iter().for_each(|observer| observer.seen(name, state));
    }
}

//! `rekeyd demo`: the main job before one's eyes, against the sandbox, in a temporary place.

use super::daemon::Daemon;
use super::run::Signals;
use super::sandbox::{fill, write_private};
use super::{CliError, Kind, out};
use crate::adapters::clock::SystemClock;
use crate::adapters::twilio::TwilioClient;
use crate::config;
use crate::describe::describe;
use crate::model::document::{self, Names};
use crate::model::event::{Entry, Event};
use crate::model::home::Home;
use crate::model::key::KeySid;
use crate::model::names::CredentialName;
use crate::model::policy::{Policy, Rules};
use crate::model::reason::Breaker;
use crate::model::rotation::State;
use crate::ports::{Call, Clock, Issuer, Observer, Served, Verdict};
use crate::sandbox::{Faults, KeyKind, NewKey, Options, Sandbox};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Shows three credentials rotate with a shortened clock: a sandbox of Twilio, a directory and a journal in a temporary
/// place, and consumers that use what they read all the time. Takes about half a minute; nothing to configure.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Keep everything running afterwards, until it is interrupted.
    #[arg(long)]
    serve: bool,
}

/// Rotations that each credential shall show: its first key, and the one that replaces it.
const ROTATIONS: u64 = 2;
/// When to give up: the job takes about half of it.
const PATIENCE: Duration = Duration::from_secs(55);

pub(super) async fn run(args: Args) -> Result<(), CliError> {
    let dir = tempfile::Builder::new().prefix("rekeyd-demo-").tempdir().map_err(CliError::failed)?;
    let faults =
        Faults { key_delay_ms: 1500, latency_ms: crate::sandbox::Latency::Between(5, 40), ..Faults::default() };
    let sandbox = Sandbox::start(Options { faults, ..Options::default() }).await.map_err(CliError::failed)?;
    let policy = Arc::new(policy(dir.path(), &sandbox)?);
    out::line(&format!("A sandbox of Twilio listens on {}; a new key works there after 1.5 s.", sandbox.url()));
    out::line(
        "Three credentials are rotated every 14 s with 6 s of grace, and three consumers use them all the time.\n",
    );

    let mut signals = Signals::listen()?;
    let mut ended = std::pin::pin!(signals.end());
    let narrator = Arc::new(Narrator::new());
    let daemon = Daemon::start(policy.clone(), narrator.clone()).await?;
    let consumers = consumers(&policy, dir.path())?;
    let done = tokio::select! {
        done = wait(&daemon, &narrator, &policy) => Some(done),
        _ = &mut ended => None,
    };
    let metrics = daemon.metrics.render().map_err(CliError::failed)?;
    out::line(&format!("\n{}", table(&narrator, &consumers, &sandbox)));
    out::line("\nFrom /metrics:");
    metrics.lines().filter(|line| shown(line)).for_each(|line| out::line(&format!("  {line}")));
    if args.serve && done.is_some() {
        serve(dir.path(), &daemon, &sandbox);
        ended.await;
    }
    consumers.iter().for_each(|consumer| consumer.task.abort());
    daemon.stop().await;
    sandbox.stop().await;
    let refused: u64 = consumers.iter().map(|consumer| consumer.refused.load(Ordering::Relaxed)).sum();
    match (done, refused) {
        (Some(true), 0) => Ok(()),
        (None, _) => Err(CliError::new(Kind::Failed, "the demo was interrupted")),
        (Some(false), _) => Err(CliError::new(Kind::Failed, "the rotations did not end in time")),
        (_, refused) => Err(CliError::new(Kind::Failed, format!("{refused} calls of consumers were refused"))),
    }
}

fn policy(dir: &Path, sandbox: &Sandbox) -> Result<Policy, CliError> {
    let (main_key, secret) = sandbox.main_key();
    write_private(&dir.join("main_key"), secret.expose()).map_err(CliError::failed)?;
    std::fs::create_dir(dir.join("secrets")).map_err(CliError::failed)?;
    let by_hand = by_hand(sandbox);
    let text = fill(
        include_str!("../../config/demo.toml"),
        &[
            ("dir", &dir.display().to_string()),
            ("url", &sandbox.url()),
            ("account", sandbox.account_sid().as_str()),
            ("main_key", main_key.as_str()),
            ("by_hand", by_hand.as_str()),
        ],
    );
    let path = dir.join("policy.toml");
    std::fs::write(&path, &text).map_err(CliError::failed)?;
    config::parse(&text, "demo.toml").map(|loaded| loaded.policy).map_err(CliError::failed)
}

/// The key that a person made in the Console before rekeyd came.
fn by_hand(sandbox: &Sandbox) -> KeySid {
    let now = sandbox.world().now();
    let account = sandbox.account_sid().clone();
    let new = NewKey { account, kind: KeyKind::Standard, name: Some("made by hand".into()), pair: None };
    sandbox.world().lock().make_by_hand(now, new)
}

/// Waits until every credential has shown its rotations; true if that came in time.
#[expect(clippy::disallowed_methods, reason = "the demo may wait")]
async fn wait(daemon: &Daemon, narrator: &Narrator, policy: &Policy) -> bool {
    while daemon.clock.running() < PATIENCE {
        let completed = narrator.completed();
        if policy.credentials.keys().all(|name| completed.get(name).is_some_and(|count| *count >= ROTATIONS)) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

fn serve(dir: &Path, daemon: &Daemon, sandbox: &Sandbox) {
    let policy = dir.join("policy.toml");
    out::line("\nStill running, until interrupted. In another terminal:");
    out::line(&format!("  rekeyd status --config {}", policy.display()));
    out::line(&format!("  rekeyd rotate alerts --wait --config {}", policy.display()));
    out::line(&format!("  curl -s http://{}/metrics", daemon.address));
    out::line(&format!("  curl -s {}/_sandbox/state", sandbox.url()));
}

fn shown(line: &str) -> bool {
    let names = ["rekeyd_rotations_total", "rekeyd_credential_phase", "rekeyd_last_success", "rekeyd_next_rotation"];
    names.iter().any(|name| line.starts_with(name))
}

/// Tells every event as a line, with the seconds since the start.
struct Narrator {
    clock: SystemClock,
    counts: Mutex<BTreeMap<CredentialName, Counts>>,
}

#[derive(Default, Clone, Copy)]
struct Counts {
    completed: u64,
    made: u64,
    deleted: u64,
}

impl Narrator {
    fn new() -> Self {
        Self { clock: SystemClock::new(), counts: Mutex::default() }
    }

    fn counts(&self) -> BTreeMap<CredentialName, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn completed(&self) -> BTreeMap<CredentialName, u64> {
        self.counts().into_iter().map(|(name, counts)| (name, counts.completed)).collect()
    }
}

impl Observer for Narrator {
    fn recorded(&self, name: &CredentialName, _before: &State, entry: &Entry, after: &State) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = counts.entry(name.clone()).or_default();
        counts.completed = after.completed;
        counts.made += u64::from(matches!(entry.event, Event::Created { .. }));
        counts.deleted += u64::from(matches!(entry.event, Event::Revoked { .. } | Event::Removed { .. }));
        let seconds = self.clock.running().as_secs_f32();
        out::line(&format!("{seconds:5.1} s  {name:<12} {:<11} {}", entry.event.word(), describe(&entry.event)));
    }

    fn released(&self, _name: &CredentialName, _state: &State, _wake: Option<Timestamp>, _waiting: &str) {}
    fn called(&self, _call: Call<'_>) {}
    fn breaker(&self, _home: &Home, _breaker: Breaker, _open: bool) {}
    fn unexplained(&self, _home: &Home, _keys: usize) {}
    fn main_key(&self, _home: &Home, _key: &KeySid, _created: Option<Timestamp>) {}
    fn served(&self, _name: &CredentialName, _served: Served<'_>) {}
}

/// A program that reads its pair from the sink and uses it, ten times a second.
struct Consumer {
    name: CredentialName,
    calls: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

fn consumers(policy: &Policy, dir: &Path) -> Result<Vec<Consumer>, CliError> {
    let consumer = |rules: &Rules| {
        let nobody = |_: &_| Ok(crate::model::secret::Secret::new("none".to_owned()));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let twilio = TwilioClient::new(&policy.twilio, &nobody, clock).map_err(CliError::failed)?;
        let file = dir.join("secrets").join(rules.places.first().map_or("", |place| &*place.path));
        let names = Names { now: rules.members.clone(), before: Vec::new() };
        let (calls, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counters = (calls.clone(), refused.clone());
        let task = tokio::spawn(consume(twilio, rules.home.clone(), file, names, counters));
        Ok(Consumer { name: rules.name.clone(), calls, refused, task })
    };
    policy.credentials.values().map(consumer).collect()
}

#[expect(clippy::disallowed_methods, reason = "a consumer of the demo has its own pace")]
async fn consume(
    twilio: TwilioClient,
    home: Home,
    file: std::path::PathBuf,
    names: Names,
    (calls, refused): (Arc<AtomicU64>, Arc<AtomicU64>),
) {
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let Ok(object) = serde_json::from_str(&text) else { continue };
        let (content, secret) = document::read(&object, &names);
        let (Some(sid), Some(secret)) = (content.sid(), secret) else { continue };
        if let Ok(verdict) = twilio.probe(&home, sid, &secret, None).await.answer() {
            calls.fetch_add(1, Ordering::Relaxed);
            refused.fetch_add(u64::from(verdict == Verdict::Refused), Ordering::Relaxed);
        }
    }
}

fn table(narrator: &Narrator, consumers: &[Consumer], sandbox: &Sandbox) -> String {
    let mut table =
        out::table(["CREDENTIAL", "ROTATIONS", "KEYS MADE", "OLD KEYS DELETED", "CONSUMER'S CALLS", "REFUSED"]);
    let counts = narrator.counts();
    for consumer in consumers {
        let counts = counts.get(&consumer.name).copied().unwrap_or_default();
        let (calls, refused) = (consumer.calls.load(Ordering::Relaxed), consumer.refused.load(Ordering::Relaxed));
        let row = [counts.completed, counts.made, counts.deleted, calls, refused].map(|number| number.to_string());
        table.add_row(std::iter::once(consumer.name.to_string()).chain(row));
    }
    let world = sandbox.world().lock();
    let alive = world.keys().filter(|key| key.deleted.is_none()).count();
    format!("{}\n\nLive keys in the account: {alive} (the Main key, and one per credential)", table.trim_fmt())
}

//! A year of ten fleets in virtual time: the engine and the journal are the real ones, Twilio is the sandbox in this process,
//! and of its answers a tenth is lost and a tenth is a 429. Made by this program itself, started once more.

mod clock;
mod journal;
mod twilio;

use crate::fake_sink::FakeSink;
use crate::sandbox::{ACCOUNT, MAIN_KEY};
use crate::watched::{cpu, peak};
use clock::Virtual;
use jiff::Timestamp;
use journal::Counted;
use rekeyd::adapters::journal::{Access, AnyJournal};
use rekeyd::config;
use rekeyd::engine::{Engine, Ports};
use rekeyd::model::event::{Entry, Event};
use rekeyd::model::fleet::Listed;
use rekeyd::model::home::Home;
use rekeyd::model::key::{AccountSid, KeySid};
use rekeyd::model::names::{CredentialName, SinkName};
use rekeyd::model::policy::Policy;
use rekeyd::model::reason::Breaker;
use rekeyd::model::rotation::State;
use rekeyd::ports::{Call, Clock, Journal, Observer, Served, Sink};
use rekeyd::sandbox::KeyKind;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use twilio::Twilio;

/// What the run is called on the command line; `year=1000` has so many subaccounts.
pub const WORD: &str = "year";
/// The argument that makes this program do it.
pub const ARGUMENT: &str = "--a-year";
/// Subaccounts, unless another number is asked for: what a few minutes have room for.
const SUBACCOUNTS: usize = 300;
/// Each subaccount is in every one of them.
const FLEETS: usize = 10;

const DAY: Duration = Duration::from_secs(86_400);
const DAYS: u32 = 365;

/// What the year took, and how it ended.
pub struct Year {
    pub told: Value,
}

/// How many subaccounts are asked for, if this run is.
pub fn wanted(arguments: &[String]) -> Option<usize> {
    let asked = |argument: &String| match argument.strip_prefix(WORD)?.strip_prefix('=') {
        Some(number) => number.parse().ok(),
        None => (argument == WORD).then_some(SUBACCOUNTS),
    };
    if arguments.is_empty() { Some(SUBACCOUNTS) } else { arguments.iter().find_map(asked) }
}

/// Starts this program again, for so many subaccounts: what memory it needs shall not be that of other runs.
pub fn measure(subaccounts: usize) -> Year {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([ARGUMENT, &subaccounts.to_string()]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "the year failed");
    Year { told: serde_json::from_slice(&output.stdout).unwrap() }
}

/// What the program that was started again does.
pub fn make(subaccounts: &str) {
    let clock = Virtual::new(Timestamp::from_second(1_767_225_600).unwrap());
    let idle = clock.clone();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().on_thread_park(move || idle.nothing_runs()).build().unwrap();
    println!("{}", runtime.block_on(live(clock, subaccounts.parse().unwrap())));
}

/// Lives through the year.
async fn live(clock: Arc<Virtual>, subaccounts: usize) -> Value {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let (twilio, listed) = Twilio::new(clock.clone(), subaccounts);
    let policy = Arc::new(policy(folder.path(), &listed));
    let opened = AnyJournal::open(&policy.state, &policy.instance, Access::Daemon, clock.clone(), None).await.unwrap();
    let journal = Arc::new(Counted { journal: opened.port(), clock: clock.clone(), rows: AtomicU64::new(0) });
    let (sink, watcher) = (FakeSink::default(), Arc::new(Watcher::default()));
    let door: Arc<dyn Sink> = Arc::new(sink.clone());
    let ports = Ports {
        issuer: twilio.clone(),
        sinks: BTreeMap::from([(SinkName::new("sink").unwrap(), door)]),
        clusters: BTreeMap::new(),
        journal: journal.clone(),
        clock: clock.clone(),
        observer: watcher.clone(),
    };
    let (start, stop) = (Instant::now(), CancellationToken::new());
    let engine = Engine::new(policy.clone(), ports, stop.clone());
    let (ticking, tick, time) = (engine.clone(), policy.timing.tick, clock.clone());
    let ticker = tokio::spawn(async move {
        loop {
            time.sleep(tick).await;
            ticking.wake();
        }
    });
    let running = tokio::spawn(async move { engine.run().await });
    for day in 1..=DAYS {
        clock.sleep(DAY).await;
        if day % 30 == 0 || day == DAYS {
            let (rotations, took) = (watcher.completed.load(Ordering::Relaxed), start.elapsed().as_secs());
            eprintln!("a year, {subaccounts} subaccounts: day {day}, {rotations} rotations, {took} s");
        }
    }
    ticker.abort();
    stop.cancel();
    running.await.unwrap().unwrap();
    let took = start.elapsed();
    let all = cpu("self");
    let rotations = watcher.completed.load(Ordering::Relaxed);
    let (wrong, strays) = compare(&policy, &twilio, &sink);
    let rows = journal.rows().await.unwrap();
    let rows_read = journal.rows.load(Ordering::Relaxed);
    let halted = rows.iter().filter(|row| row.state.halted.is_some()).count();
    let (calls, sandbox) = (twilio.calls.load(Ordering::Relaxed), *twilio.spent.lock().unwrap());
    let each = |cpu: Duration| cpu.as_secs_f64() * 1000.0 / rotations as f64;
    json!({"run": "a year", "subaccounts": subaccounts, "credentials": policy.credentials.len(), "rotations": rotations,
        "took_s": took.as_secs_f64(), "cpu_ms": each(all.saturating_sub(sandbox)), "sandbox_ms": each(sandbox),
        "calls": calls as f64 / rotations as f64, "rows": rows_read as f64 / rotations as f64, "peak_mib": peak("self"), "wrong": wrong, "strays": strays,
        "halted": halted})
}

/// The default policy but for a period of 90 days, and for how often it looks at what is at rest: by the defaults a year has
/// 35 million sweeps of 1,000 accounts, which tell nothing of rotations.
fn policy(folder: &Path, listed: &[Listed]) -> Policy {
    let folder = folder.display();
    let mut text = format!(
        r#"[daemon]
instance = "bench"
state = "sqlite://{folder}/journal.db"
[twilio]
account_sid = "{ACCOUNT}"
main_key_sid = "{MAIN_KEY}"
main_key_secret_file = "{folder}/main_key"
base_url = "http://127.0.0.1:1"
[sinks.sink]
kind = "directory"
path = "{folder}"
[defaults]
rotate_every = "90d"
[timing]
tick = "10m"
sweep = "7d"
reconcile = "30d"
watch = "off"
"#
    );
    for number in 0..FLEETS {
        let place = format!("publish_to = [{{ sink = \"sink\", name = \"{{account_sid}}-{number}\" }}]");
        writeln!(text, "[[fleets]]\nname = \"fleet-{number}\"\naccounts = {{}}\n{place}").unwrap();
    }
    let loaded = config::parse(&text, "policy.toml");
    let whole = config::whole(&loaded.map_err(|errors| errors.to_string()).unwrap().policy, Some(listed));
    assert!(whole.left_out.is_empty(), "{:?}", whole.left_out);
    whole.policy
}

/// How many places serve something else than a key that works in their account, and how many keys live that none serves.
fn compare(policy: &Policy, twilio: &Twilio, sink: &FakeSink) -> (usize, usize) {
    let world = twilio.world.lock().unwrap();
    let mut living: BTreeMap<&KeySid, (&AccountSid, &str)> = BTreeMap::new();
    for key in world.keys().filter(|key| key.deleted.is_none() && key.kind != KeyKind::Main) {
        living.insert(&key.sid, (&key.account, key.secret.expose()));
    }
    let mut wrong = 0;
    for rules in policy.credentials.values() {
        for place in &rules.places {
            let text = sink.text(&place.path).unwrap_or_default();
            let value: Value = serde_json::from_str(&text).unwrap_or_default();
            let sid = value["apiKeySid"].as_str().and_then(|sid| KeySid::new(sid).ok());
            let key = sid.and_then(|sid| living.remove(&sid));
            let right = key.is_some_and(|(account, secret)| {
                *account == rules.home.account
                    && value["apiKeySecret"] == secret
                    && value["accountSid"] == account.as_str()
            });
            wrong += usize::from(!right);
        }
    }
    (wrong, living.len())
}

/// Counts what is completed.
#[derive(Default)]
struct Watcher {
    completed: AtomicU64,
}

impl Observer for Watcher {
    fn recorded(&self, _name: &CredentialName, _before: &State, entry: &Entry, _after: &State) {
        if matches!(entry.event, Event::Completed) {
            self.completed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn released(&self, _name: &CredentialName, _state: &State, _wake: Option<Timestamp>, _waiting: &str) {}

    fn called(&self, _call: Call<'_>) {}

    fn breaker(&self, _home: &Home, _breaker: Breaker, _open: bool) {}

    fn unexplained(&self, _home: &Home, _keys: usize) {}

    fn main_key(&self, _home: &Home, _key: &KeySid, _created: Option<Timestamp>) {}

    fn served(&self, _name: &CredentialName, _served: Served<'_>) {}
}

impl Year {
    /// As a table of its own, and what is not as it should be.
    pub fn print(&self) {
        let (number, whole) = (|name: &str| self.told[name].as_f64().unwrap(), |name: &str| &self.told[name]);
        println!(
            "\n| a year in virtual time | credentials | rotations | wall, s | CPU each, ms | Twilio calls each | journal rows read each | peak with the sandbox, MiB | wrong places | strays | halted |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|");
        println!(
            "| {} subaccounts in ten fleets | {} | {} | {:.0} | {:.2} | {:.2} | {:.0} | {:.0} | {} | {} | {} |",
            whole("subaccounts"),
            whole("credentials"),
            whole("rotations"),
            number("took_s"),
            number("cpu_ms"),
            number("calls"),
            number("rows"),
            number("peak_mib"),
            whole("wrong"),
            whole("strays"),
            whole("halted")
        );
        if ["wrong", "strays", "halted"].into_iter().any(|name| whole(name) != &json!(0)) {
            println!("\n**The year did not end as it should have:** the last three figures have to be 0.");
        }
    }
}

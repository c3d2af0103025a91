//! One installation: a folder, a sandbox, a journal, and as many daemons as share it.

use crate::plain::SCRIPT;
use crate::report::{Figures, IN_FLIGHT, TASKS};
use crate::sandbox::{ACCOUNT, LATENCY, MAIN_KEY, MAIN_SECRET, Sandbox, ask};
use crate::server::{Server, free_port};
use crate::watched::{Watched, machine};
use crate::{peers, postgres};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where the pairs are published.
pub enum Sink {
    /// A directory: it costs no latency worth naming, so that only Twilio's counts.
    Files,
    /// The emulator of Secrets Manager at this address.
    Emulator(String),
    /// A directory too, for the members of fleets.
    Fleets,
}

/// Subaccounts, each of them in every fleet.
pub const SUBACCOUNTS: usize = 1_000;

/// The runs as the table names them.
pub const SQLITE: &str = "SQLite";
pub const MANY: &str = "SQLite, 10,000 known";
pub const ONE: &str = "PostgreSQL, one replica";
pub const THREE: &str = "PostgreSQL, three replicas";
pub const SECRETS_MANAGER: &str = "SQLite, Secrets Manager";
pub const FLEET: &str = "1,000 of 10,000 in ten fleets";
/// Runs that are compared: the second is so many times as fast as the first.
pub const PAIRS: [(&str, &str); 2] = [(SCRIPT, SECRETS_MANAGER), (ONE, THREE)];

/// An installation.
pub struct Rig {
    pub name: &'static str,
    pub known: usize,
    pub replicas: usize,
    pub sink: Sink,
    pub sandbox: Sandbox,
    pub folder: TempDir,
    state: String,
}

/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// The next full minute of the wall clock, waited for: a schedule that names it is due from then on, and then not for a
/// year.
pub fn next_minute() -> Timestamp {
    let now = Timestamp::now().as_second();
    let minute = Timestamp::from_second(now - now.rem_euclid(60) + 60).unwrap();
    while Timestamp::now() < minute {
        std::thread::sleep(Duration::from_millis(50));
    }
    minute
}

impl Rig {
    /// Calls at the same time: 32 of each account, and by each process no more than it has tasks for.
    fn in_flight(&self) -> u64 {
        if matches!(self.sink, Sink::Fleets) { TASKS } else { IN_FLIGHT * self.replicas as u64 }
    }

    /// Makes an installation and gives each of its credentials a first key, without latency and not measured.
    pub fn new(name: &'static str, known: usize, replicas: usize, server: Option<&Server>, sink: Sink) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("secrets")).unwrap();
        fs::set_permissions(folder.path().join("secrets"), Permissions::from_mode(0o700)).unwrap();
        fs::write(folder.path().join("main_key"), MAIN_SECRET).unwrap();
        fs::set_permissions(folder.path().join("main_key"), Permissions::from_mode(0o600)).unwrap();
        let state = match server {
            None => format!("sqlite://{}/journal.db", folder.path().display()),
            Some(server) => {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                runtime.block_on(postgres::fresh(server)).url.to_string()
            }
        };
        let sandbox = Sandbox::start(folder.path(), if matches!(sink, Sink::Fleets) { SUBACCOUNTS } else { 0 });
        let rig = Self { name, known, replicas, sink, sandbox, folder, state };
        let began = Instant::now();
        let (daemon, _) = rig.spawn(0, None);
        rig.wait(std::slice::from_ref(&daemon), known);
        daemon.stop();
        eprintln!("{name}: {known} first keys in {:.1} s, without latency", began.elapsed().as_secs_f64());
        rig
    }

    /// Starts one daemon, and tells the port where it will answer.
    fn spawn(&self, number: usize, due: Option<(Timestamp, usize)>) -> (Watched, u16) {
        let (port, path) = (free_port(), self.folder.path().join(format!("policy{number}.toml")));
        fs::write(&path, self.policy(port, due)).unwrap();
        (Watched::start(self.command(&path)), port)
    }

    /// Waits until it is ready: how long that took from its start, and how much CPU time.
    pub fn readied(&self, daemon: &Watched, port: u16) -> (Duration, Duration) {
        while ask(port, "GET", "/readyz", "").is_none() {
            std::thread::sleep(Duration::from_millis(2));
            assert!(daemon.started.elapsed() < PATIENCE, "it did not become ready: {:?}", daemon.told().complaints);
        }
        (daemon.started.elapsed(), daemon.cpu())
    }

    /// The daemon with this policy.
    pub fn command(&self, policy: &std::path::Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeyd"));
        command.arg("run").arg("--config").arg(policy).env_clear();
        command.env("AWS_ACCESS_KEY_ID", "GOOD").env("AWS_SECRET_ACCESS_KEY", "x");
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    /// Rotates those that the schedule of that minute makes due, and measures it.
    pub fn measure(&self, minute: Timestamp, due: usize) -> Figures {
        self.sandbox.latency(LATENCY);
        let before = self.sandbox.calls();
        // All at once: the first one begins to work when it is ready, not when the last one is.
        let daemons: Vec<_> = (0..self.replicas).map(|number| self.spawn(number, Some((minute, due)))).collect();
        let readied: Vec<_> = daemons.iter().map(|(daemon, port)| self.readied(daemon, *port)).collect();
        let daemons: Vec<_> = daemons.into_iter().map(|(daemon, _)| daemon).collect();
        let (busy, all) = machine();
        self.wait(&daemons, due);
        let (busy, all) = (machine().0 - busy, machine().1 - all);
        let cpu: Duration = daemons.iter().map(Watched::cpu).sum();
        let threads = daemons[0].by_name();
        let peak = daemons.iter().map(Watched::peak).fold(0.0, f64::max);
        let told: Vec<_> = daemons.iter().map(Watched::told).collect();
        let first = told.iter().filter_map(|told| told.first).min().unwrap();
        let last = told.iter().filter_map(|told| told.last).max().unwrap();
        daemons.into_iter().for_each(Watched::stop);
        let after = self.sandbox.calls();
        self.sandbox.latency(0);
        Figures {
            name: self.name,
            replicas: self.replicas,
            in_flight: self.in_flight(),
            rotations: due,
            took: last - first,
            cpu: cpu - readied.iter().map(|(_, cpu)| *cpu).sum::<Duration>(),
            start_cpu: readied.iter().map(|(_, cpu)| *cpu).max().unwrap(),
            threads,
            busy: 100.0 * busy as f64 / all as f64,
            peak,
            ready: readied.iter().map(|(ready, _)| *ready).max().unwrap(),
            calls: after.iter().map(|(name, count)| count - before.get(name).unwrap_or(&0)).sum(),
        }
    }

    /// Waits until so many rotations are completed by all of them together.
    fn wait(&self, daemons: &[Watched], rotations: usize) {
        let start = Instant::now();
        loop {
            let told: Vec<_> = daemons.iter().map(Watched::told).collect();
            let completed: usize = told.iter().map(|told| told.completed).sum();
            if completed >= rotations {
                return;
            }
            let complaints: Vec<_> = told.iter().flat_map(|told| told.complaints.iter().take(5)).collect();
            assert!(start.elapsed() < PATIENCE, "{}: {completed} of {rotations}: {complaints:#?}", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The policy: the defaults, but for a grace and a verification that do not wait, and for limits that let one account
    /// rotate everything at once. Of the first `due` credentials the schedule names one minute of the year.
    pub fn policy(&self, port: u16, due: Option<(Timestamp, usize)>) -> String {
        let (dir, url, state) = (self.folder.path().display(), self.sandbox.port, &self.state);
        let sink = match &self.sink {
            Sink::Files | Sink::Fleets => format!("kind = \"directory\"\npath = \"{dir}/secrets\""),
            Sink::Emulator(url) => {
                format!("kind = \"aws-secrets-manager\"\nregion = \"eu-west-1\"\nendpoint_url = \"{url}\"")
            }
        };
        let schedule = due.map(|(minute, _)| {
            let at: Zoned = minute.to_zoned(TimeZone::UTC);
            let cron = format!("{} {} {} {} *", at.minute(), at.hour(), at.day(), at.month());
            format!("schedule = {{ cron = \"{cron}\" }}\n")
        });
        let mut policy = format!(
            r#"[daemon]
instance = "bench"
state = "{state}"
listen = "127.0.0.1:{port}"
[twilio]
account_sid = "{ACCOUNT}"
main_key_sid = "{MAIN_KEY}"
main_key_secret_file = "{dir}/main_key"
base_url = "http://127.0.0.1:{url}"
[sinks.sink]
{sink}
[defaults]
rotate_every = "3650d"
grace = "1s"
verify = {{ successes = 3, over = "0s" }}
[timing]
tick = "1s"
allow_short = true
[limits]
account_deletes_per_hour = 100000
"#
        );
        if matches!(self.sink, Sink::Fleets) {
            for number in 0..self.known / SUBACCOUNTS {
                let first = number * SUBACCOUNTS;
                let schedule =
                    schedule.as_deref().filter(|_| due.is_some_and(|(_, due)| first < due)).unwrap_or_default();
                let place = format!("publish_to = [{{ sink = \"sink\", name = \"{{account_sid}}-{number}\" }}]");
                let waves = "accounts = {}\nwaves = { canary = 0, hold = \"0s\", batch = 10000 }";
                writeln!(policy, "[[fleets]]\nname = \"fleet-{number}\"\n{waves}\n{schedule}{place}").unwrap();
            }
            return policy;
        }
        for number in 0..self.known {
            let schedule = schedule.as_deref().filter(|_| due.is_some_and(|(_, due)| number < due)).unwrap_or_default();
            let place = format!("publish_to = [{{ sink = \"sink\", name = \"credential-{number:05}\" }}]");
            writeln!(policy, "[[credentials]]\nname = \"credential-{number:05}\"\n{schedule}{place}").unwrap();
        }
        policy
    }

    /// The Python of the counterparts.
    pub fn python() -> Command {
        Command::new(peers::peers().join("venv/bin/python"))
    }
}

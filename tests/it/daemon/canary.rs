//! Secrets rest in the sinks and nowhere else: everything that the process ever wrote, and everything that others can
//! see of it, is searched for them in seven encodings (protocol, S6).

use super::rig::{AWS_SECRET, Process, QUICK, Rig, signal};
use crate::support::counted::counted;
use crate::support::disguise::Search;
use crate::support::memory;
use rekeyd::sandbox::call::Operation;
use rekeyd::sandbox::{Fault, Line};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// What was seen of an installation: the name of each place, and its bytes at each look.
#[derive(Default)]
pub(super) struct Seen(Vec<(String, Vec<u8>)>);

impl Seen {
    fn add(&mut self, place: &str, bytes: Vec<u8>) {
        self.0.push((place.to_owned(), bytes));
    }

    /// Every file under a folder but the ones that are allowed to hold a secret.
    pub(super) fn files(&mut self, dir: &Path) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            match name {
                "secrets" | "main_key" | "token" => (),
                _ if path.is_dir() => self.files(&path),
                // A file may be taken away between the two.
                _ => self.add(name, fs::read(&path).unwrap_or_default()),
            }
        }
    }

    /// All that can be looked at while the daemon runs.
    pub(super) async fn look(&mut self, rig: &Rig, daemon: &Process) {
        let pid = daemon.child.id();
        for file in ["cmdline", "environ"] {
            self.add(file, fs::read(format!("/proc/{pid}/{file}")).unwrap());
        }
        self.add("metrics", rig.metrics().await.into_bytes());
        self.files(rig.dir.path());
        let name = &rig.names[0];
        for args in [
            &["check"][..],
            &["plan"],
            &["plan", "--json"],
            &["status"],
            &["status", "--json"],
            &["history", name],
            &["history", name, "--json"],
            &["rotate", name],
            &["rotate", "nobody"],
            &["rotate", name, "--log", "shout"],
            &["resume", name],
            &["run"],
        ] {
            let output = rig.run(args);
            self.add(&format!("rekeyd {}", args.join(" ")), [output.stdout, output.stderr].concat());
        }
    }

    fn places(&self) -> BTreeMap<&str, usize> {
        self.0.iter().fold(BTreeMap::new(), |mut sizes, (place, bytes)| {
            *sizes.entry(place.as_str()).or_default() += bytes.len();
            sizes
        })
    }

    /// Fails if one of the secrets of the installation lies anywhere.
    pub(super) fn expect_no_secret(&self, rig: &Rig) {
        let secrets = secrets(rig);
        // What is cut to length may end in the middle of a secret.
        let search = Search::halves(secrets.iter().map(|(name, secret)| (name.clone(), secret.as_str())));
        let of_aws = Search::halves([("the secret of AWS".to_owned(), AWS_SECRET)]);
        for (place, bytes) in &self.0 {
            search.expect_nothing(place, bytes);
            // The daemon is given this one in its environment, by the default credential chain of AWS; nowhere else.
            if place != "environ" {
                of_aws.expect_nothing(place, bytes);
            }
        }
    }
}

/// The secrets of every key that there ever was, and what the daemon calls others with.
fn secrets(rig: &Rig) -> Vec<(String, String)> {
    let world = rig.sandbox.world().lock();
    let keys = world.keys().map(|key| (format!("the secret of {}", key.sid), key.secret.expose().to_owned()));
    keys.chain([("the token of Vault".to_owned(), rig.token.clone())]).collect()
}

/// Starts a program in a folder, with leave to write a core file there.
fn with_cores(program: &mut Command, folder: &Path) -> Process {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -c unlimited && exec \"$@\"", "sh"])
        .arg(program.get_program())
        .args(program.get_args());
    for (name, value) in program.get_envs() {
        command.env(name, value.unwrap());
    }
    fs::create_dir_all(folder).unwrap();
    let output = |name: &str| File::create(folder.join(name)).unwrap();
    command.stdin(Stdio::null()).stdout(output("stdout")).stderr(output("stderr"));
    Process { child: command.current_dir(folder).spawn().unwrap() }
}

/// Waits for the end by the signal that leaves a core file; whether one was written.
fn left_a_core(mut process: Process) -> bool {
    let status = process.child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    status.core_dumped()
}

/// In a debug build, which is what tests run, a panic can be asked for; its text holds the secret of the key just made.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_with_a_secret_in_hand_says_where_it_was_and_not_what_it_held() {
    let mut rig = Rig::new(&["billing-sms"], QUICK).await;
    rig.environment.push(("REKEYD_ORDEAL", "panic".to_owned()));
    let daemon = rig.start();
    rig.until("it panics", || rig.log().contains("rekeyd has a defect")).await;
    assert!(rig.log().contains("src/cli/ordeal.rs:"), "{}", rig.log());
    let mut seen = Seen::default();
    seen.files(rig.dir.path());
    drop(daemon);
    seen.files(rig.dir.path());
    assert!(secrets(&rig).len() >= 3, "no key was made");
    seen.expect_no_secret(&rig);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_left_anywhere_but_in_the_sinks() {
    let mut rig = Rig::new(&["billing-sms", "alerts"], QUICK).await;
    let (temporary, home) = (rig.path("tmp"), rig.path("home"));
    fs::create_dir(&temporary).unwrap();
    rig.environment.push(("TMPDIR", temporary.display().to_string()));
    // Whatever libraries may be told to say.
    rig.environment.push(("RUST_LOG", "trace".to_owned()));
    let mut seen = Seen::default();
    let daemon = with_cores(&mut rig.command(&["run"]), &home);
    rig.until_settled(1).await;
    // Some trouble, so that errors are written too.
    let trouble = [Fault::Malformed, Fault::Lost, Fault::Cut, Fault::RateLimited];
    let lines = trouble.map(|fault| Line::next(Operation::ListNumbers, fault));
    rig.sandbox.world().lock().script.add(lines);
    rig.sandbox.world().lock().script.add([Line::next(Operation::CreateKey, Fault::Cut)]);
    rig.run(&["rotate", "alerts"]);
    let waited = rig.run(&["rotate", "billing-sms", "--wait"]);
    assert!(waited.status.success(), "{waited:?}");
    seen.add("rekeyd rotate --wait", [waited.stdout, waited.stderr].concat());
    rig.until_settled(2).await;
    seen.look(&rig, &daemon).await;

    // The worst moment: a call with the new pair is under way.
    let slow = Line { times: 30, ..Line::next(Operation::ListNumbers, Fault::SlowAnswer { ms: 4000 }) };
    rig.sandbox.world().lock().script.add([slow]);
    rig.run(&["rotate", "alerts"]);
    let verifying = || rig.credential("alerts").is_some_and(|line| line["phase"] == "verifying");
    rig.until("a key is proven", verifying).await;
    seen.look(&rig, &daemon).await;
    let known = secrets(&rig);
    let search = Search::new(known.iter().map(|(name, secret)| (name.clone(), secret.as_str())));
    let core = search.hits(&memory::writable(daemon.child.id()));
    let encodings: BTreeSet<&str> =
        core.keys().filter(|(name, _)| name.contains("SK")).map(|(_, form)| *form).collect();
    assert!(encodings.contains("clear") && encodings.contains("base64"), "a core file would hold nothing: {core:?}");
    // Another program that ends in the same way leaves one.
    let other = tempfile::tempdir().unwrap();
    let other = with_cores(Command::new("sh").args(["-c", "kill -ABRT $$"]), other.path());
    assert!(left_a_core(other), "no core file is ever written here");
    signal(&daemon, Signal::ABORT);
    assert!(!left_a_core(daemon), "the daemon wrote a core file");
    seen.files(rig.dir.path());

    rig.sandbox.world().lock().script.clear();
    let daemon = rig.start();
    rig.until_settled(3).await;
    seen.look(&rig, &daemon).await;
    drop(daemon);
    seen.files(rig.dir.path());
    assert!(secrets(&rig).len() >= 8, "{}", secrets(&rig).len());
    seen.expect_no_secret(&rig);
    // At its loudest it has every call of ours; libraries are held at WARN, for what they say may hold requests.
    let log = fs::read_to_string(home.join("stderr")).unwrap();
    let mut loud = log.lines().filter(|line| line.contains("\"DEBUG\"") || line.contains("\"TRACE\"")).peekable();
    assert!(loud.peek().is_some(), "{log}");
    let ours =
        |line: &&str| ["peer", "credential", "account"].iter().any(|field| line.contains(&format!("\"{field}\":")));
    assert_eq!(loud.find(|line| !ours(line)), None, "a library says more than its warnings");
    let places = seen.places();
    // Nothing of ours was ever put there; were it otherwise, it was searched.
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "a temporary file was left");
    for place in ["stderr", "journal.db", "journal.db-wal", "journal.db-shm", "journal.db.witness", "rekeyd plan"] {
        assert!(places.get(place).is_some_and(|size| *size > 0), "{place} was not searched: {places:?}");
    }
    assert!(!places.keys().any(|place| place.starts_with("core")), "{places:?}");
    // Beside these: the folder for temporary files and the core file, of which neither came about.
    counted("canary places", places.len() + 2);
}

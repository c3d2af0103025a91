//! An installation of the daemon: its policy and journal in a folder, its counterparts, and consumers that use what the
//! sinks serve all the time.

use crate::support::emulator;
use crate::support::openapi::Judge;
use crate::support::openbao::{self, Root};
use crate::support::server::free_port;
use rekeyd::model::key::KeySid;
use rekeyd::sandbox::{Faults, KeyKind, Latency, NewKey, Options, Sandbox};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What an installation is made of; everything in it ends with it.
pub struct Rig {
    pub dir: TempDir,
    pub sandbox: Sandbox,
    pub names: Vec<String>,
    pub port: u16,
    /// What the binary finds in its environment beside the credentials of AWS.
    pub environment: Vec<(&'static str, String)>,
    /// What the binary calls Vault with.
    pub token: String,
    /// Where Twilio is for consumers of these credentials, if not where it usually is.
    pub elsewhere: BTreeMap<String, String>,
    prefix: String,
    pub(crate) judge: Judge,
}

/// A running daemon; killed if the test ends without having stopped it.
pub struct Process {
    pub child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The figures of the policy that a test may want otherwise.
pub struct Figures {
    pub rotate_every: &'static str,
    pub grace: &'static str,
    pub verify: &'static str,
    pub settle: &'static str,
}

pub const QUICK: Figures =
    Figures { rotate_every: "1h", grace: "3s", verify: "{ successes = 2, over = \"1s\" }", settle: "3s" };

/// How long anything may take; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

impl Rig {
    /// An installation with these credentials, each at a place of Vault, Secrets Manager and a directory.
    pub async fn new(names: &[&str], figures: Figures) -> Self {
        Self::with_faults(
            names,
            figures,
            Faults { key_delay_ms: 300, latency_ms: Latency::Fixed(5), ..Faults::default() },
        )
        .await
    }

    pub async fn with_faults(names: &[&str], figures: Figures, faults: Faults) -> Self {
        Self::with_options(names, figures, Options { faults, ..Options::default() }).await
    }

    pub async fn with_options(names: &[&str], figures: Figures, options: Options) -> Self {
        let (dir, judge) = (tempfile::tempdir().unwrap(), Judge::default());
        let sandbox = Sandbox::start(Options { witness: judge.witness(), ..options }).await.unwrap();
        let prefix = dir.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_owned();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let new = json!({ "policies": ["root"], "no_parent": true });
        let token = Root::new(openbao::shared()).call("POST", "auth/token/create", new).await;
        let token = token["auth"]["client_token"].as_str().unwrap().to_owned();
        let environment = vec![("USER", "tester".to_owned()), ("REKEYD_LOG", "trace".to_owned())];
        let (port, elsewhere) = (free_port(), BTreeMap::new());
        let rig = Self { dir, sandbox, names, port, environment, token, elsewhere, prefix, judge };
        fs::create_dir(rig.path("secrets")).unwrap();
        fs::set_permissions(rig.path("secrets"), fs::Permissions::from_mode(0o700)).unwrap();
        private(&rig.path("main_key"), rig.sandbox.main_key().1.expose());
        private(&rig.path("token"), &rig.token);
        fs::write(rig.path("policy.toml"), rig.policy(&figures, "")).unwrap();
        rig
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The policy, with more lines for each credential.
    pub fn policy(&self, figures: &Figures, more: &str) -> String {
        let (vault, aws) = (openbao::shared().url(), emulator::shared().url());
        let (dir, port, url) = (self.dir.path().display(), self.port, self.sandbox.url());
        let (account, main_key) = (self.sandbox.account_sid(), self.sandbox.main_key().0);
        let Figures { rotate_every, grace, verify, settle } = figures;
        let credential = |name: &String| {
            let prefix = &self.prefix;
            format!(
                r#"
[[credentials]]
name = "{name}"
publish_to = [{{ sink = "vault", path = "{prefix}/{name}" }}, {{ sink = "aws", name = "{prefix}/{name}" }}, {{ sink = "files", name = "{name}.json" }}]
{more}"#
            )
        };
        let credentials: String = self.names.iter().map(credential).collect();
        format!(
            r#"
[daemon]
instance = "test"
state = "sqlite://{dir}/journal.db"
listen = "127.0.0.1:{port}"

[twilio]
account_sid = "{account}"
main_key_sid = "{main_key}"
main_key_secret_file = "{dir}/main_key"
base_url = "{url}"

[sinks.vault]
kind = "vault"
address = "{vault}"
mount = "secret"
auth = {{ method = "token", token_file = "{dir}/token" }}

[sinks.aws]
kind = "aws-secrets-manager"
region = "eu-west-1"
endpoint_url = "{aws}"

[sinks.files]
kind = "directory"
path = "{dir}/secrets"

[defaults]
rotate_every = "{rotate_every}"
grace = "{grace}"
verify = {verify}

[timing]
tick = "1s"
settle = "{settle}"
sweep = "3s"
reconcile = "5s"
allow_short = true

[limits]
creates_per_hour = 1000
deletes_per_hour = 1000
{credentials}"#
        )
    }

    /// A command of the binary on this installation.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeyd"));
        command.args(args).arg("--config").arg(self.path("policy.toml"));
        command.env_clear().env("AWS_ACCESS_KEY_ID", "GOOD").env("AWS_SECRET_ACCESS_KEY", AWS_SECRET);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Starts the daemon; what it says goes to the end of `log`.
    pub fn start(&self) -> Process {
        let log = || OpenOptions::new().append(true).create(true).open(self.path("log")).unwrap();
        let child = self.command(&["run"]).stdin(Stdio::null()).stdout(log()).stderr(log()).spawn().unwrap();
        Process { child }
    }

    /// Starts the daemon with a log that nobody reads and that has no room left; it is full for as long as the reader lives.
    pub fn start_unread(&self) -> (Process, std::io::PipeReader) {
        use std::io::Write as _;
        let (reader, mut full) = std::io::pipe().unwrap();
        // A pipe holds 64 KiB (pipe(7)): whoever writes to it now waits.
        full.write_all(&[b'.'; 65_536]).unwrap();
        let mut command = self.command(&["run", "--log", "trace"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(full).spawn().unwrap();
        (Process { child }, reader)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// `rekeyd status --json`, once there is a journal.
    pub fn status(&self) -> Option<Value> {
        serde_json::from_slice(&self.run(&["status", "--json"]).stdout).ok()
    }

    /// One credential's part of the status.
    pub fn credential(&self, name: &str) -> Option<Value> {
        let status = self.status()?;
        status["credentials"].as_array()?.iter().find(|line| line["credential"] == name).cloned()
    }

    /// Waits until something is true, and fails with the log if it does not come true.
    pub async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            if start.elapsed() > PATIENCE {
                let status = self.status().unwrap_or_default();
                panic!("it did not come to pass: {what}\n{status:#}\n{}", tail(&self.log()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the log has said something so many times.
    pub async fn until_told(&self, words: &str, times: usize) {
        self.until(words, || self.log().matches(words).count() >= times).await;
    }

    /// Waits until every credential is at rest after so many rotations, with nothing left over in the account.
    pub async fn until_settled(&self, rotations: u64) {
        let settled = || {
            let Some(status) = self.status() else { return false };
            let lines = status["credentials"].as_array().cloned().unwrap_or_default();
            let rest = |line: &Value| {
                line["phase"] == "serving"
                    && line["rotations_completed"].as_u64() >= Some(rotations)
                    && line["strays"].as_array().is_some_and(Vec::is_empty)
            };
            lines.len() == self.names.len() && lines.iter().all(rest)
        };
        self.until(&format!("{rotations} rotations of every credential"), settled).await;
    }

    /// What a consumer would read now, from each of the three places of a credential.
    pub async fn served(&self, name: &str) -> BTreeMap<&'static str, Option<Value>> {
        let at = format!("{}/{name}", self.prefix);
        let vault = Root::new(openbao::shared()).send("GET", &format!("secret/data/{at}"), String::new()).await;
        let vault: Option<Value> = (vault.0 == 200).then(|| serde_json::from_str(&vault.1).unwrap());
        let client = aws_sdk_secretsmanager::Client::new(&emulator::config(&emulator::shared().url(), "GOOD"));
        let aws = client.get_secret_value().secret_id(&at).version_stage("AWSCURRENT").send().await.ok();
        let aws = aws.and_then(|answer| answer.secret_string).and_then(|text| serde_json::from_str(&text).ok());
        let file = fs::read_to_string(self.path("secrets").join(format!("{name}.json"))).ok();
        let file = file.and_then(|text| serde_json::from_str(&text).ok());
        BTreeMap::from([("vault", vault.map(|answer| answer["data"]["data"].clone())), ("aws", aws), ("files", file)])
    }

    /// Writes the same to every place, as a person would.
    pub async fn write(&self, name: &str, value: &Value) {
        let at = format!("{}/{name}", self.prefix);
        Root::new(openbao::shared()).call("POST", &format!("secret/data/{at}"), json!({ "data": value })).await;
        let client = aws_sdk_secretsmanager::Client::new(&emulator::config(&emulator::shared().url(), "GOOD"));
        client.create_secret().name(&at).secret_string(value.to_string()).send().await.unwrap();
        private(&self.path("secrets").join(format!("{name}.json")), &value.to_string());
    }

    /// All places of every credential serve one and the same live key; answers those keys.
    pub async fn agreed(&self) -> BTreeSet<KeySid> {
        let mut keys = BTreeSet::new();
        for name in &self.names {
            let served = self.served(name).await;
            let sids: BTreeSet<String> = served
                .values()
                .map(|value| value.as_ref().unwrap()["apiKeySid"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(sids.len(), 1, "{name} is served differently: {served:?}");
            let sid = KeySid::new(sids.first().unwrap()).unwrap();
            let world = self.sandbox.world().lock();
            let key = world.key(&sid).unwrap();
            assert!(key.deleted.is_none(), "{name} is served by a deleted key");
            for value in served.values() {
                assert_eq!(value.as_ref().unwrap()["apiKeySecret"], key.secret.expose());
            }
            drop(world);
            keys.insert(sid);
        }
        keys
    }

    /// The keys in the account that live, other than the Main key.
    pub fn live(&self) -> BTreeSet<KeySid> {
        let main = self.sandbox.main_key().0;
        let world = self.sandbox.world().lock();
        world.keys().filter(|key| key.deleted.is_none() && key.sid != main).map(|key| key.sid.clone()).collect()
    }

    /// A key that a person made.
    pub fn foreign(&self, label: &str) -> KeySid {
        let (now, account) = (self.sandbox.world().now(), self.sandbox.account_sid().clone());
        let new = NewKey { account, kind: KeyKind::Standard, name: Some(label.to_owned()), pair: None };
        self.sandbox.world().lock().make_by_hand(now, new)
    }

    /// Starts a consumer per place; they read and call without a pause worth naming.
    pub fn consumers(&self) -> Consumers {
        let refusals: Arc<Mutex<Vec<String>>> = Arc::default();
        let calls: Arc<AtomicU64> = Arc::default();
        let consumer = |name: &String, place: &'static str| {
            let url = self.elsewhere.get(name).cloned().unwrap_or_else(|| self.sandbox.url());
            let account = self.sandbox.account_sid().to_string();
            let source = Source::new(self, name, place);
            tokio::spawn(consume(source, url, account, calls.clone(), refusals.clone()))
        };
        let tasks = self.names.iter().flat_map(|name| ["vault", "aws", "files"].map(|place| consumer(name, place)));
        Consumers { tasks: tasks.collect(), calls: calls.clone(), refusals: refusals.clone() }
    }

    /// The metrics of the running daemon.
    pub async fn metrics(&self) -> String {
        reqwest::get(format!("http://127.0.0.1:{}/metrics", self.port)).await.unwrap().text().await.unwrap()
    }

    pub async fn probe(&self, path: &str) -> Option<u16> {
        Some(reqwest::get(format!("http://127.0.0.1:{}{path}", self.port)).await.ok()?.status().as_u16())
    }
}

/// The secret that signs calls to the emulator; it must not show up anywhere either.
pub const AWS_SECRET: &str = "awsSecretCanary0123456789abcdefghijklmno";

/// Programs that use what the sinks serve.
pub struct Consumers {
    tasks: Vec<tokio::task::JoinHandle<()>>,
    pub calls: Arc<AtomicU64>,
    refusals: Arc<Mutex<Vec<String>>>,
}

impl Consumers {
    /// Stops them; none may ever have held a key that did not work, and they must have been busy.
    pub fn stop(self, at_least: u64) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        let refusals = self.refusals.lock().unwrap().clone();
        assert!(refusals.is_empty(), "consumers were refused: {refusals:#?}");
        let calls = self.calls.load(Ordering::Relaxed);
        assert!(calls >= at_least, "the consumers made only {calls} calls");
    }
}

/// Where one consumer reads.
enum Source {
    Vault(Root, String),
    Aws(Box<aws_sdk_secretsmanager::Client>, String),
    File(PathBuf),
}

impl Source {
    fn new(rig: &Rig, name: &str, place: &str) -> Self {
        let at = format!("{}/{name}", rig.prefix);
        match place {
            "vault" => Source::Vault(Root::new(openbao::shared()), format!("secret/data/{at}")),
            "aws" => {
                let config = emulator::config(&emulator::shared().url(), "GOOD");
                Source::Aws(Box::new(aws_sdk_secretsmanager::Client::new(&config)), at)
            }
            _ => Source::File(rig.path("secrets").join(format!("{name}.json"))),
        }
    }

    async fn read(&self) -> Option<Value> {
        match self {
            Source::Vault(root, path) => {
                let (status, text) = root.send("GET", path, String::new()).await;
                let answer: Value = serde_json::from_str(&text).ok()?;
                (status == 200).then(|| answer["data"]["data"].clone())
            }
            Source::Aws(client, name) => {
                let answer = client.get_secret_value().secret_id(name).version_stage("AWSCURRENT").send().await.ok()?;
                serde_json::from_str(&answer.secret_string?).ok()
            }
            Source::File(path) => serde_json::from_str(&fs::read_to_string(path).ok()?).ok(),
        }
    }
}

async fn consume(
    source: Source,
    url: String,
    account: String,
    calls: Arc<AtomicU64>,
    refusals: Arc<Mutex<Vec<String>>>,
) {
    let client = reqwest::Client::new();
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let Some(pair) = source.read().await else { continue };
        let (Some(sid), Some(secret)) = (pair["apiKeySid"].as_str(), pair["apiKeySecret"].as_str()) else {
            refusals.lock().unwrap().push(format!("a value without a pair: {pair}"));
            continue;
        };
        let target = format!("{url}/2010-04-01/Accounts/{account}/Messages.json?PageSize=1");
        if let Ok(answer) = client.get(target).basic_auth(sid, Some(secret)).send().await {
            calls.fetch_add(1, Ordering::Relaxed);
            if answer.status() == 401 {
                refusals.lock().unwrap().push(format!("{sid} was refused"));
            }
        }
    }
}

/// Writes a file for its owner only.
pub fn private(path: &Path, text: &str) {
    File::create(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path, text).unwrap();
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> =
        log.lines().filter(|line| !line.contains("\"TRACE\"") && !line.contains("\"DEBUG\"")).collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// Sends a signal by number, as `kill` would.
pub fn signal(process: &Process, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(&process.child);
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Kills it as `kill -9` does, and waits until it is gone.
pub fn kill9(mut process: Process) {
    process.child.kill().unwrap();
    process.child.wait().unwrap();
}

/// A JSON object that a person put somewhere.
pub fn by_hand(sid: &KeySid, secret: &str) -> Value {
    json!({ "accountSid": "x", "apiKeySid": sid.as_str(), "apiKeySecret": secret, "note": "made by hand" })
}

//! One installation to be ill-treated: one credential, one place in one sink, a sandbox of its own, and a consumer that
//! reads and calls all the time. The servers are shared by all installations of a test process.

use super::process::Daemon;
use super::record::Watch;
use crate::daemon::rig::{AWS_SECRET, Process, private};
use crate::support::openapi::Judge;
use crate::support::openbao::{self, Root};
use crate::support::server::Server;
use crate::support::{emulator, postgres};
use rekeyd::adapters::clock::SystemClock;
use rekeyd::adapters::journal::{Access, AnyJournal};
use rekeyd::model::event::Entry;
use rekeyd::model::key::KeySid;
use rekeyd::model::names::{CredentialName, Instance};
use rekeyd::model::policy::{PostgresState, StateUrl};
use rekeyd::sandbox::{KeyKind, NewKey, Options, Sandbox};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where the journal lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ledger {
    Sqlite,
    Postgres,
}

/// Where the secret is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    Vault,
    Aws,
}

/// Ordinary keys.
pub const STANDARD: &str = "";
/// Keys that may do just what the consumer does.
pub const RESTRICTED: &str = "type = \"restricted\"\nallow = [\"/twilio/messaging/messages/list\"]";

/// The name of the one credential.
pub const NAME: &str = "billing-sms";

/// How long anything may take; many daemons share the machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// What a policy says that a test may want otherwise.
#[derive(Clone)]
pub struct Terms {
    pub rotate_every: &'static str,
    pub grace: Duration,
    /// Where Twilio and the sinks are, if not where they are: behind a proxy or a front.
    pub twilio: Option<String>,
    pub vault: Option<String>,
    pub aws: Option<String>,
    /// Whether the daemon is lied to by its clock.
    pub lying: bool,
}

/// Rotates as soon as may be, with a second of grace.
pub const HASTY: Terms =
    Terms { rotate_every: "3s", grace: Duration::from_secs(1), twilio: None, vault: None, aws: None, lying: false };
/// Rotates once, and then not again while a test lasts.
pub const CALM: Terms = Terms { rotate_every: "1h", ..HASTY };

/// An installation; everything in it ends with it.
pub struct Ground {
    pub dir: TempDir,
    pub sandbox: Sandbox,
    pub store: Store,
    pub state: StateUrl,
    /// A key that a person made, which nobody may touch.
    pub foreign: KeySid,
    pub watch: Watch,
    /// The place of the secret in the sink.
    pub at: String,
    /// What the policy says of the credential's keys.
    keys: &'static str,
    /// What the binary finds in its environment beside what every one does.
    pub environment: Vec<(&'static str, String)>,
    starts: AtomicU32,
    _judge: Judge,
}

fn database_server() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| postgres::start(&["fsync=off", "max_connections=300"]))
}

impl Ground {
    pub async fn new(ledger: Ledger, store: Store) -> Self {
        Self::of(ledger, store, STANDARD).await
    }

    pub async fn of(ledger: Ledger, store: Store, keys: &'static str) -> Self {
        let (dir, judge) = (tempfile::tempdir().unwrap(), Judge::default());
        let options = Options { seed: Some(7), witness: judge.witness(), ..Options::default() };
        let sandbox = Sandbox::start(options).await.unwrap();
        let state = match ledger {
            Ledger::Sqlite => StateUrl::Sqlite(dir.path().join("journal.db")),
            Ledger::Postgres => StateUrl::Postgres(postgres::fresh(database_server()).await),
        };
        let at = format!("{}/{NAME}", dir.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.'));
        private(&dir.path().join("main_key"), sandbox.main_key().1.expose());
        private(&dir.path().join("token"), openbao::ROOT);
        let account = sandbox.account_sid().clone();
        let new = NewKey { account, kind: KeyKind::Standard, name: Some("by hand".into()), pair: None };
        let foreign = sandbox.world().lock().make_by_hand(sandbox.world().now(), new);
        let watch = Watch::start(&sandbox, Source::new(store, &at));
        let (environment, starts) = (Vec::new(), AtomicU32::new(0));
        Self { dir, sandbox, store, state, foreign, watch, at, keys, environment, starts, _judge: judge }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn policy(&self, terms: &Terms) -> String {
        let dir = self.dir.path().display();
        let state = match &self.state {
            StateUrl::Sqlite(path) => format!("sqlite://{}", path.display()),
            StateUrl::Postgres(state) => state.url.to_string(),
        };
        let (account, main_key) = (self.sandbox.account_sid(), self.sandbox.main_key().0);
        let url = terms.twilio.clone().unwrap_or_else(|| self.sandbox.url());
        let keys = self.keys;
        let (at, grace, every) = (&self.at, terms.grace.as_secs(), terms.rotate_every);
        let (sink, place) = match self.store {
            Store::Vault => {
                let address = terms.vault.clone().unwrap_or_else(|| openbao::shared().url());
                let auth = format!("auth = {{ method = \"token\", token_file = \"{dir}/token\" }}");
                (format!("kind = \"vault\"\naddress = \"{address}\"\nmount = \"secret\"\n{auth}"), "path")
            }
            Store::Aws => {
                let address = terms.aws.clone().unwrap_or_else(|| emulator::shared().url());
                let kind = "kind = \"aws-secrets-manager\"\nregion = \"eu-west-1\"";
                (format!("{kind}\nendpoint_url = \"{address}\""), "name")
            }
        };
        format!(
            r#"
[daemon]
instance = "test"
state = "{state}"
listen = "127.0.0.1:0"

[twilio]
account_sid = "{account}"
main_key_sid = "{main_key}"
main_key_secret_file = "{dir}/main_key"
base_url = "{url}"

[sinks.store]
{sink}

[defaults]
rotate_every = "{every}"
grace = "{grace}s"
verify = {{ successes = 1, over = "0s" }}

[timing]
tick = "1s"
settle = "1s"
sweep = "1s"
reconcile = "1s"
allow_short = true

[limits]
creates_per_hour = 1000
deletes_per_hour = 1000

[[credentials]]
name = "{NAME}"
{keys}
publish_to = [{{ sink = "store", {place} = "{at}" }}]
"#
        )
    }

    /// Writes the policy; daemons that start from now on work by it.
    pub fn set(&self, terms: &Terms) {
        fs::write(self.path("policy.toml"), self.policy(terms)).unwrap();
    }

    /// The command line of the binary, perhaps behind the words of another program.
    pub fn command(&self, before: &[&str], args: &[&str]) -> Command {
        let words = [before, &[env!("CARGO_BIN_EXE_rekeyd")], args].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("--config").arg(self.path("policy.toml"));
        command.env_clear().env("AWS_ACCESS_KEY_ID", "GOOD").env("AWS_SECRET_ACCESS_KEY", AWS_SECRET);
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("USER", "tester").stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(&[], args).output().unwrap()
    }

    /// Starts a daemon that works by these terms; what it says goes to a file of its own.
    pub fn start(&self, terms: &Terms, ordeal: &str) -> Daemon {
        self.set(terms);
        self.launch(self.command(&[], &["run"]).env("REKEYD_ORDEAL", ordeal))
    }

    pub fn launch(&self, command: &mut Command) -> Daemon {
        let log = self.path(&format!("log.{}", self.starts.fetch_add(1, Ordering::SeqCst)));
        let file = File::create(&log).unwrap();
        fs::set_permissions(&log, fs::Permissions::from_mode(0o600)).unwrap();
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Daemon { process: Process { child }, log }
    }

    /// Says something to the journal's server that a daemon would not.
    pub async fn sql(&self, text: &str) {
        let StateUrl::Postgres(state) = &self.state else { return };
        postgres::sql(state, sqlx::AssertSqlSafe(text.to_owned())).await;
    }

    /// As if a minute had passed since a process died: its claim has run out. Otherwise each death would cost a minute
    /// of waiting, in which nothing happens that a test could see.
    pub async fn a_minute_passes(&self) {
        let past = "clock_timestamp() - interval '1 second'";
        self.sql(&format!("UPDATE rekeyd.credential SET leased_until = {past} WHERE leased_until IS NOT NULL")).await;
    }

    /// The journal's history of the credential, read as a visitor reads it.
    pub async fn history(&self) -> Vec<Entry> {
        let instance = Instance::new("test").unwrap();
        let clock = Arc::new(SystemClock::new());
        let opened = AnyJournal::open(&self.state, &instance, Access::Visitor, clock, None).await.unwrap();
        let entries = opened.port().history(&CredentialName::new(NAME).unwrap()).await.unwrap();
        opened.close().await;
        entries
    }

    /// Waits until the daemon says that it is at rest, and the sandbox and the sink say so too: one key of ours lives, and
    /// it is the one that is served.
    pub async fn until_at_rest(&self, daemon: &mut Daemon) {
        self.until_at_rest_but(0, daemon).await;
    }

    /// The same, and at most so many keys more, which the daemon reports and leaves to a person.
    pub async fn until_at_rest_but(&self, left: usize, daemon: &mut Daemon) {
        let start = Instant::now();
        let mut times = 0;
        // Twice with a sweep between them, so that a key that turns up late is seen.
        while times < 2 {
            let left = daemon.unexplained().await.min(left);
            let (living, served) = (self.living(), self.served().await);
            let one = living.len() == 1 + left && served.is_some_and(|served| living.contains(&served));
            times = if one && daemon.rests().await { times + 1 } else { 0 };
            assert!(start.elapsed() < PATIENCE, "it does not come to rest\n{}\n{living:?}", daemon.last_words());
            let ended = daemon.process.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended by itself: {ended:?}\n{}", daemon.last_words());
            tokio::time::sleep(Duration::from_millis(if times > 0 { 600 } else { 100 })).await;
        }
    }

    /// Rotates once more, as an operator would, and waits for the end of it.
    pub async fn rotated(&self, daemon: &mut Daemon) {
        let before = self.served().await;
        let asked = self.run(&["rotate", NAME]);
        assert!(asked.status.success(), "{asked:?}");
        let start = Instant::now();
        while self.served().await == before {
            assert!(start.elapsed() < PATIENCE, "it does not rotate\n{}", daemon.last_words());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.until_at_rest(daemon).await;
    }

    /// The key that the sink serves.
    pub async fn served(&self) -> Option<KeySid> {
        let value = Source::new(self.store, &self.at).read().await?;
        KeySid::new(value["apiKeySid"].as_str()?).ok()
    }

    /// The keys that live and were made by nobody but the daemon.
    pub fn living(&self) -> Vec<KeySid> {
        let main = self.sandbox.main_key().0;
        let world = self.sandbox.world().lock();
        let ours = world.keys().filter(|key| key.deleted.is_none() && key.sid != main && key.sid != self.foreign);
        ours.map(|key| key.sid.clone()).collect()
    }

    /// Removes the database; a hundred of them would fill the disk.
    pub async fn clear(self) {
        if let StateUrl::Postgres(PostgresState { url, .. }) = &self.state {
            let name = url.path().trim_start_matches('/');
            let drop = format!("DROP DATABASE {name} WITH (FORCE)");
            let server = postgres::database(database_server(), "postgres");
            postgres::sql(&server, sqlx::AssertSqlSafe(drop)).await;
        }
    }
}

/// Where a consumer reads.
pub enum Source {
    Vault(Root, String),
    Aws(Box<aws_sdk_secretsmanager::Client>, String),
}

impl Source {
    pub fn new(store: Store, at: &str) -> Self {
        match store {
            Store::Vault => Source::Vault(Root::new(openbao::shared()), format!("secret/data/{at}")),
            Store::Aws => {
                let config = emulator::config(&emulator::shared().url(), "GOOD");
                Source::Aws(Box::new(aws_sdk_secretsmanager::Client::new(&config)), at.to_owned())
            }
        }
    }

    /// What is served now.
    pub async fn read(&self) -> Option<Value> {
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
        }
    }
}

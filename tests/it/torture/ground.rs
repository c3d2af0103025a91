//! An installation to be ill-treated: one credential, or a fleet of them, each with one place in one sink; a sandbox of its
//! own, and consumers that read and call all the time. The servers are shared by all installations of a test process.

use super::consumer::{Caller, Source, Watch, served};
use super::process::Daemon;
use crate::daemon::rig::{AWS_SECRET, Process, private};
use crate::support::openapi::Judge;
use crate::support::openbao;
use crate::support::server::Server;
use crate::support::{emulator, postgres};
use rekeyd::adapters::clock::SystemClock;
use rekeyd::adapters::journal::{Access, AnyJournal};
use rekeyd::model::event::{Entry, Event};
use rekeyd::model::key::{AccountSid, KeySid};
use rekeyd::model::names::{CredentialName, Instance};
use rekeyd::model::policy::{PostgresState, StateUrl};
use rekeyd::sandbox::{KeyKind, NewKey, Options, Sandbox};
use serde_json::{Value, json};
use std::collections::BTreeSet;
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

/// What kind of key is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Ordinary ones.
    Standard,
    /// Keys that may do just what the consumer does.
    Restricted,
    /// What signs the requests of a consumer, in an account that wants all of them signed.
    Pair,
    /// The account's auth token, which the consumer has already.
    Token,
}

impl Keys {
    /// What the policy says of them.
    fn terms(self) -> &'static str {
        match self {
            Keys::Standard => "",
            Keys::Restricted => "type = \"restricted\"\nallow = [\"/twilio/messaging/messages/list\"]",
            Keys::Pair => "kind = \"key-pair\"",
            Keys::Token => "kind = \"auth-token\"\nsuppress_email_notification = true",
        }
    }
}

/// The name of the one credential.
pub const NAME: &str = "billing-sms";
/// The name of the fleet.
pub const FLEET: &str = "customers";
/// How its members are rotated.
pub const WAVES: &str = "{ canary = 1, hold = \"1s\", batch = 2 }";

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
    /// What kind of key is wanted from now on, if not that of the beginning.
    pub keys: Option<Keys>,
    /// How the members of a fleet are rotated.
    pub waves: &'static str,
}

/// Rotates as soon as may be, with a second of grace.
pub const HASTY: Terms = Terms {
    rotate_every: "3s",
    grace: Duration::from_secs(1),
    twilio: None,
    vault: None,
    aws: None,
    lying: false,
    keys: None,
    waves: WAVES,
};
/// Rotates once, and then not again while a test lasts.
pub const CALM: Terms = Terms { rotate_every: "1h", ..HASTY };

/// One credential: whose it is, where it is served, and who reads it there.
pub struct Seat {
    pub name: CredentialName,
    pub account: AccountSid,
    /// The place of the secret in the sink.
    pub at: String,
    pub watch: Watch,
}

/// An installation; everything in it ends with it.
pub struct Ground {
    pub dir: TempDir,
    pub sandbox: Sandbox,
    pub store: Store,
    pub state: StateUrl,
    /// What nobody but a person may touch: keys made by hand, the Main key, and what rekeyd itself signs with.
    pub foreign: BTreeSet<KeySid>,
    /// The one credential, or one in each account of the fleet; the first goes first.
    pub seats: Vec<Seat>,
    keys: Keys,
    /// What the policy signs the requests of rekeyd itself with.
    pkcv: String,
    /// What the binary finds in its environment beside what every one does.
    pub environment: Vec<(&'static str, String)>,
    starts: AtomicU32,
    _judge: Judge,
}

pub fn database_server() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| postgres::start(&["fsync=off", "max_connections=300"]))
}

impl Ground {
    pub async fn new(ledger: Ledger, store: Store) -> Self {
        Self::of(ledger, store, Keys::Standard).await
    }

    /// With one credential, in the account of the Main key.
    pub async fn of(ledger: Ledger, store: Store, keys: Keys) -> Self {
        let mut ground = Self::bare(ledger, store, keys).await;
        if keys == Keys::Pair {
            ground.enforce_signatures();
        }
        let (name, account) = (CredentialName::new(NAME).unwrap(), ground.sandbox.account_sid().clone());
        if keys == Keys::Token {
            ground.pkcv = "allow_auth_tokens = true".to_owned();
            let token = ground.sandbox.account_token(&account).unwrap();
            let value = json!({ "accountSid": account.as_str(), "authToken": token.expose() });
            Source::new(store, &ground.place(NAME)).write(&value).await;
        }
        ground.take_seat(name, account, Duration::from_millis(120));
        ground
    }

    /// Where the secret lies in the sink.
    fn place(&self, last: &str) -> String {
        let folder = self.dir.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.');
        format!("{folder}/{last}")
    }

    /// With a fleet of so many, each in a subaccount, opened one after the other: the oldest goes first.
    pub async fn with_fleet(ledger: Ledger, store: Store, members: i64) -> Self {
        let mut ground = Self::bare(ledger, store, Keys::Standard).await;
        for number in 0..members {
            let opened =
                ground.sandbox.world().now() - Duration::from_secs(3600) + Duration::from_secs(60 * number as u64);
            let parent = Some(ground.sandbox.account_sid().clone());
            let account = ground.sandbox.world().lock().open_account(opened, None, parent);
            let name = format!("{FLEET}-{}", account.as_str()[24..].to_ascii_lowercase());
            ground.take_seat(CredentialName::new(&name).unwrap(), account, Duration::from_millis(500));
        }
        ground
    }

    /// With nothing to rotate yet.
    async fn bare(ledger: Ledger, store: Store, keys: Keys) -> Self {
        let (dir, judge) = (tempfile::tempdir().unwrap(), Judge::default());
        let options = Options { seed: Some(7), witness: judge.witness(), ..Options::default() };
        let sandbox = Sandbox::start(options).await.unwrap();
        let state = match ledger {
            Ledger::Sqlite => StateUrl::Sqlite(dir.path().join("journal.db")),
            Ledger::Postgres => StateUrl::Postgres(postgres::fresh(database_server()).await),
        };
        private(&dir.path().join("main_key"), sandbox.main_key().1.expose());
        private(&dir.path().join("token"), openbao::ROOT);
        let foreign = BTreeSet::from([sandbox.main_key().0]);
        let (environment, starts, seats, pkcv) = (Vec::new(), AtomicU32::new(0), Vec::new(), String::new());
        Self { dir, sandbox, store, state, foreign, seats, keys, pkcv, environment, starts, _judge: judge }
    }

    /// Has every request to the account signed, and rekeyd sign its own with a pair that is not rotated.
    fn enforce_signatures(&mut self) {
        let vectors: Value = serde_json::from_str(include_str!("../../vectors/pkcv.json")).unwrap();
        let text = |name: &str| vectors[name].as_str().unwrap();
        let file = self.path("pkcv");
        private(&file, text("rsa_private_key_pkcs8_pem"));
        let (now, account) = (self.sandbox.world().now(), self.sandbox.account_sid().clone());
        let mut world = self.sandbox.world().lock();
        assert!(world.enforce_signatures(&account, true));
        let own = world.register(now, &account, Some("by hand"), text("rsa_public_key_spki_pem")).unwrap();
        drop(world);
        self.foreign.insert(KeySid::from(&own));
        self.pkcv = format!("pkcv = {{ public_key_sid = \"{own}\", private_key_file = \"{}\" }}", file.display());
    }

    /// A credential of this name in this account, beside a key that a person made there, and with a consumer.
    fn take_seat(&mut self, name: CredentialName, account: AccountSid, pause: Duration) {
        let at = self.place(if name.as_str() == NAME { NAME } else { account.as_str() });
        let new =
            NewKey { account: account.clone(), kind: KeyKind::Standard, name: Some("by hand".into()), pair: None };
        let mut world = self.sandbox.world().lock();
        let by_hand = world.make_by_hand(self.sandbox.world().now(), new);
        let secret = world.key(&by_hand).unwrap().secret.expose().to_owned();
        drop(world);
        let beside = (self.keys == Keys::Pair).then(|| (by_hand.to_string(), secret));
        let caller = Caller { url: self.sandbox.url(), account: account.clone(), beside, pause };
        let watch = Watch::start(caller, Source::new(self.store, &at));
        self.foreign.insert(by_hand);
        self.seats.push(Seat { name, account, at, watch });
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
        let (grace, every, pkcv) = (terms.grace.as_secs(), terms.rotate_every, &self.pkcv);
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
        // To look for two large primes takes its time where forty daemons do it, and a key that Twilio dates later than this is
        // not told to be ours.
        let settle = if self.keys == Keys::Pair { "20s" } else { "1s" };
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
{pkcv}

[sinks.store]
{sink}

[defaults]
rotate_every = "{every}"
grace = "{grace}s"
verify = {{ successes = 1, over = "0s" }}

[timing]
tick = "1s"
settle = "{settle}"
sweep = "1s"
reconcile = "1s"
allow_short = true

[limits]
creates_per_hour = 1000
deletes_per_hour = 1000

{entry}"#,
            entry = self.entry(terms, place)
        )
    }

    /// What the policy says of what is rotated.
    fn entry(&self, terms: &Terms, place: &str) -> String {
        let keys = terms.keys.unwrap_or(self.keys).terms();
        let publish = |at: &str| format!("publish_to = [{{ sink = \"store\", {place} = \"{at}\" }}]\n");
        match &self.seats[..] {
            [Seat { name, at, .. }] => format!("[[credentials]]\nname = \"{name}\"\n{keys}\n{}", publish(at)),
            seats => {
                let at = seats[0].at.replace(seats[0].account.as_str(), "{account_sid}");
                let waves = terms.waves;
                format!("[[fleets]]\nname = \"{FLEET}\"\naccounts = {{}}\nwaves = {waves}\n{keys}\n{}", publish(&at))
            }
        }
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

    /// The journal's history of all credentials, read as a visitor reads it, in the order in which it was written.
    pub async fn history(&self) -> Vec<(CredentialName, Entry)> {
        let instance = Instance::new("test").unwrap();
        let clock = Arc::new(SystemClock::new());
        let opened = AnyJournal::open(&self.state, &instance, Access::Visitor, clock, None).await.unwrap();
        let mut all = Vec::new();
        for Seat { name, .. } in &self.seats {
            let entries = opened.port().history(name).await.unwrap();
            all.extend(entries.into_iter().map(|entry| (name.clone(), entry)));
        }
        opened.close().await;
        // Those of one credential come in their order already. Of two in the same millisecond, who begins comes second.
        all.sort_by_key(|(_, entry)| (entry.at.uptime, matches!(entry.event, Event::Intended(_))));
        all
    }

    /// Waits until the daemon says that it is at rest, and the sandbox and the sink say so too: in each account lives one key
    /// of ours, and it is the one that is served.
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
            let mut rests = daemon.rest(self.seats.iter().map(|seat| &seat.name)).await;
            for seat in &self.seats {
                if self.keys == Keys::Token {
                    rests &= self.has_one_token(seat).await;
                    continue;
                }
                let (living, served) = (self.living_in(seat), self.served_at(seat).await);
                rests &= living.len() == 1 + left && served.is_some_and(|served| living.contains(&served));
            }
            times = if rests { times + 1 } else { 0 };
            let living = || self.seats.iter().map(|seat| self.living_in(seat)).collect::<Vec<_>>();
            assert!(start.elapsed() < PATIENCE, "it does not come to rest\n{}\n{:?}", daemon.last_words(), living());
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

    /// The key that the sink serves: of a fleet, its first member's.
    pub async fn served(&self) -> Option<KeySid> {
        self.served_at(&self.seats[0]).await
    }

    pub async fn served_at(&self, seat: &Seat) -> Option<KeySid> {
        let value = Source::new(self.store, &seat.at).read().await?;
        Some(served(&value)?.0)
    }

    /// The account has one auth token, and that one is served and was made by rekeyd.
    async fn has_one_token(&self, seat: &Seat) -> bool {
        let value = Source::new(self.store, &seat.at).read().await.unwrap_or_default();
        let Some((sid, token)) = served(&value) else { return false };
        let primary = self.sandbox.account_token(&seat.account).unwrap();
        let alone = !self.sandbox.world().lock().has_secondary_token(&seat.account);
        alone && primary.expose() == token.expose() && sid != KeySid::first_token(&seat.account)
    }

    /// The keys that live and were made by nobody but the daemon.
    pub fn living(&self) -> Vec<KeySid> {
        self.seats.iter().flat_map(|seat| self.living_in(seat)).collect()
    }

    pub fn living_in(&self, seat: &Seat) -> Vec<KeySid> {
        let world = self.sandbox.world().lock();
        let keys = world.keys().filter(|key| key.account == seat.account && key.deleted.is_none());
        let public = world.public_keys().filter(|key| key.account == seat.account && !key.deleted);
        let all = keys.map(|key| key.sid.clone()).chain(public.map(|key| KeySid::from(&key.sid)));
        all.filter(|sid| !self.foreign.contains(sid)).collect()
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

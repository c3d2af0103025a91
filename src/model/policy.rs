//! The operator's policy, checked: a value of these types cannot be invalid. `config` makes it from the file.

pub use super::access::{Access, TwilioPolicy};
use super::document::Members;
use super::fleet::{Fleet, Membership};
use super::home::Home;
use super::key::{AccountSid, KeySid, PublicKeySid};
pub use super::kind::{Allow, KeyKind};
pub use super::listen::{Listen, ListenTls};
use super::names::{CredentialName, Instance, Place, SinkName};
pub use super::sink::{
    ApiServer, AssumeRole, ClientCertificate, KubernetesPolicy, Replica, SecretsManagerPolicy, SinkPolicy, VaultAuth,
    VaultPolicy,
};
use super::workload::Workload;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// What should be true.
#[derive(Clone)]
pub struct Policy {
    /// Names this installation.
    pub instance: Instance,
    /// Where the journal lies.
    pub state: StateUrl,
    /// Where `/metrics`, `/livez` and `/readyz` are served.
    pub listen: Listen,
    /// Twilio, and what its accounts are managed with.
    pub twilio: TwilioPolicy,
    /// The sinks by name.
    pub sinks: BTreeMap<SinkName, SinkPolicy>,
    /// When things are looked at.
    pub timing: Timing,
    /// How much may happen at most.
    pub limits: Limits,
    /// The credentials by name.
    pub credentials: BTreeMap<CredentialName, Rules>,
    /// The same credential in many accounts; its members are among the credentials once they are known.
    pub fleets: Vec<Fleet>,
    /// Where the keys of new subaccounts are published, with `{account_sid}` or `{account_name}` in the paths; nothing if
    /// `rekeyd subaccount` is not used.
    pub subaccounts: Vec<Place>,
}

/// Where the journal lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateUrl {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(PostgresState),
}

/// A PostgreSQL server, and how to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresState {
    /// User, host, port, database and options; never a password.
    pub url: Url,
    /// Where the password is, if one is needed.
    pub password: Option<SecretSource>,
}

impl PostgresState {
    /// Whether what is said to the server does not leave this machine.
    pub fn may_be_plain(&self) -> bool {
        let socket = self.url.query_pairs().any(|(key, value)| key == "host" && value.starts_with('/'));
        let host = self.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        socket || host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// What manages an account's keys: a Main key, a Restricted key that may, or an account's auth token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The account that it belongs to: the same, or its parent.
    pub account: AccountSid,
    /// The key; none for the auth token of the account, or for what a file says.
    pub key: Option<KeySid>,
    /// Where its secret, or the token, is read from at start.
    pub secret: SecretSource,
    /// How its calls are signed, where signatures are enforced.
    pub pkcv: Option<Pkcv>,
}

/// Public Key Client Validation: what requests are signed with (Twilio docs, "Public Key Client Validation").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcv {
    /// The public key, as Twilio knows it.
    pub public_key: PublicKeySid,
    /// The file of the private key, in PEM.
    pub private_key: PathBuf,
    /// How is signed.
    pub algorithm: Algorithm,
}

impl Pkcv {
    /// Whether a request to this path can be signed so that every reading of Twilio's rules agrees; none of its own paths
    /// has anything else in it.
    pub fn can_sign(path: &str) -> bool {
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
        path.strip_prefix('/')
            .is_some_and(|path| path.split('/').all(|part| plain(part) && !part.is_empty() && part != "."))
    }
}

/// The signatures that Twilio takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, 3.3).
    Rs256,
    /// RSASSA-PSS with SHA-256 (RFC 7518, 3.5).
    Ps256,
}

/// Where a secret is read from; the file never holds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file, readable by its owner only.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A file with the JSON that AWS keeps in secrets of the types `TwilioMainApiKey` and `TwilioAuthToken`: it says too
    /// which key or account it is of.
    Admin(PathBuf),
    /// A place of a sink that keeps the same JSON.
    Stored(Place),
}

impl SecretSource {
    /// The place of a sink that it is read from, if it is.
    pub fn place(&self) -> Option<&Place> {
        match self {
            SecretSource::Stored(place) => Some(place),
            SecretSource::File(_) | SecretSource::Env(_) | SecretSource::Admin(_) => None,
        }
    }
}

/// When things are looked at.
#[derive(Debug, Clone)]
pub struct Timing {
    /// How often due work is looked for.
    pub tick: Duration,
    /// How long an unanswered create may still turn up.
    pub settle: Duration,
    /// How often the keys of each account are listed, to find strays and missing keys.
    pub sweep: Duration,
    /// How often the sinks of a credential at rest are read, to find drift.
    pub reconcile: Duration,
    /// How often what each place serves is read and tried on Twilio, if it is.
    pub watch: Option<Duration>,
}

/// How much may happen at most (protocol, S12).
#[derive(Debug, Clone)]
pub struct Limits {
    /// Creates per credential in any hour.
    pub creates_per_hour: u32,
    /// Deletes per credential in any hour.
    pub deletes_per_hour: u32,
    /// Deletes per account in any hour.
    pub account_deletes_per_hour: AccountDeletes,
    /// New keys per account given up in any hour before nothing is created or deleted there any more.
    pub abandons_per_hour: u32,
    /// Calls to Twilio at the same time, per account.
    pub account_calls: usize,
    /// Calls to one sink at the same time.
    pub sink_calls: usize,
}

/// Deletes per account in any hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountDeletes {
    /// At least 10, enough for every key of the account within a day, and twice what the schedules need.
    Auto,
    /// A number.
    AtMost(u32),
}

/// What the policy wants of one credential.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Its name.
    pub name: CredentialName,
    /// Where its keys live.
    pub home: Home,
    /// When it is rotated.
    pub cadence: Cadence,
    /// How long the old key lives on.
    pub grace: Duration,
    /// What a new key must pass before anything is published.
    pub verify: Verify,
    /// The hand-made key that is replaced the first time.
    pub adopt: Option<KeySid>,
    /// What its keys are.
    pub kind: KeyKind,
    /// Where a new key is tried, in place of the account's phone numbers and messages.
    pub verify_url: Option<Url>,
    /// How the members of the published object are called.
    pub members: Members,
    /// Where it is published, places that can stage a value first.
    pub places: Vec<Place>,
    /// What is restarted once every place serves a new pair, because it reads its pair only once.
    pub restart: Vec<Workload>,
    /// How long a restart is put off, so that several rotations share it.
    pub restart_pause: Duration,
    /// The fleet it belongs to, if it does.
    pub member: Option<Membership>,
}

/// When a credential is rotated.
#[derive(Debug, Clone, PartialEq)]
pub enum Cadence {
    /// So long after the last time.
    Every(Duration),
    /// When a cron expression fires in a time zone.
    Cron(Box<Cron>),
}

/// A cron expression and its time zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Cron {
    /// The expression.
    pub pattern: croner::Cron,
    /// The zone.
    pub zone: jiff::tz::TimeZone,
    /// The shortest distance between two of its next runs, to check it against grace and limits.
    pub shortest: Duration,
}

/// What a new key must pass: this many accepted calls in a row, over at least this long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verify {
    /// Accepted calls in a row.
    pub successes: u32,
    /// From the first to the last of them.
    pub over: Duration,
}

impl Cadence {
    /// The shortest time between two rotations.
    pub fn shortest(&self) -> Duration {
        match self {
            Cadence::Every(period) => *period,
            Cadence::Cron(cron) => cron.shortest,
        }
    }
}

impl Policy {
    /// Every account, in each region that it is used in, and its budget of deletes per hour.
    pub fn delete_budgets(&self) -> BTreeMap<Home, u32> {
        let mut budgets: BTreeMap<Home, (f64, f64)> = BTreeMap::new();
        for rules in self.credentials.values() {
            let (keys, rate) = budgets.entry(rules.home.clone()).or_default();
            *keys += 1.0;
            *rate += 3600.0 / rules.cadence.shortest().as_secs_f64().max(1.0);
        }
        let auto = |(keys, rate): (f64, f64)| (keys / 24.0).max(2.0 * rate).max(10.0).ceil() as u32;
        let budget = |load| match self.limits.account_deletes_per_hour {
            AccountDeletes::AtMost(limit) => limit,
            AccountDeletes::Auto => auto(load),
        };
        budgets.into_iter().map(|(home, load)| (home, budget(load))).collect()
    }
}

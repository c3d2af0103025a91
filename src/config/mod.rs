//! The policy file: reads the operator's TOML into a [`Policy`], or says everything that is wrong with it at once.
//!
//! A [`Policy`] cannot be invalid, so nothing behind this module checks it again. Each fault names file, line, column,
//! key, and what would be accepted, and none of them shows a secret (see `mask`). Reading order: this file, then one
//! for each part of the policy (`daemon`, `twilio` with `regions` and `homes`, `sinks`, `timing`, `credentials` with
//! `cadence` and `places`, `fleets`); all of them use `reader`.

mod address;
mod cadence;
mod credentials;
mod daemon;
mod diagnostic;
mod duration;
mod fault;
mod fleets;
mod homes;
mod kind;
mod mask;
mod members;
mod membership;
mod path;
mod places;
mod reader;
mod regions;
mod restart;
mod sinks;
mod state;
mod suggest;
mod syntax;
mod timing;
mod twilio;
mod warnings;

use crate::model::policy::{
    Access, KeyKind, KubernetesPolicy, Policy, SecretSource, SinkPolicy, StateUrl, VaultAuth, VaultPolicy,
};
pub use diagnostic::{Diagnostic, Severity};
use fault::Faults;
pub use membership::{Remembered, Whole, remembered, whole};
use reader::Table;
use std::collections::HashMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

/// A policy, and what seems odd about it.
#[derive(Clone)]
pub struct Loaded {
    /// What should be true.
    pub policy: Policy,
    /// What may be said, but can hardly be meant, in the order of the file.
    pub warnings: Vec<Diagnostic>,
}

/// Everything that is wrong with a policy file, in the order of the file; at least one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyErrors(Vec<Diagnostic>);

/// Larger files are refused: 10,000 credentials take about 3 MB.
const LARGEST: u64 = 8 * 1024 * 1024;
/// More errors than this are counted, not shown.
const SHOWN: usize = 100;

/// Reads a policy from a file.
pub fn load(path: &Path) -> Result<Loaded, PolicyErrors> {
    let file = path.display().to_string();
    let refuse = |message: String| unreadable(&file, message);
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path).map_err(|error| refuse(format!("the policy can not be opened: {error}")))?;
    let read = opened.take(LARGEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| refuse(format!("the policy can not be read: {error}")))?;
    if bytes.len() as u64 > LARGEST {
        return Err(refuse(format!("the policy is larger than {} MiB", LARGEST / 1024 / 1024)));
    }
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, &file),
        Err(error) => {
            let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
            let column = valid.rsplit('\n').next().map_or(1, |line| line.chars().count() + 1);
            let mut refused = refuse("the policy is not text in UTF-8: here is a byte that can not be read".to_owned());
            (refused.0[0].line, refused.0[0].column) = (valid.split('\n').count(), column);
            Err(refused)
        }
    }
}

fn unreadable(file: &str, message: String) -> PolicyErrors {
    PolicyErrors(vec![Diagnostic {
        severity: Severity::Error,
        file: file.to_owned(),
        line: 0,
        column: 0,
        key: String::new(),
        message,
        accepts: format!("a TOML file in UTF-8, of at most {} MiB", LARGEST / 1024 / 1024),
        excerpt: None,
    }])
}

/// Reads a policy from text; the file's name is for messages only.
pub fn parse(text: &str, file: &str) -> Result<Loaded, PolicyErrors> {
    let faults = Faults::of(text);
    let document = syntax::document(text, &faults);
    let policy = read(&Table::root(document.get_ref(), &faults));
    let (errors, warnings) = faults.diagnostics(file, document.get_ref());
    match policy {
        Some(policy) if errors.is_empty() => Ok(Loaded { policy, warnings }),
        _ => Err(PolicyErrors(errors)),
    }
}

/// Reads every part, whatever is wrong with the others, and puts them together if all are right.
fn read(root: &Table<'_>) -> Option<Policy> {
    let daemon = daemon::daemon(root);
    let sinks_field = root.field("sinks");
    let sinks_table = sinks_field.as_ref().and_then(sinks::table);
    let sinks = sinks::sinks(sinks_table.as_ref());
    let twilio = twilio::twilio(root, &sinks);
    let own = twilio::accounts(root, &twilio, &sinks);
    let floors = timing::floors(root, twilio::is_loopback(&twilio, own.as_ref()));
    let timing = timing::timing(root, floors);
    let limits = timing::limits(root);

    let calendar = cadence::Calendar::default();
    let defaults_field = root.field("defaults");
    let defaults_table = defaults_field.and_then(|field| field.table("a table `[defaults]`"));
    let defaults = credentials::defaults(defaults_table.as_ref(), floors, &calendar);
    let ground = credentials::Ground {
        instance: daemon.instance.clone(),
        account: twilio.account.clone(),
        roots: twilio::roots(&twilio, own.as_ref()),
        homes: homes::Homes::new(&twilio, own.as_ref()),
        floors,
        defaults,
        calendar: &calendar,
    };
    let accesses = twilio.accesses(own.as_ref());
    let files = own_files(&daemon, accesses.clone(), &sinks);
    let credentials_field = root.field("credentials");
    let mut taken = places::Taken::new(&sinks, files, accesses.filter_map(|access| access.admin.secret.place()));
    let credentials = credentials::credentials(credentials_field, &ground, &mut taken);
    let fleets = fleets::fleets(root.field("fleets"), &ground, &taken);
    let subaccounts = places::subaccounts(root.field("subaccounts"), &taken);
    root.finish();
    warnings::unused(&sinks);

    let (credentials, mut twilio) = (credentials?, twilio.policy(own)?);
    let pairs = credentials.values().filter(|rules| rules.kind == KeyKind::KeyPair);
    twilio.key_pairs = pairs.map(|rules| rules.home.clone()).collect();
    let policy = Policy {
        instance: daemon.instance?,
        state: daemon.state?,
        listen: daemon.listen?,
        twilio,
        sinks: sinks.right,
        timing: timing?,
        limits: limits?,
        credentials,
        fleets: fleets?,
        subaccounts: subaccounts?,
    };
    warnings::limits(&policy, root.field("limits"), credentials_field);
    warnings::versions(&policy, &sinks.named);
    warnings::accounts(&policy, root.field("accounts"));
    warnings::regions(&policy, root.field("twilio"));
    if policy.credentials.is_empty() && policy.fleets.is_empty() && policy.subaccounts.is_empty() {
        root.doubt("there is nothing to rotate", "tables `[[credentials]]` or `[[fleets]]`");
    }
    Some(policy)
}

/// The files that the daemon itself reads or writes: a directory sink must not overwrite one of them.
fn own_files<'p>(
    daemon: &daemon::Daemon,
    accesses: impl Iterator<Item = &'p Access>,
    sinks: &sinks::Sinks<'_>,
) -> HashMap<PathBuf, &'static str> {
    let mut own = HashMap::new();
    if let Some(StateUrl::Sqlite(path)) = &daemon.state {
        // SQLite docs, "Temporary Files Used By SQLite"; and the two that `adapters::journal` keeps beside it.
        for end in ["", "-wal", "-shm", "-journal", ".lock", ".witness"] {
            let mut file = path.clone().into_os_string();
            file.push(end);
            own.insert(direct(file.as_ref()), "the journal");
        }
    }
    let mut add = |source: Option<&SecretSource>, what| {
        if let Some(SecretSource::File(path) | SecretSource::Admin(path)) = source {
            own.insert(direct(path), what);
        }
    };
    for Access { admin, pkcv, .. } in accesses {
        add(Some(&admin.secret), if admin.key.is_some() { "the secret of the Main key" } else { "an auth token" });
        for pkcv in admin.pkcv.iter().chain(pkcv) {
            add(Some(&SecretSource::File(pkcv.private_key.clone())), "a private key");
        }
    }
    if let Some(StateUrl::Postgres(server)) = &daemon.state {
        add(server.password.as_ref(), "the password of the journal's server");
    }
    if let Some(listen) = &daemon.listen {
        let tls = listen.tls.iter().flat_map(|files| [&files.certificate, &files.key]);
        for file in tls.chain(&listen.token) {
            add(Some(&SecretSource::File(file.clone())), "what the listener shows or asks for");
        }
    }
    for sink in sinks.right.values() {
        match sink {
            SinkPolicy::Vault(VaultPolicy { auth, ca_file, client, .. }) => {
                match auth {
                    VaultAuth::Token { token } => add(Some(token), "a token of Vault"),
                    VaultAuth::AppRole { secret_id, .. } => add(Some(secret_id), "a secret id of Vault"),
                    VaultAuth::Jwt { jwt, .. } => add(Some(jwt), "a token that Vault is shown"),
                    VaultAuth::Certificate { .. } => (),
                }
                add(ca_file.clone().map(SecretSource::File).as_ref(), "a certificate of Vault");
                for file in client.iter().flat_map(|own| [&own.certificate, &own.key]) {
                    add(Some(&SecretSource::File(file.clone())), "a certificate for Vault, or its key");
                }
            }
            SinkPolicy::Kubernetes(KubernetesPolicy { server: Some(server), .. }) => {
                add(Some(&server.token), "a token of Kubernetes");
                add(server.ca_file.clone().map(SecretSource::File).as_ref(), "a certificate of Kubernetes");
            }
            SinkPolicy::Kubernetes(_) | SinkPolicy::SecretsManager(_) | SinkPolicy::Directory { .. } => (),
        }
    }
    own
}

/// The path without its detours: `/a/b/../c` is `/a/c`, unless `b` is a link, which is for the file system to know.
fn direct(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut direct, part| {
        if part == Component::ParentDir {
            direct.pop();
        } else {
            direct.push(part);
        }
        direct
    })
}

impl PolicyErrors {
    /// The errors, in the order of the file.
    pub fn list(&self) -> &[Diagnostic] {
        &self.0
    }

    /// The text for people; `styled` adds colours, for a terminal.
    pub fn render(&self, styled: bool) -> String {
        let mut shown: Vec<String> = self.0.iter().take(SHOWN).map(|error| error.render(styled)).collect();
        shown.push(match self.0.len() {
            1 => "1 error".to_owned(),
            all if all > SHOWN => format!("{all} errors; the first {SHOWN} are shown"),
            all => format!("{all} errors"),
        });
        shown.join("\n\n")
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for PolicyErrors {}

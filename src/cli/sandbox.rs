//! `rekeyd sandbox`: a Twilio to try things on.

use super::assemble::chain;
use super::run::Signals;
use super::{CliError, Kind, load, out};
use crate::adapters::secrets;
use crate::model::home::Region;
use crate::model::key::{AccountSid, KeySid};
use crate::model::policy::SecretSource;
use crate::model::secret::Secret;
use crate::sandbox::{ErrorStatus, Fault, Faults, Latency, Options, Random, Rate, Sandbox};
use serde_json::json;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Serves a Twilio that is meaner than the real one, on loopback, until it is interrupted.
///
/// It has the Keys of API 2010-04-01, accounts, and two ordinary resources. The official SDKs can use it. While it runs,
/// it can be looked into and made meaner under /_sandbox/ (state, audit, faults, script, keys, accounts).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where it listens; only loopback.
    #[arg(long, default_value = "127.0.0.1:9700", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Writes a policy for it, and the secret of its Main key, into this directory; if there is a policy, takes the
    /// account and the Main key from that.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Makes every choice and every secret repeatable.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// The account's SID; without it, one is made up.
    #[arg(long, value_name = "AC...", value_parser = account)]
    account: Option<AccountSid>,
    /// The Main key's SID; its secret is read from --main-key-secret-file.
    #[arg(long, value_name = "SK...", value_parser = key, requires = "main_key_secret_file")]
    main_key: Option<KeySid>,
    /// The file that holds the Main key's secret.
    #[arg(long, value_name = "FILE", requires = "main_key")]
    main_key_secret_file: Option<PathBuf>,
    /// Milliseconds until a new key works.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    key_delay: u64,
    /// Milliseconds that each call takes.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// Share of calls that are answered with 429, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    throttled: f64,
    /// Share of calls that fail with 503 before anything is done, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    failing: f64,
    /// Share of calls that are done and then not answered, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    lost: f64,
    /// Makes so many subaccounts, called customer-0001 and on.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=10_000))]
    subaccounts: u16,
    /// Calls that one account may have under way.
    #[arg(long, value_name = "NUMBER")]
    concurrency: Option<u32>,
    /// Another region, with keys of its own, at an address of its own; may be given several times.
    #[arg(long = "region", value_name = "REGION=ADDRESS", value_parser = door)]
    regions: Vec<(Region, SocketAddr)>,
}

pub(super) fn account(text: &str) -> Result<AccountSid, String> {
    AccountSid::new(text).map_err(|error| format!("accepted is {error}"))
}

pub(super) fn key(text: &str) -> Result<KeySid, String> {
    KeySid::new(text).map_err(|error| format!("accepted is {error}"))
}

fn door(text: &str) -> Result<(Region, SocketAddr), String> {
    let accepted = || "accepted is a region and an address, such as ie1=127.0.0.1:9701".to_owned();
    let (name, address) = text.split_once('=').ok_or_else(accepted)?;
    let address = address.parse().map_err(|_| accepted())?;
    let region = region(name)?;
    if region == Region::us1() { Err("us1 is where --listen says".to_owned()) } else { Ok((region, address)) }
}

pub(super) fn region(text: &str) -> Result<Region, String> {
    Region::new(text).map_err(|error| format!("accepted is {error}"))
}

pub(super) async fn run(args: Args) -> Result<(), CliError> {
    let faults = faults(&args)?;
    let there = args.dir.as_ref().map(|dir| dir.join("policy.toml")).filter(|policy| policy.exists());
    let read = |source: &SecretSource| secrets::read(source).map_err(|error| CliError::failed(chain(&error)));
    let (account_sid, main_key) = match (&there, args.main_key, args.main_key_secret_file) {
        // A policy that was written before, and perhaps changed since, goes on working.
        (Some(policy), None, _) => {
            let twilio = load(policy)?.policy.twilio;
            let admin = twilio.access.admin;
            let key = admin.key.ok_or_else(|| {
                let message = format!("{}: the sandbox makes a Main key, and this policy names none", policy.display());
                CliError::new(Kind::Policy, message)
                    .hint("write `main_key_sid` and `main_key_secret_file`, or leave out --dir")
            })?;
            (Some(twilio.account), Some((key, read(&admin.secret)?)))
        }
        (_, Some(sid), Some(file)) => (args.account, Some((sid, read(&SecretSource::File(file))?))),
        (..) => (args.account, None),
    };
    let customers = usize::from(args.subaccounts);
    let (listen, seed) = (args.listen, args.seed);
    let regions = args.regions.into_iter().collect();
    let options = Options { listen, seed, account_sid, main_key, customers, regions, faults, ..Options::default() };
    let sandbox = Sandbox::start(options).await.map_err(|error| CliError::failed(chain(&error)))?;
    let (sid, secret) = sandbox.main_key();
    out::line(&format!("a sandbox of Twilio listens on {}", sandbox.url()));
    out::line(&format!("account {}, Main key {sid}", sandbox.account_sid()));
    for (region, url, (sid, secret)) in sandbox.regions() {
        out::line(&format!("region {region} listens on {url}, Main key {sid}"));
        if let Some(dir) = &args.dir {
            let file = write_main_key(dir, region, sandbox.account_sid(), (&sid, &secret)).map_err(CliError::failed)?;
            let table = format!("[twilio.regions.{region}]");
            out::line(&format!("  {table} main_key_file = \"{}\", base_url = \"{url}\"", file.display()));
        }
    }
    match &args.dir {
        Some(dir) => {
            let policy = match there {
                Some(policy) => policy,
                None => write_policy(dir, &sandbox, &sid, &secret).map_err(CliError::failed)?,
            };
            out::line(&format!("try: rekeyd run --config {}", policy.display()));
        }
        None => out::line("give --dir DIR to have a policy and the Main key's secret written for it"),
    }
    out::line("nothing is kept when it ends; keys made in it are gone then");
    Signals::listen()?.end().await;
    sandbox.stop().await;
    Ok(())
}

fn faults(args: &Args) -> Result<Faults, CliError> {
    let mut faults = Faults {
        key_delay_ms: args.key_delay,
        latency_ms: Latency::Fixed(args.latency),
        concurrency: args.concurrency,
        ..Faults::default()
    };
    let unavailable = Fault::ErrorBefore { status: ErrorStatus::UNAVAILABLE };
    let shares = [(Fault::RateLimited, args.throttled), (unavailable, args.failing), (Fault::Lost, args.lost)];
    for (fault, share) in shares {
        let rate = Rate::new(share).map_err(CliError::failed)?;
        if share > 0.0 {
            faults.random.push(Random { fault, rate, operation: None });
        }
    }
    Ok(faults)
}

/// A policy that works against this sandbox, with short times, one credential and a directory to publish to.
fn write_policy(dir: &Path, sandbox: &Sandbox, sid: &KeySid, secret: &Secret) -> std::io::Result<PathBuf> {
    let dir = std::path::absolute(dir)?;
    std::fs::create_dir_all(dir.join("secrets"))?;
    write_private(&dir.join("main_key"), secret.expose())?;
    let text = include_str!("../../config/sandbox.toml");
    let text = fill(
        text,
        &[
            ("dir", &dir.display().to_string()),
            ("url", &sandbox.url()),
            ("account", sandbox.account_sid().as_str()),
            ("main_key", sid.as_str()),
        ],
    );
    let path = dir.join("policy.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Writes the Main key of a region in the form of AWS's own secrets: it is another one in each run, and a policy that names
/// the file need not be changed for it.
fn write_main_key(
    dir: &Path,
    region: &Region,
    account: &AccountSid,
    (sid, secret): (&KeySid, &Secret),
) -> std::io::Result<PathBuf> {
    let dir = std::path::absolute(dir)?;
    std::fs::create_dir_all(&dir)?;
    let file = dir.join(format!("main_key_{region}.json"));
    let text = json!({ "accountSid": account, "adminKeySid": sid, "adminKeySecret": secret.expose() });
    write_private(&file, &text.to_string())?;
    Ok(file)
}

/// Writes a file that only its owner can read.
pub(super) fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

/// Replaces `{word}` by its value.
pub(super) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(text.to_owned(), |text, (word, value)| text.replace(&format!("{{{word}}}"), value))
}

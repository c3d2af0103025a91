//! `rekeyd main-key`: how a Main key is replaced, which only Twilio's Console can make and which nothing here ever deletes.

mod candidate;
mod charge;
mod running;
mod switch;

use super::sandbox::{account, key, region};
use super::status::span;
use super::{CliError, Kind, load, out};
use crate::adapters::clock::SystemClock;
use crate::model::home::Region;
use crate::model::key::{AccountSid, KeyFacts, KeySid};
use crate::model::policy::{Policy, SecretSource};
use crate::ports::{Clock, Issuer as _};
use candidate::Candidate;
use charge::Charge;
use running::{Running, Uses};
use serde::Serialize;
use std::path::{Path, PathBuf};
use switch::switch;

/// Walks through the replacement of a Main key, which only Twilio's Console can make.
///
/// Each step can be repeated and asks nothing:
///
/// 1. Make a Main key in the Console. Put it into a file of mode 0600, in the form of AWS's own secrets:
///    {"accountSid":"AC...","adminKeySid":"SK...","adminKeySecret":"..."}.
///
/// 2. `rekeyd main-key prove FILE` lists the keys of every account with it.
///
/// 3. `rekeyd main-key switch FILE` proves it again, puts it where the policy says (main_key_file), and names the old key;
///    the daemon takes it up by itself.
///
/// 4. Delete the old key in the Console; rekeyd never does.
///
/// 5. `rekeyd main-key verify SK...` looks whether it is gone.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, clap::Subcommand)]
enum Step {
    /// Shows every Main key: how old it is, whom it serves, and whether the daemon here uses it.
    Status {
        /// JSON for programs.
        #[arg(long)]
        json: bool,
    },
    /// Tries a new Main key in every account that it shall serve; changes nothing.
    Prove(New),
    /// Proves a new Main key, and puts it into the file that the policy names.
    ///
    /// Where the policy names the key and its secret in two places it changes nothing, says what has to be done, and exits
    /// with 5.
    Switch(New),
    /// Looks with the present Main key whether the old one is gone; exits with 5 while it is not.
    Verify {
        /// The old key.
        #[arg(value_name = "SK...", value_parser = key)]
        old: KeySid,
        #[command(flatten)]
        asked: Asked,
    },
}

#[derive(Debug, clap::Args)]
struct New {
    /// The new key, in the form of AWS's own admin secrets; mode 0600 or less. The secret is never an argument.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The new key's SID, if FILE holds its secret alone.
    #[arg(long, value_name = "SK...", value_parser = key)]
    sid: Option<KeySid>,
    #[command(flatten)]
    asked: Asked,
}

/// Which keys it is about.
#[derive(Debug, clap::Args)]
struct Asked {
    /// The account whose keys it manages; that of [twilio], if none is given.
    #[arg(long, value_name = "AC...", value_parser = account)]
    account: Option<AccountSid>,
    /// The region whose keys it manages; the usual one of the account, if none is given.
    #[arg(long, value_name = "REGION", value_parser = region)]
    region: Option<Region>,
}

pub(super) async fn run(config: &Path, args: Args) -> Result<(), CliError> {
    let policy = load(config)?.policy;
    match args.step {
        Step::Status { json } => status(&policy, json).await,
        Step::Prove(new) => prove(&policy, &new).await,
        Step::Switch(new) => {
            let (charge, candidate) = candidate(&policy, &new)?;
            let proven = candidate.prove(&policy, &charge).await?;
            switch(&charge, &candidate, &proven).await
        }
        Step::Verify { old, asked } => verify(&policy, &old, &asked).await,
    }
}

fn candidate<'p>(policy: &'p Policy, new: &New) -> Result<(Charge<'p>, Candidate), CliError> {
    let charge = Charge::of(policy, &new.asked)?;
    let candidate = Candidate::read(&new.file, new.sid.as_ref(), &charge.admin.account)?;
    Ok((charge, candidate))
}

async fn prove(policy: &Policy, new: &New) -> Result<(), CliError> {
    let (charge, candidate) = candidate(policy, new)?;
    let proven = candidate.prove(policy, &charge).await?;
    if proven.is_old() {
        let message = format!("{} is the key that {} names already", proven.sid, charge.written());
        return Err(CliError::new(Kind::Failed, message).hint("make another Main key in Twilio's Console"));
    }
    out::line(&format!("{} can take the place of the Main key", described(&proven.sid, proven.facts.as_ref())));
    let (file, argument) = (new.file.display(), charge.argument());
    let sid = new.sid.as_ref().map(|sid| format!(" --sid {sid}")).unwrap_or_default();
    out::line(&format!("next: rekeyd main-key switch {file}{sid}{argument}"));
    Ok(())
}

/// Whether a key is gone. Twilio's silence counts only if it shows the key that is there for sure.
async fn verify(policy: &Policy, old: &KeySid, asked: &Asked) -> Result<(), CliError> {
    let charge = Charge::of(policy, asked)?;
    let client = charge.present().await?;
    let own = &charge.home();
    let halted = |message: String| Err(CliError::new(Kind::Halted, message));
    let present = client.main_keys().into_keys().next();
    if present.as_ref().is_some_and(|present| present.may_be(old)) {
        let message =
            format!("{old} is the key that {} names now: `rekeyd main-key switch` comes first", charge.written());
        return halted(message);
    }
    let running = Running::ask(&policy.listen).await;
    let silent = |failure| CliError::new(Kind::Unreachable, format!("{old} can not be asked for: {failure}"));
    let found = client.fetch(own, old).await.answer().map_err(silent)?;
    match running.uses(own, old) {
        Uses::Yes => {
            let message = format!("the daemon at {} still signs in with {old}: do not delete it yet", running.at());
            return Err(CliError::new(Kind::Halted, message).hint("its log says why it has not taken up the new one"));
        }
        Uses::No => out::line(&format!("the daemon at {} does not sign in with {old}", running.at())),
        Uses::Unknown => out::line(&format!("no daemon answers at {}; one elsewhere may use {old}", running.at())),
    }
    if let Some(facts) = found {
        return halted(format!("{} still exists: delete it in Twilio's Console", described(old, Some(&facts))));
    }
    let control = match &present {
        Some(present) => client.fetch(own, present).await.answer().map_err(silent)?.is_some(),
        None => true,
    };
    if !control {
        return halted(format!(
            "Twilio shows no Main key of {own}, so its silence about {old} says nothing: look in the Console"
        ));
    }
    out::line(&format!("{old} is gone"));
    Ok(())
}

/// A Main key, as shown.
#[derive(Serialize)]
struct Line {
    account: String,
    region: String,
    key: Option<String>,
    name: Option<String>,
    created: Option<jiff::Timestamp>,
    age_seconds: Option<i64>,
    serves: usize,
    policy: String,
    daemon_uses_it: Option<bool>,
    problem: Option<String>,
    /// What the table shows where there is no key.
    #[serde(skip)]
    keyless: &'static str,
}

async fn status(policy: &Policy, json: bool) -> Result<(), CliError> {
    let running = Running::ask(&policy.listen).await;
    let mut lines = Vec::new();
    for charge in Charge::all(policy) {
        lines.push(line(&charge, &running).await);
    }
    if json {
        out::line(&serde_json::to_string_pretty(&lines).map_err(CliError::failed)?);
    } else {
        show(&lines);
    }
    let well = lines.iter().all(|line| line.problem.is_none());
    if well { Ok(()) } else { Err(CliError::silent(Kind::Unreachable)) }
}

async fn line(charge: &Charge<'_>, running: &Running) -> Line {
    let own = &charge.home();
    let client = charge.present().await.map_err(|error| error.message);
    // What can not be read may still have a name in the policy.
    let key = match &client {
        Ok(client) => client.main_keys().into_keys().next(),
        Err(_) => charge.admin.key.clone(),
    };
    let unknown = client.is_err() && matches!(charge.admin.secret, SecretSource::Admin(_) | SecretSource::Stored(_));
    let shown = match (&client, &key) {
        (Ok(client), Some(key)) => client.fetch(own, key).await.answer().map_err(|failure| failure.to_string()),
        (Ok(_), None) => Ok(None),
        (Err(error), _) => Err(error.clone()),
    };
    let problem = shown.as_ref().err().cloned();
    let facts = shown.ok().flatten();
    let now = SystemClock::new().wall();
    let uses = key.as_ref().map(|key| running.uses(own, key));
    Line {
        account: own.account.to_string(),
        region: own.region.to_string(),
        key: key.map(|key| key.to_string()),
        name: facts.as_ref().and_then(|facts| facts.label.as_deref().map(plain)),
        created: facts.as_ref().map(|facts| facts.created_at),
        age_seconds: facts.as_ref().map(|facts| now.as_second() - facts.created_at.as_second()),
        serves: charge.serves(None).len(),
        policy: charge.written(),
        daemon_uses_it: uses.and_then(|uses| match uses {
            Uses::Yes => Some(true),
            Uses::No => Some(false),
            Uses::Unknown => None,
        }),
        problem,
        keyless: if unknown { "-" } else { "an auth token" },
    }
}

fn show(lines: &[Line]) {
    let mut table = out::table(["POLICY", "ACCOUNT", "KEY", "NAME", "AGE", "SERVES", "DAEMON USES IT"]);
    for line in lines {
        let or = |text: &Option<String>, other: &str| text.clone().unwrap_or_else(|| other.to_owned());
        let age = line.age_seconds.map_or("-".to_owned(), |age| span(age.unsigned_abs()));
        let uses = match line.daemon_uses_it {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        let (key, name) = (or(&line.key, line.keyless), or(&line.name, "-"));
        let serves = line.serves.to_string();
        table.add_row([line.policy.clone(), line.account.clone(), key, name, age, serves, uses.to_owned()]);
    }
    out::line(&table.trim_fmt());
    for line in lines {
        if let Some(problem) = &line.problem {
            out::error(&format!("error: {}: {problem}", line.policy));
        }
    }
}

/// A key as people know it from the Console.
fn described(sid: &KeySid, facts: Option<&KeyFacts>) -> String {
    match facts {
        None => sid.to_string(),
        Some(KeyFacts { label, created_at, .. }) => {
            let name = label.as_deref().map_or("no name".to_owned(), plain);
            format!("{sid} ({name}, made {})", created_at.strftime("%Y-%m-%d"))
        }
    }
}

/// Whoever names a key must not draw on the operator's terminal.
fn plain(label: &str) -> String {
    label.replace(char::is_control, " ")
}

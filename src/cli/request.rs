//! `rekeyd rotate` and `rekeyd resume`: what operators ask of the running daemon. The request goes through the journal,
//! so the daemon needs no open port for it.

use super::daemon::visit;
use super::out::Progress;
use super::status::waiting_for;
use super::{CliError, Kind, load, out};
use crate::config::{remembered, whole};
use crate::describe::describe;
use crate::model::names::{CredentialName, Place};
use crate::model::policy::Policy;
use crate::ports::{Ask, Journal, Request, Row};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Asks for a rotation now, whatever the schedule says; limits, breakers and grace still hold.
#[derive(Debug, clap::Args)]
pub(super) struct RotateArgs {
    /// The credential.
    name: String,
    /// Stay until the rotation is completed, grace included, and show its events.
    #[arg(long)]
    wait: bool,
}

/// Lets a halted credential go on, or one that waits after failures try again now. What halted it is looked at first.
#[derive(Debug, clap::Args)]
pub(super) struct ResumeArgs {
    /// The credential.
    name: String,
    /// Allow the next write to replace whatever the sinks hold now, and rotate at once.
    #[arg(long)]
    overwrite: bool,
    /// Nothing reads this place any more: it does not keep the old key alive. May be given several times.
    #[arg(long, value_name = "SINK:PATH")]
    forget: Vec<String>,
}

pub(super) async fn rotate(config: &Path, args: RotateArgs) -> Result<(), CliError> {
    let policy = with_member(&load(config)?.policy, &args.name).await?;
    let name = known(&policy, &args.name)?;
    let (journal, running) = visit(&policy).await?;
    let before = state(&*journal, &name).await?;
    if let Some(halted) = before.as_ref().and_then(|row| row.state.halted.as_ref()) {
        let message = format!("`{name}` is halted ({}): {}", halted.halt.word(), halted.detail);
        return Err(CliError::new(Kind::Halted, message).hint(halted.halt.hint().replace("NAME", name.as_str())));
    }
    if args.wait && !running {
        let error = CliError::new(Kind::Failed, "no daemon has this journal open, so there is nothing to wait for");
        return Err(error.hint("start `rekeyd run`, or leave --wait out: the request then waits for the next start"));
    }
    ask(&*journal, running, &policy, name.clone(), Ask::Rotate).await?;
    if args.wait { follow(&*journal, &name, before.map_or(0, |row| row.seq)).await } else { Ok(()) }
}

pub(super) async fn resume(config: &Path, args: ResumeArgs) -> Result<(), CliError> {
    let policy = with_member(&load(config)?.policy, &args.name).await?;
    let name = known(&policy, &args.name)?;
    let mut forget = BTreeSet::new();
    for text in args.forget {
        let bad = |_| {
            CliError::new(Kind::Failed, format!("`{text}` is no place")).hint("places look like vault-prod:twilio/x")
        };
        let place = Place::try_from(text.clone()).map_err(bad)?;
        if policy.credentials.get(&name).is_some_and(|rules| rules.places.contains(&place)) {
            let error = CliError::new(Kind::Failed, format!("`{name}` is published to `{place}`"));
            return Err(error.hint("take the place out of publish_to and restart the daemon first"));
        }
        forget.insert(place);
    }
    let (journal, running) = visit(&policy).await?;
    let now = state(&*journal, &name).await?.map(|row| row.state).unwrap_or_default();
    for place in &forget {
        if !now.places().any(|known| known == place) {
            let error = CliError::new(Kind::Failed, format!("`{name}` was never published to `{place}`"));
            return Err(error.hint(format!("`rekeyd history {name}` shows the places")));
        }
    }
    if now.halted.is_none() && now.trouble.is_none() && !args.overwrite && forget.is_empty() {
        out::line(&format!("`{name}` is not halted, and nothing failed; there is nothing to resume"));
        return Ok(());
    }
    ask(&*journal, running, &policy, name, Ask::Resume { overwrite: args.overwrite, forget }).await
}

/// The policy, with this member of a fleet if the journal knows it.
async fn with_member(policy: &Policy, text: &str) -> Result<Policy, CliError> {
    let policy = whole(policy, None).policy;
    let of_fleet = policy.fleets.iter().any(|fleet| text.starts_with(&fleet.prefix()));
    let Some(name) = CredentialName::new(text).ok().filter(|name| of_fleet && !policy.credentials.contains_key(name))
    else {
        return Ok(policy);
    };
    let (journal, _) = visit(&policy).await?;
    let row = state(&*journal, &name).await?;
    Ok(remembered(&policy, row.iter().map(|row| (&row.name, &row.home, &row.state))))
}

fn known(policy: &Policy, text: &str) -> Result<CredentialName, CliError> {
    let name = CredentialName::new(text).ok().filter(|name| policy.credentials.contains_key(name));
    name.ok_or_else(|| {
        let error = CliError::new(Kind::Failed, format!("the policy has no credential `{text}`"));
        error.hint("`rekeyd status` lists the credentials")
    })
}

async fn state(journal: &dyn Journal, name: &CredentialName) -> Result<Option<Row>, CliError> {
    journal.row(name).await.map_err(CliError::journal)
}

async fn ask(
    journal: &dyn Journal,
    running: bool,
    policy: &Policy,
    name: CredentialName,
    ask: Ask,
) -> Result<(), CliError> {
    let by = operator();
    let request = Request { credential: name.clone(), by, ask };
    journal.ask(request).await.map_err(CliError::journal)?;
    let tick = policy.timing.tick.as_secs();
    if running {
        out::line(&format!("asked; the daemon looks at `{name}` within {tick} s (`rekeyd status {name}`)"));
    } else {
        out::line("asked; no daemon has this journal open, so it waits until `rekeyd run` is started");
    }
    Ok(())
}

/// Who is asking, for the history: the login name if there is one, else the user's number.
#[expect(clippy::disallowed_methods, reason = "the command line may look at who calls it")]
fn operator() -> String {
    let login = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).ok();
    let plain =
        login.filter(|name| name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
    plain.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// Shows the events from now on, until a rotation that began after the request is completed, or a human must look.
#[expect(clippy::disallowed_methods, reason = "the command line may wait")]
async fn follow(journal: &dyn Journal, name: &CredentialName, mut seq: u64) -> Result<(), CliError> {
    let mut progress = Progress::default();
    let mut begun = false;
    loop {
        let entries = journal.history(name).await.map_err(CliError::journal)?;
        for entry in entries.iter().filter(|entry| entry.seq > seq) {
            progress.note(&format!("{}  {}", entry.event.word(), describe(&entry.event)));
            begun |= entry.event.word() == "intended";
            if begun && entry.event.word() == "completed" {
                return Ok(());
            }
        }
        seq = entries.last().map_or(seq, |entry| entry.seq);
        let Some(row) = state(journal, name).await? else { return Ok(()) };
        if let Some(halted) = &row.state.halted {
            let error = CliError::new(Kind::Halted, format!("halted: {}", halted.detail));
            return Err(error.hint(halted.halt.hint().replace("NAME", name.as_str())));
        }
        progress.show(&waiting_for(&row));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

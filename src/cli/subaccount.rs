//! `rekeyd subaccount`: makes a subaccount with what it needs, and closes one.

use super::assemble::{Doors, Purpose, chain, doors, journal, journal_error, landlord};
use super::daemon::in_use;
use super::{CliError, Kind, load, out};
use crate::adapters::clock::SystemClock;
use crate::adapters::journal::{Access, AnyJournal};
use crate::engine::subaccount::{Foundation, Founded, Order, Stopped};
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::fleet::Listed;
use crate::model::key::AccountSid;
use crate::model::policy::Policy;
use crate::model::subaccount::SubaccountName;
use crate::ports::{Clock, JournalError, Landlord};
use clap::Subcommand;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Makes a subaccount with what it needs where requests have to be signed, or closes one.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Opens a subaccount, gives it an API key and a public key, proves both with a signed request, and publishes them where
    /// `[subaccounts]` of the policy says. Whatever interrupts it: the same command goes on.
    Create {
        /// What it is called.
        #[arg(value_parser = name)]
        name: SubaccountName,
    },
    /// Closes a subaccount for good, after having shown what lives there.
    Close {
        /// Which.
        #[arg(value_name = "AC...", value_parser = account)]
        account: AccountSid,
        /// Does not ask.
        #[arg(long)]
        yes: bool,
    },
}

fn name(text: &str) -> Result<SubaccountName, String> {
    SubaccountName::new(text).map_err(|error| format!("accepted is {error}"))
}

fn account(text: &str) -> Result<AccountSid, String> {
    AccountSid::new(text).map_err(|error| format!("accepted is {error}"))
}

/// For how long a new key may be refused before that is believed.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) async fn run(config: &Path, args: Args) -> Result<(), CliError> {
    let policy = load(config)?.policy;
    match args.what {
        What::Create { name } => create(policy, name).await,
        What::Close { account, yes } => close(&policy, &account, yes).await,
    }
}

async fn create(policy: Policy, name: SubaccountName) -> Result<(), CliError> {
    if policy.subaccounts.is_empty() {
        let error = CliError::new(Kind::Policy, "the policy does not say where the keys of a new subaccount go");
        let example = "[subaccounts]\npublish_to = [{ sink = \"NAME\", path = \"twilio/{account_sid}/seed\" }]";
        return Err(error.hint(format!("write, for example:\n{example}")));
    }
    let Doors { sinks, clock, .. } = doors(&policy, Purpose::Look).await?;
    let landlord = landlord(&policy, clock.clone()).await?;
    let opened = ledger(&policy, clock.clone()).await?;
    let order = Order {
        name: name.clone(),
        parent: policy.twilio.account,
        instance: policy.instance,
        places: policy.subaccounts,
        settle: policy.timing.settle,
        patience: PATIENCE,
    };
    let ledger = opened.ledger();
    #[cfg(debug_assertions)]
    let ledger = super::ordeal::ledger(ledger);
    let foundation = Foundation::new(&order, &*ledger, &*landlord, &sinks, &*clock, &|text| out::line(text)).await;
    let ended = match foundation {
        Ok(foundation) => foundation.run().await,
        Err(stopped) => Err(stopped),
    };
    drop(ledger);
    opened.close().await;
    tell(&name, ended.map_err(|stopped| told(&name, stopped))?);
    Ok(())
}

/// The journal, as a visitor where a daemon has it, else for oneself: then it is made if it is not there, and another command
/// that makes a subaccount has to wait for this one.
async fn ledger(policy: &Policy, clock: Arc<dyn Clock>) -> Result<AnyJournal, CliError> {
    match AnyJournal::open(&policy.state, &policy.instance, Access::Visitor, clock.clone(), None).await {
        Ok(visitor) if in_use(&visitor, policy).await? => return Ok(visitor),
        Ok(visitor) => visitor.close().await,
        // It is not there, or whoever made it died in the middle; if it is out of reach, that is told by the next try.
        Err(JournalError::Unavailable(_)) => (),
        Err(error) => return Err(journal_error(&policy.state, Access::Visitor, &error)),
    }
    journal(policy, Access::Daemon, clock).await
}

fn tell(name: &SubaccountName, founded: Founded) {
    let Founded { account, places, before, remarks } = founded;
    let places: Vec<String> = places.iter().map(ToString::to_string).collect();
    let when = if before { "is there already" } else { "is ready" };
    out::line(&format!("`{name}` {when}: {account}; its keys are in {}", places.join(", ")));
    remarks.iter().for_each(|remark| out::error(&format!("warning: {remark}")));
}

fn told(name: &SubaccountName, stopped: Stopped) -> CliError {
    let again = format!("`rekeyd subaccount create {name}` goes on from there");
    match stopped {
        Stopped::Journal(error) => CliError::journal(chain(&error)).hint(again),
        Stopped::Taken => CliError::failed(stopped).hint(again),
        Stopped::Failed { ref failure, .. } => {
            let error = CliError::new(kind(failure), stopped.to_string()).hint(again);
            let refused = matches!(failure.fault, Fault::Unauthorized | Fault::Forbidden);
            let reach = "what manages the keys of the main account may not be enough here: see [accounts.\"AC...\"]";
            if refused { error.hint(reach) } else { error }
        }
        Stopped::Odd(message) => CliError::new(Kind::Halted, message).hint(format!("when that is sorted out, {again}")),
    }
}

/// Whether somebody answered and said no, or nobody did, or not to us.
fn kind(failure: &Failure) -> Kind {
    match failure.fault {
        Fault::Unreachable | Fault::Timeout | Fault::Throttled | Fault::Server => Kind::Unreachable,
        Fault::Unauthorized | Fault::Forbidden => Kind::Unreachable,
        Fault::Malformed | Fault::Missing | Fault::Conflict | Fault::PairRefused => Kind::Failed,
        Fault::Quota | Fault::Refused | Fault::Local => Kind::Failed,
    }
}

async fn close(policy: &Policy, sid: &AccountSid, yes: bool) -> Result<(), CliError> {
    if sid.as_str().eq_ignore_ascii_case(policy.twilio.account.as_str()) {
        return Err(CliError::failed(format!("{sid} is the main account of the policy, which is never closed")));
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let landlord = landlord(policy, clock).await?;
    let unshown = |failure: Failure| CliError::new(kind(&failure), format!("{sid}: {failure}"));
    let shown = landlord.show(sid).await.answer().map_err(unshown)?;
    if shown.closed {
        out::line(&format!("{sid} (`{}`) is closed already", shown.name));
        return Ok(());
    }
    show(policy, &*landlord, &shown).await;
    if !yes && !agreed(sid)? {
        return Err(CliError::failed("nothing was changed"));
    }
    match landlord.close(sid).await {
        Outcome::Done(()) => out::line(&format!("{sid} (`{}`) is closed", shown.name)),
        Outcome::NotDone(failure) => return Err(CliError::failed(format!("{sid} was not closed: {failure}"))),
        Outcome::Unknown(failure) => {
            let now = landlord.show(sid).await.answer().map_err(unshown)?;
            if !now.closed {
                let message = format!("{sid} is not closed, or not yet: {failure}");
                return Err(
                    CliError::new(Kind::Unreachable, message).hint("look again; the same command may be repeated")
                );
            }
            out::line(&format!("{sid} (`{}`) is closed", shown.name));
        }
    }
    Ok(())
}

/// What would go with the account.
async fn show(policy: &Policy, landlord: &dyn Landlord, account: &Listed) {
    let Listed { sid, name, active, created, .. } = account;
    let standing = if *active { "active" } else { "suspended" };
    out::line(&format!("{sid} is called `{name}`, is {standing}, and was opened on {}", created.strftime("%Y-%m-%d")));
    match landlord.keys(sid).await.answer() {
        Ok(keys) => {
            out::line(&format!("it has {} API keys:", keys.len()));
            for key in keys {
                out::line(&format!("  {}  {}", key.sid, key.label.as_deref().unwrap_or("-")));
            }
        }
        Err(failure) => out::line(&format!("its API keys can not be listed: {failure}")),
    }
    let used =
        policy.credentials.values().filter(|rules| rules.home.account == *sid).map(|rules| format!("`{}`", rules.name));
    let used: Vec<String> = used.collect();
    if !used.is_empty() {
        out::line(&format!("the policy has credentials there: {}", used.join(", ")));
    }
    out::line("closing is for good: its keys stop working, and its phone numbers are given back");
}

/// Has the SID typed.
fn agreed(sid: &AccountSid) -> Result<bool, CliError> {
    out::line(&format!("type {sid} to close it:"));
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed).map_err(CliError::failed)?;
    Ok(typed.trim() == sid.as_str())
}

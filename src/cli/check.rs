//! `rekeyd check`: is the policy right?

use super::{CliError, load, online, out};
use std::collections::BTreeSet;
use std::path::Path;

/// Reads and cross-checks the policy; exits with 3 if anything in it is wrong.
///
/// Nothing is changed, and nothing is called unless --online is given. Warnings do not change the exit code unless --strict
/// is given.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also list the keys of every account, read every place of every sink, and ask Vault and Kubernetes what rekeyd may
    /// do there; exits with 6 if one does not answer or something is not allowed.
    #[arg(long)]
    online: bool,
    /// Treat warnings as errors.
    #[arg(long)]
    strict: bool,
}

pub(super) async fn run(config: &Path, args: &Args) -> Result<(), CliError> {
    let loaded = load(config)?;
    for warning in &loaded.warnings {
        out::error(&warning.render(out::styled()));
    }
    let (sinks, credentials) = (loaded.policy.sinks.len(), loaded.policy.credentials.len());
    let fleets = match loaded.policy.fleets.len() {
        0 => String::new(),
        fleets => format!("{fleets} fleets, "),
    };
    let accounts: BTreeSet<_> = loaded.policy.delete_budgets().into_keys().map(|home| home.account).collect();
    let accounts = accounts.len();
    out::line(&format!(
        "{}: {credentials} credentials in {accounts} accounts, {fleets}{sinks} sinks, {} warnings",
        config.display(),
        loaded.warnings.len()
    ));
    if args.strict && !loaded.warnings.is_empty() {
        return Err(CliError::new(super::Kind::Policy, "there are warnings, and --strict was given"));
    }
    if args.online { online::check(&loaded.policy).await } else { Ok(()) }
}

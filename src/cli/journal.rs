//! `rekeyd journal`: moves the journal between SQLite and PostgreSQL, and checks it.

use super::assemble::{chain, journal, journal_error, place};
use super::{CliError, Kind, load, out};
use crate::adapters::clock::SystemClock;
use crate::adapters::journal::transfer::{Text, TransferError, export};
use crate::adapters::journal::verify::verify;
use crate::adapters::journal::{Access, AnyJournal};
use crate::model::policy::Policy;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Moves the journal between SQLite and PostgreSQL, and checks it.
///
/// To move: stop the daemon, `export` with the old policy, change `state`, `import` with the new policy, start the daemon.
/// Deletes are held for a day of running time afterwards, as after any other restore.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Writes the journal that the policy names into a new file, for its owner only. No daemon may run.
    Export {
        /// The file; it must not exist.
        file: PathBuf,
    },
    /// Reads an exported journal into the place that the policy names, which must hold none.
    Import {
        /// The file.
        file: PathBuf,
    },
    /// Checks that every entry is linked to the one before it, and every state the sum of its entries. A daemon may run.
    Verify,
}

pub(super) async fn run(config: &Path, args: Args) -> Result<(), CliError> {
    let policy = load(config)?.policy;
    match args.action {
        Action::Export { file } => export_to(&policy, &file).await,
        Action::Import { file } => import_from(&policy, &file).await,
        Action::Verify => verify_all(&policy).await,
    }
}

async fn export_to(policy: &Policy, file: &Path) -> Result<(), CliError> {
    let opened = journal(policy, Access::Visitor, Arc::new(SystemClock::new())).await?;
    if super::daemon::in_use(&opened, policy).await? {
        let error = CliError::new(Kind::Failed, "a daemon works with this journal; what it does next would be missing");
        return Err(error.hint("stop it first; one that was killed counts as running for 90 s on PostgreSQL"));
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let made = made.map_err(|error| CliError::new(Kind::Failed, format!("{}: {error}", file.display())))?;
    let moved = export(&opened, &policy.instance, &mut BufWriter::new(&made)).await;
    let moved = moved.map_err(|error| failed(policy, &error))?;
    made.sync_all().map_err(|error| CliError::new(Kind::Failed, format!("{}: {error}", file.display())))?;
    let from = place(&policy.state);
    out::line(&format!("{from}: exported {} credentials, {} entries", moved.credentials, moved.entries));
    Ok(())
}

async fn import_from(policy: &Policy, file: &Path) -> Result<(), CliError> {
    let unreadable = |error: std::io::Error| CliError::new(Kind::Failed, format!("{}: {error}", file.display()));
    let from = BufReader::new(File::open(file).map_err(unreadable)?);
    // All of it is read before the journal is made.
    let text = Text::read(from, &policy.instance)
        .map_err(|error| CliError::new(Kind::Failed, format!("{}: {}", file.display(), chain(&error))))?;
    let clock = Arc::new(SystemClock::new());
    let opened = AnyJournal::open(&policy.state, &policy.instance, Access::Daemon, clock, Some(text.label_key())).await;
    let opened = opened.map_err(|error| journal_error(&policy.state, Access::Daemon, &error))?;
    let moved = text.import(&opened).await;
    opened.close().await;
    let moved = moved.map_err(|error| failed(policy, &error))?;
    let to = place(&policy.state);
    out::line(&format!("{to}: imported {} credentials, {} entries", moved.credentials, moved.entries));
    out::line("deletes are held for 24 h of running time");
    Ok(())
}

async fn verify_all(policy: &Policy) -> Result<(), CliError> {
    let opened = journal(policy, Access::Visitor, Arc::new(SystemClock::new())).await?;
    match verify(&*opened.port()).await.map_err(CliError::journal)? {
        Ok(sum) => {
            let (credentials, entries, keys) = (sum.credentials, sum.entries, sum.keys);
            out::line(&format!("whole: {credentials} credentials, {entries} entries, {keys} keys"));
            Ok(())
        }
        Err(faults) => {
            faults.iter().for_each(|fault| out::line(fault));
            let error = CliError::new(Kind::Journal, format!("{}: {} faults", place(&policy.state), faults.len()));
            Err(error.hint("put a sound copy of the journal back; `rekeyd history NAME` shows what can still be read"))
        }
    }
}

fn failed(policy: &Policy, error: &TransferError) -> CliError {
    CliError::new(Kind::Journal, format!("{}: {}", place(&policy.state), chain(error)))
}

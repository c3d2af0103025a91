//! `rekeyd history`: what happened to a credential.

use super::daemon::visit;
use super::{CliError, Kind, load, out};
use crate::describe::describe;
use crate::model::names::CredentialName;
use std::path::Path;

/// Shows everything that ever happened to a credential, oldest first, from the journal.
///
/// Each entry is linked to the one before it; an entry that was changed or taken out is an error.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The credential.
    name: String,
    /// One JSON object per line, as in the journal.
    #[arg(long)]
    json: bool,
    /// Only the last so many entries.
    #[arg(long, value_name = "N")]
    last: Option<usize>,
}

pub(super) async fn run(config: &Path, args: Args) -> Result<(), CliError> {
    let policy = load(config)?.policy;
    let unknown = |why: String| CliError::new(Kind::Failed, why).hint("`rekeyd status` lists the credentials");
    let name = CredentialName::new(&args.name).map_err(|e| unknown(format!("`{}` is no name: {e}", args.name)))?;
    let (journal, _) = visit(&policy).await?;
    let entries = journal.history(&name).await.map_err(CliError::journal)?;
    if entries.is_empty() && !policy.credentials.contains_key(&name) {
        return Err(unknown(format!("neither the policy nor the journal knows `{name}`")));
    }
    let skip = entries.len().saturating_sub(args.last.unwrap_or(usize::MAX));
    for entry in entries.into_iter().skip(skip) {
        if args.json {
            let text = serde_json::to_string(&entry);
            out::line(&text.map_err(CliError::failed)?);
        } else {
            let time = jiff::Timestamp::from_second(entry.at.wall.as_second()).unwrap_or(entry.at.wall);
            out::line(&format!("{time}  {:>4}  {:<14}  {}", entry.seq, entry.event.word(), describe(&entry.event)));
        }
    }
    Ok(())
}

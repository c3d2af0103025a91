//! `rekeyd iam-policy`: what AWS must allow, in its own words.

use super::{CliError, Kind, load, out};
use crate::adapters::aws;
use crate::model::names::SinkName;
use crate::model::policy::{Policy, SinkPolicy};
use std::path::Path;

/// A managed policy has at most so many characters, blanks not counted (IAM user guide, "IAM and AWS STS quotas").
const LONGEST: usize = 6144;

/// Prints the least IAM policy under which the daemon can do what the policy file says, as JSON.
///
/// It allows what the daemon calls on the secrets that are named, in the account of the role that is assumed, or in any if
/// none is: attach it to that role, or to who runs the daemon. Nothing is called. What assuming a role needs is told on
/// standard error.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only for this sink; without it for every sink in AWS Secrets Manager.
    #[arg(value_name = "SINK")]
    sink: Option<String>,
}

pub(super) fn run(config: &Path, args: &Args) -> Result<(), CliError> {
    let policy = load(config)?.policy;
    let only = args.sink.as_deref().map(|name| named(&policy, name)).transpose()?;
    let Some(document) = aws::least(&policy, only) else {
        return Err(CliError::new(Kind::Failed, "no sink of this policy is in AWS Secrets Manager"));
    };
    let text = format!("{document:#}");
    out::line(&text);
    let length = text.chars().filter(|letter| !letter.is_whitespace()).count();
    if length > LONGEST {
        out::error(&format!("note: these are {length} characters, and a managed policy has {LONGEST} at most"));
    }
    for (name, sink) in &policy.sinks {
        let SinkPolicy::SecretsManager(manager) = sink else { continue };
        if let Some(role) = manager.assume_role.as_ref().filter(|_| only.is_none_or(|only| only == name)) {
            let asks = role.external_id.as_ref().map(|id| format!(", with sts:ExternalId {id}")).unwrap_or_default();
            out::error(&format!(
                "note: sink `{name}` assumes {arn}: who runs the daemon needs sts:AssumeRole on it, and its trust policy \
                 must name them{asks}; the statements for this sink belong to the role",
                arn = role.arn
            ));
        }
    }
    Ok(())
}

/// The sink of this name, which must be one of AWS.
fn named<'p>(policy: &'p Policy, name: &str) -> Result<&'p SinkName, CliError> {
    let known = policy.sinks.iter().filter(|(_, sink)| matches!(sink, SinkPolicy::SecretsManager(_)));
    let known: Vec<_> = known.map(|(name, _)| name).collect();
    let found = known.iter().find(|known| known.as_str() == name);
    found.copied().ok_or_else(|| {
        let list = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        CliError::new(Kind::Failed, format!("`{name}` is no sink in AWS Secrets Manager")).hint(if list.is_empty() {
            "there is none in this policy".to_owned()
        } else {
            format!("there are: {list}")
        })
    })
}

//! Puts a proven key where the policy says that the Main key is; or says what has to be done, where one moment can not do it.

use super::super::assemble::chain;
use super::super::{CliError, Kind, out};
use super::candidate::{Candidate, Proven};
use super::charge::Charge;
use super::described;
use crate::adapters::secrets::{self, ReplaceError};
use crate::model::names::Place;
use crate::model::policy::{SecretSource, SinkPolicy, VaultPolicy};
use crate::ports::Issuer as _;
use std::path::Path;

/// Replaces the file that the policy names; says which key to delete then.
pub(super) async fn switch(charge: &Charge<'_>, new: &Candidate, proven: &Proven) -> Result<(), CliError> {
    if proven.is_old() {
        out::line(&format!("{} names {} already; nothing was changed", charge.written(), proven.sid));
        return Ok(());
    }
    let old = old(charge, proven).await;
    match &charge.admin.secret {
        SecretSource::Admin(path) => {
            secrets::replace(path, &new.text).map_err(|error| not_replaced(path, &error))?;
            let (sid, path) = (&proven.sid, path.display());
            out::line(&format!("{path} holds {sid} now; a daemon that watches it takes it up within seconds"));
            farewell(charge, &old, 1);
            Ok(())
        }
        SecretSource::File(path) => {
            let place = format!("main_key_secret_file = \"{}\"", path.display());
            Err(by_hand(charge, proven, &place, "main_key_secret_file", &old))
        }
        SecretSource::Stored(place) => Err(in_a_store(charge, proven, place, &old)),
        SecretSource::Env(name) => {
            let place = format!("main_key_secret_env = \"{name}\"");
            Err(by_hand(charge, proven, &place, "main_key_secret_file", &old))
        }
    }
}

/// The key that goes, in words.
async fn old(charge: &Charge<'_>, proven: &Proven) -> Option<String> {
    let sid = proven.old.as_ref()?;
    let facts = proven.client.fetch(&charge.home(), sid).await.answer().ok().flatten();
    Some(described(sid, facts.as_ref()))
}

/// What is left to a person: Main keys are neither made nor deleted by a program (protocol, S11).
fn farewell(charge: &Charge<'_>, old: &Option<String>, first: usize) {
    match old {
        Some(old) => {
            let sid = old.split_whitespace().next().unwrap_or_default();
            out::line(&format!("{first}. delete {old} in Twilio's Console, once nothing else uses it"));
            out::line(&format!("{}. rekeyd main-key verify {sid}{}", first + 1, charge.argument()));
        }
        None => out::line(&format!("{first}. delete the Main key that was used before in Twilio's Console")),
    }
}

/// Where the key and its secret are named in two places, or where only a restart reads what is new, a person has to do it,
/// in an order in which the daemon never holds half of each.
fn by_hand(charge: &Charge<'_>, proven: &Proven, place: &str, key: &str, old: &Option<String>) -> CliError {
    let (sid, written) = (&proven.sid, charge.written());
    let steps = [
        "put the new secret, alone, into another file than the one that is named now, with the same owner, mode 0400"
            .to_owned(),
        format!(
            "in {written} of the policy replace what names the old one, in one edit:\n     main_key_sid = \"{sid}\"\n     {key} = \"that other file\""
        ),
        "rekeyd check --online".to_owned(),
        "have the daemon read the policy again: kill -HUP, or a restart".to_owned(),
    ];
    steps.iter().zip(1..).for_each(|(step, number)| out::line(&format!("{number}. {step}")));
    farewell(charge, old, steps.len() + 1);
    let message = format!(
        "{sid} is proven, and nothing was changed: {written} has {place}, which no program can change in one moment together with what names the key"
    );
    CliError::new(Kind::Halted, message).hint(
        "with main_key_file the policy names one file for both, which `switch` replaces by itself; its form is that of \
         AWS's own secrets",
    )
}

/// A store has tools and owners of its own; the daemon looks there by itself.
fn in_a_store(charge: &Charge<'_>, proven: &Proven, place: &Place, old: &Option<String>) -> CliError {
    let path = &place.path;
    let tool = match charge.sink(place) {
        Some(SinkPolicy::Vault(VaultPolicy { mount, .. })) => format!("vault kv put -mount={mount} {path} @FILE"),
        Some(SinkPolicy::SecretsManager(_)) => {
            format!("aws secretsmanager put-secret-value --secret-id {path} --secret-string file://FILE")
        }
        Some(SinkPolicy::Kubernetes(_) | SinkPolicy::Directory { .. }) | None => "its own tool".to_owned(),
    };
    out::line(&format!("1. put the candidate there, in the form of AWS's own secrets, in one write: {tool}"));
    out::line("2. the daemon takes it up within a minute; `rekeyd main-key status` says when it has");
    farewell(charge, old, 3);
    let (sid, written) = (&proven.sid, charge.written());
    CliError::new(Kind::Halted, format!("{sid} is proven, and nothing was changed: {written} has main_key_at {place}"))
}

fn not_replaced(path: &Path, error: &ReplaceError) -> CliError {
    let failed = CliError::new(Kind::Failed, chain(error));
    match error {
        ReplaceError::Missing(_) => failed.hint(format!("put the candidate there yourself: mv FILE {}", path.display())),
        ReplaceError::NotAFile(_) => failed.hint("a Secret of Kubernetes is replaced there: kubectl apply"),
        ReplaceError::Failed(..) => failed.hint(
            "run this as the owner of the file, or as root; what systemd brings with LoadCredential= is replaced at its \
             source, and read at the next start",
        ),
        ReplaceError::Unsure(..) => failed.hint("run `rekeyd main-key switch` again: it says whether the new key is there"),
    }
}

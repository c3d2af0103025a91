//! `rekeyd vault-policy`: the least that a token of Vault has to be allowed; and for `check --online`, what of it is missing.

use super::assemble::{chain, vault};
use super::{CliError, Kind, load, out};
use crate::adapters::vault::{Keeping, Rule, Use, Vault, pattern, rules};
use crate::model::fault::Failure;
use crate::model::fleet::{ACCOUNT_NAME, ACCOUNT_SID};
use crate::model::names::{Place, SinkName};
use crate::model::policy::{Policy, SinkPolicy, VaultPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Prints the least policy that the token of a Vault sink needs, for `vault policy write NAME -`; nothing is called.
///
/// Where a path has {account_sid} or {account_name} in it, the policy allows every account.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sink; all that are of the kind "vault" if none is named.
    sink: Option<String>,
}

/// What is done with one sink: by path, as a rule says it, the paths that are meant today.
type Uses = BTreeMap<(String, Use), BTreeSet<String>>;

pub(super) fn run(config: &Path, args: &Args) -> Result<(), CliError> {
    let policy = load(config)?.policy;
    let mut shown = 0;
    for (name, engine) in
        engines(&policy).filter(|(name, _)| args.sink.as_ref().is_none_or(|sink| sink == name.as_str()))
    {
        out::line(&text(name, engine, &uses(&policy, name)));
        shown += 1;
    }
    match (shown, &args.sink) {
        (0, Some(sink)) => Err(CliError::new(Kind::Policy, format!("there is no sink `{sink}` of the kind \"vault\""))),
        _ => Ok(()),
    }
}

fn engines(policy: &Policy) -> impl Iterator<Item = (&SinkName, &VaultPolicy)> {
    policy.sinks.iter().filter_map(|(name, sink)| match sink {
        SinkPolicy::Vault(engine) => Some((name, engine)),
        SinkPolicy::SecretsManager(_) | SinkPolicy::Kubernetes(_) | SinkPolicy::Directory { .. } => None,
    })
}

fn uses(policy: &Policy, sink: &SinkName) -> Uses {
    let mut uses = Uses::new();
    let mut add = |template: &Place, used: Use, meant: Option<&str>| {
        if template.sink == *sink {
            uses.entry((pattern(&template.path), used)).or_default().extend(meant.map(str::to_owned));
        }
    };
    for place in policy.twilio.accesses().filter_map(|access| access.admin.secret.place()) {
        add(place, Use::Read, Some(&place.path));
    }
    for rules in policy.credentials.values() {
        let of = rules.member.as_ref().map(|member| &member.fleet);
        let fleet = policy.fleets.iter().find(|fleet| Some(&fleet.name) == of);
        let templates = fleet.map_or(&rules.places, |fleet| &fleet.each.places);
        templates
            .iter()
            .zip(&rules.places)
            .for_each(|(template, place)| add(template, Use::Publish, Some(&place.path)));
    }
    // Members and subaccounts are still to come.
    policy.fleets.iter().flat_map(|fleet| &fleet.each.places).for_each(|template| add(template, Use::Publish, None));
    for template in &policy.subaccounts {
        let such = template.path.replace(ACCOUNT_SID, "AC00000000000000000000000000000000");
        add(template, Use::Publish, Some(&such).filter(|such| !such.contains(ACCOUNT_NAME)).map(String::as_str));
    }
    uses
}

fn text(sink: &SinkName, engine: &VaultPolicy, uses: &Uses) -> String {
    let VaultPolicy { address, mount, .. } = engine;
    let inside = namespace(engine);
    let head = format!(
        "# What rekeyd does in the sink `{sink}`, at {address}\n\
         # rekeyd vault-policy {sink} | vault policy write{inside} rekeyd -\n\
         # The token also needs the policy `default`, which every token has that is not made without it.\n"
    );
    let rules = uses.keys().flat_map(|(path, used)| rules(engine, path, *used));
    let rules: String = rules.map(|rule| format!("\n{rule}\n")).collect();
    let looks =
        ["config", "metadata/*"].map(|path| format!("# path \"{mount}/{path}\" {{ capabilities = [\"read\"] }}"));
    let for_looks = "# For nothing but `rekeyd check --online`, which looks how many versions are kept:";
    format!("{head}{rules}\n{for_looks}\n{}", looks.join("\n"))
}

fn namespace(engine: &VaultPolicy) -> String {
    engine.namespace.as_ref().map(|name| format!(" -namespace={name}")).unwrap_or_default()
}

/// Tells what the tokens of all Vault sinks are not allowed, and which versions would be kept for too short a time; whether
/// all is allowed that is needed.
pub(super) async fn check(policy: &Policy) -> Result<bool, CliError> {
    let mut all = true;
    for (sink, engine) in engines(policy) {
        let uses = uses(policy, sink);
        let failed = |why: String| CliError::new(Kind::Failed, format!("sink `{sink}`: {why}"));
        let vault = vault(engine).map_err(|error| failed(chain(&*error)))?;
        if uses.values().all(BTreeSet::is_empty) {
            continue;
        }
        match missing(&vault, engine, &uses).await {
            Ok(missing) if missing.is_empty() => (),
            Ok(missing) => {
                all = false;
                let lines: Vec<_> = missing.iter().map(ToString::to_string).collect();
                let lines = lines.join("\n");
                out::error(&format!(
                    "error: sink `{sink}`: these lines are missing in the policy of its token:\n{lines}"
                ));
                out::error(&format!("hint: `rekeyd vault-policy {sink}` prints all that it needs"));
            }
            Err(failure) => {
                out::error(&format!("warning: sink `{sink}`: what its token may do can not be asked: {failure}"));
                continue;
            }
        }
        versions(policy, (sink, engine), &vault, &uses).await;
    }
    Ok(all)
}

/// What the token lacks, in the words of the rules.
async fn missing(vault: &Vault, engine: &VaultPolicy, uses: &Uses) -> Result<Vec<Rule>, Failure> {
    let (mut meant, mut told) = (Vec::new(), BTreeMap::new());
    for ((path, used), paths) in uses {
        for one in paths {
            for (one, rule) in rules(engine, one, *used).into_iter().zip(rules(engine, path, *used)) {
                told.insert(one.path.clone(), rule.path);
                meant.push(one);
            }
        }
    }
    let mut lacks: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    for Rule { path, capabilities } in vault.missing(&meant).await? {
        lacks.entry(told.remove(&path).unwrap_or(path)).or_default().extend(capabilities);
    }
    Ok(lacks.into_iter().map(|(path, capabilities)| Rule { path, capabilities }).collect())
}

/// Whoever reads a version by its number must find the old pair there for as long as its key lives. Between that version
/// and the newest lie at most the new pair, and a fence for each new key that was given up before it.
fn needed(policy: &Policy) -> u64 {
    2 + u64::from(policy.limits.creates_per_hour)
}

async fn versions(policy: &Policy, (sink, engine): (&SinkName, &VaultPolicy), vault: &Vault, uses: &Uses) {
    let published = uses.iter().filter(|((_, used), _)| *used == Use::Publish);
    let places: Vec<_> = published.flat_map(|(_, paths)| paths).map(|path| Place::new(sink.clone(), path)).collect();
    let kept = match vault.keeping(&places).await {
        Ok(kept) => kept,
        Err(failure) => {
            let what = "how many versions are kept, and whether `cas_required` is set, can not be read";
            return out::error(&format!("hint: sink `{sink}`: {what}: {failure}"));
        }
    };
    let (mount, inside, needed) = (&engine.mount, namespace(engine), needed(policy));
    let of = |fits: &dyn Fn(&Keeping) -> bool| -> Vec<&Place> {
        places.iter().zip(&kept).filter(|(_, keeping)| fits(keeping)).map(|(place, _)| place).collect()
    };
    let command = |some: &[&Place], option: &str, setting: &str| match some {
        [one] => format!("vault kv metadata put{inside} -mount={mount} -{option} {}", one.path),
        _ => format!("vault write{inside} {mount}/config {setting}"),
    };
    let few = of(&|keeping| keeping.versions < needed);
    if let Some(first) = few.first() {
        let least = kept.iter().map(|keeping| keeping.versions).min().unwrap_or_default();
        out::error(&format!(
            "warning: sink `{sink}`: at {} of {} places, {} is one, only {least} versions are kept, and an old key may live \
             on {needed} versions back\nhint: {}",
            few.len(),
            places.len(),
            first.path,
            command(&few, &format!("max-versions={needed}"), &format!("max_versions={needed}")),
        ));
    }
    let unchecked = of(&|keeping| !keeping.checked);
    if let Some(first) = unchecked.first() {
        let set = command(&unchecked, "cas-required=true", "cas_required=true");
        let (count, all) = (unchecked.len(), places.len());
        out::error(&format!(
            "hint: sink `{sink}`: at {count} of {all} places, {} is one, anybody may overwrite what they have not seen; {set} \
             ends that",
            first.path
        ));
    }
}

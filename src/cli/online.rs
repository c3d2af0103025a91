//! `rekeyd check --online`: whether everything that the policy names can be reached with what it says. It only reads.

use super::assemble::{Doors, Purpose, doors, kubernetes};
use super::fleets::asked;
use super::{CliError, Kind, out, vault_policy};
use crate::adapters::aws::SecretsManager;
use crate::model::document::Names;
use crate::model::fault::{Failure, Fault};
use crate::model::home::Home;
use crate::model::names::SinkName;
use crate::model::policy::{Admin, Policy, Rules, SecretSource, SinkPolicy};
use crate::ports::Workloads as _;
use futures_util::stream::{self, StreamExt};
use std::collections::{BTreeMap, BTreeSet};

/// How many calls are made at the same time.
const AT_ONCE: usize = 16;

/// Lists the keys of every account, reads every place of every sink, and asks Vault what the tokens may do.
pub(super) async fn check(policy: &Policy) -> Result<(), CliError> {
    let policy = asked(policy).await?;
    let doors = doors(&policy, Purpose::Look).await?;
    let accounts = stream::iter(policy.delete_budgets().into_keys()).map(|home| account(&policy, &doors, home));
    let problems: Vec<String> = accounts.buffered(AT_ONCE).filter_map(std::future::ready).collect().await;
    let sinks = sinks(&policy, &doors).await;
    let reached = policy.delete_budgets().len() - problems.len();
    out::line(&format!("{reached} accounts answer to what manages their keys"));
    let mut failed = !problems.is_empty();
    problems.iter().for_each(|problem| out::error(&format!("error: {problem}")));
    for (sink, (read, problem)) in sinks {
        match problem {
            None => out::line(&format!("sink `{sink}`: {read} places can be read")),
            Some(failure) => {
                failed = true;
                out::error(&format!("error: sink `{sink}`: {failure}"));
            }
        }
    }
    differences(&policy).await.iter().for_each(|told| out::error(&format!("warning: {told}")));
    let allowed = vault_policy::check(&policy).await?;
    for problem in clusters(&policy).await {
        failed = true;
        out::error(&format!("error: {problem}"));
    }
    if failed || !allowed { Err(CliError::silent(Kind::Unreachable)) } else { Ok(()) }
}

/// What the secrets of Secrets Manager are otherwise than the policy says; the daemon does not change it. A secret that can
/// not be asked about was told of as a place.
async fn differences(policy: &Policy) -> Vec<String> {
    let mut told = Vec::new();
    for (name, sink) in &policy.sinks {
        let SinkPolicy::SecretsManager(manager) = sink else { continue };
        let manager = SecretsManager::connect(manager).await;
        let places = policy.credentials.values().flat_map(|rules| &rules.places).filter(|place| place.sink == *name);
        let manager = &manager;
        let asked = stream::iter(places).map(|place| async move { (place, manager.differences(place).await.answer()) });
        for (place, found) in asked.buffered(AT_ONCE).collect::<Vec<_>>().await {
            told.extend(found.unwrap_or_default().into_iter().map(|what| format!("{place}: {what}")));
        }
    }
    told
}

/// What is wrong with an account, if something is.
async fn account(policy: &Policy, doors: &Doors, home: Home) -> Option<String> {
    let failure = doors.issuer.list(&home).await.answer().err()?;
    let admin = &policy.twilio.access_to(&home)?.admin;
    Some(format!(
        "the keys of {home} can not be listed with {}: {failure}{}",
        called(admin),
        advice(policy, admin, &home, &failure)
    ))
}

/// What manages the keys, in words.
fn called(admin: &Admin) -> String {
    match (&admin.key, &admin.secret) {
        (Some(key), _) => format!("{key}, a key of {}", admin.account),
        (None, SecretSource::Admin(path)) => format!("what {} says", path.display()),
        (None, SecretSource::Stored(place)) => format!("what {place} says"),
        (None, SecretSource::File(_) | SecretSource::Env(_)) => format!("the auth token of {}", admin.account),
    }
}

/// What an operator can do about it.
fn advice(policy: &Policy, admin: &Admin, home: &Home, failure: &Failure) -> String {
    if !matches!(failure.fault, Fault::Unauthorized | Fault::Forbidden) {
        return String::new();
    }
    let Home { account, region } = home;
    let elsewhere = policy.twilio.home(account).region != *region;
    if admin.account != *account {
        let table = if elsewhere { format!(".regions.{region}") } else { String::new() };
        let parent = &admin.account;
        format!(
            "\nhint: {parent} may not reach into its subaccount: name what manages its keys in [accounts.\"{account}\"{table}]"
        )
    } else if elsewhere {
        // Twilio docs, error 20003: what belongs to another region is told no otherwise than a wrong secret.
        format!("\nhint: the secret is wrong, it may not manage keys, or it is of another region than {region}")
    } else {
        "\nhint: the secret is wrong, or it may not manage keys".to_owned()
    }
}

/// What rekeyd will want to do in a cluster and may not, and what can not be restarted there: reading shows nothing of that.
async fn clusters(policy: &Policy) -> Vec<String> {
    let mut told = Vec::new();
    for (name, sink) in &policy.sinks {
        let SinkPolicy::Kubernetes(namespace) = sink else { continue };
        let Ok(cluster) = kubernetes(namespace) else { continue };
        let (cluster, namespace) = (&cluster, &namespace.namespace);
        let lacks = |verbs: Result<Vec<&str>, Failure>, what: String| match verbs {
            Ok(verbs) if verbs.is_empty() => None,
            Ok(verbs) => {
                let verbs = verbs.join(" and ");
                Some(format!("sink `{name}`: no Role allows to {verbs} {what} in the namespace `{namespace}`"))
            }
            // A cluster that does not answer was told of already.
            Err(failure) if matches!(failure.fault, Fault::Unreachable | Fault::Timeout) => None,
            Err(failure) => Some(format!("sink `{name}`: it can not be asked what is allowed with {what}: {failure}")),
        };
        let places = policy.credentials.values().flat_map(|rules| &rules.places).filter(|place| place.sink == *name);
        let of_places = stream::iter(places).map(async |place| {
            let verbs = cluster.forbidden(place).await.answer();
            lacks(verbs, format!("the Secret `{}`", place.path))
        });
        told.extend(of_places.buffered(AT_ONCE).filter_map(std::future::ready).collect::<Vec<_>>().await);
        let workloads = policy.credentials.values().flat_map(|rules| &rules.restart);
        let workloads: BTreeSet<_> = workloads.filter(|workload| workload.sink == *name).collect();
        let of_workloads = stream::iter(workloads).map(async |workload| {
            let verbs = cluster.forbidden_of(workload).await.answer();
            let refused = lacks(verbs, format!("the {} `{}`", workload.kind.word(), workload.name));
            match refused {
                Some(refused) => Some(refused),
                None => cluster.look(workload).await.answer().err().map(|failure| format!("{workload}: {failure}")),
            }
        });
        told.extend(of_workloads.buffered(AT_ONCE).filter_map(std::future::ready).collect::<Vec<_>>().await);
    }
    told
}

/// Of each sink, how many places could be read, and the first failure.
async fn sinks(policy: &Policy, doors: &Doors) -> BTreeMap<SinkName, (usize, Option<Failure>)> {
    let places = |rules: &Rules| {
        let names = Names { now: rules.members.clone(), before: Vec::new() };
        rules.places.iter().map(|place| (names.clone(), place.clone())).collect::<Vec<_>>()
    };
    let places = policy.credentials.values().flat_map(places);
    let reads = stream::iter(places).map(|(names, place)| async move {
        let read = match doors.sinks.get(&place.sink) {
            Some(sink) => sink.read(&place, &names, None).await.answer().map(drop),
            None => Ok(()),
        };
        (place.sink, read)
    });
    let mut found: BTreeMap<SinkName, (usize, Option<Failure>)> = BTreeMap::new();
    let reads: Vec<_> = reads.buffered(AT_ONCE).collect().await;
    for (sink, read) in reads {
        let (count, first) = found.entry(sink).or_default();
        match read {
            Ok(()) => *count += 1,
            Err(failure) => *first = first.take().or(Some(failure)),
        }
    }
    found
}

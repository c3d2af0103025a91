//! Good policy files: what is made of each, as far as it differs from what the minimal policy makes.

use super::{accepted, differs, files, read};
use rekeyd::config::Loaded;
use rekeyd::model::fleet::Fleet;
use rekeyd::model::policy::{
    Access, Admin, ApiServer, Cadence, KubernetesPolicy, Listen, Policy, Rules, SecretsManagerPolicy, SinkPolicy,
    VaultPolicy,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Everything that a policy says, one fact in a line.
pub(crate) fn facts(policy: &Policy) -> Vec<String> {
    let Policy { instance, state, listen, twilio, sinks, timing, limits, credentials, fleets, subaccounts } = policy;
    let budgets: Vec<_> = policy.delete_budgets().iter().map(|(home, most)| format!("{most} of {home}")).collect();
    let mut facts = vec![
        format!("instance {instance}"),
        format!("{state:?}"),
        listens(listen),
        format!("account {}", twilio.account),
        access(&twilio.access),
        format!("{timing:?}"),
        format!("{limits:?}"),
        format!("deletes in an hour: {}", budgets.join(", ")),
    ];
    facts.extend(twilio.accounts.iter().map(|(sid, other)| format!("{sid}: {}", access(other))));
    facts.extend(twilio.regions.iter().map(|(region, other)| format!("all in {region}: {}", access(other))));
    facts.extend(twilio.homes.iter().map(|(home, other)| format!("{home}: {}", access(other))));
    facts.extend(sinks.iter().map(|(name, sink)| format!("sink {name}: {}", shown(sink))));
    facts.extend(credentials.values().flat_map(rules));
    for fleet in fleets {
        let Fleet { name, region, choice, waves, each, reserved: _ } = fleet;
        let region = region.as_ref().map(|region| format!(" in {region}")).unwrap_or_default();
        facts.push(format!("fleet {name}{region}: {choice:?}, {waves:?}"));
        facts.extend(rules(each).into_iter().map(|fact| format!("each of {fact}")));
    }
    if !subaccounts.is_empty() {
        let places: Vec<_> = subaccounts.iter().map(ToString::to_string).collect();
        facts.push(format!("new subaccounts at {places:?}"));
    }
    facts
}

fn listens(Listen { address, tls, token }: &Listen) -> String {
    format!("listens at {address}, shows {tls:?}, asks for {token:?}")
}

fn access(access: &Access) -> String {
    let Access { region, base_url, admin: Admin { account, key, secret, pkcv: signs }, pkcv } = access;
    let key = key.as_ref().map_or("its auth token".to_owned(), ToString::to_string);
    format!("{account} by {key} from {secret:?} at {base_url} in {region}, signed {signs:?}, proven {pkcv:?}")
}

fn shown(sink: &SinkPolicy) -> String {
    match sink {
        SinkPolicy::Vault(VaultPolicy { address, mount, namespace, ca_file, client, auth, custom_metadata }) => {
            format!("vault {address} {mount} {namespace:?} {ca_file:?} {client:?} {auth:?} {custom_metadata:?}")
        }
        SinkPolicy::SecretsManager(manager) => secrets_manager(manager),
        SinkPolicy::Kubernetes(KubernetesPolicy { namespace, server }) => {
            let server =
                server.as_ref().map(|ApiServer { address, ca_file, token }| format!("{address} {ca_file:?} {token:?}"));
            format!("kubernetes {namespace} {server:?}")
        }
        SinkPolicy::Directory { path } => format!("directory {}", path.display()),
    }
}

fn secrets_manager(manager: &SecretsManagerPolicy) -> String {
    let SecretsManagerPolicy { region, endpoint_url, profile, assume_role, kms_key, tags, replicas } = manager;
    let mut told = format!("aws {region} {:?}", endpoint_url.as_ref().map(ToString::to_string));
    let said = (profile, assume_role, kms_key, tags, replicas);
    if said != (&None, &None, &None, &BTreeMap::new(), &Vec::new()) {
        told += &format!(" {said:?}");
    }
    told
}

fn rules(rules: &Rules) -> Vec<String> {
    let Rules {
        name,
        home,
        cadence,
        grace,
        verify,
        adopt,
        kind,
        verify_url,
        members,
        places,
        restart,
        restart_pause,
        member,
    } = rules;
    let proven_at = verify_url.as_ref().map(ToString::to_string);
    let cadence = match cadence {
        Cadence::Every(period) => format!("every {period:?}"),
        Cadence::Cron(cron) => {
            let zone = cron.zone.iana_name().unwrap_or("without a name");
            format!("{:?} in {zone}, at least {:?} apart", cron.pattern.as_str(), cron.shortest)
        }
    };
    assert_eq!(*member, None, "nobody was asked yet who belongs to a fleet");
    let places: Vec<_> = places.iter().map(ToString::to_string).collect();
    let told = |fact: String| format!("{name}: {fact}");
    let restarts = restart.iter().map(|workload| told(format!("restarts {workload} after {restart_pause:?}")));
    let mut facts = vec![
        told(format!("account {home}")),
        told(cadence),
        told(format!("grace {grace:?}")),
        told(format!("{verify:?}")),
        told(format!("adopts {:?}", adopt.as_ref().map(ToString::to_string))),
        told(format!("makes {kind:?}, proven at {proven_at:?}")),
        told(format!("{members:?}")),
        told(format!("at {places:?}")),
    ];
    facts.extend(restarts);
    facts
}

/// What is another than in the minimal policy, and the warnings.
fn outcome(loaded: &Loaded) -> String {
    let (usual, found) = (facts(&accepted(super::MINIMAL).policy), facts(&loaded.policy));
    let beyond = |mark: &str, these: &[String], those: &[String]| -> String {
        these.iter().filter(|fact| !those.contains(fact)).map(|fact| format!("{mark} {fact}\n")).collect()
    };
    let warnings: String = loaded.warnings.iter().map(|warning| format!("\n{warning}\n")).collect();
    let told = beyond("-", &usual, &found) + &beyond("+", &found, &usual) + &warnings;
    if told.is_empty() { "the minimal policy\n".to_owned() } else { told }
}

/// Every good file, and what it says.
pub(crate) fn good_files() -> Vec<(PathBuf, String, Loaded)> {
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let (text, read) = read(Path::new(&path), &name);
        let loaded = read.unwrap_or_else(|errors| panic!("{name}: {errors}"));
        (path, text, loaded)
    };
    files("accepted", "toml").into_iter().map(read).collect()
}

#[test]
fn every_good_file_makes_exactly_what_the_text_beside_it_says() {
    let compare = |(path, _, loaded): (PathBuf, _, Loaded)| differs(&path, outcome(&loaded));
    let wrong: Vec<_> = good_files().into_iter().filter_map(compare).collect();
    assert!(wrong.is_empty(), "these texts differ (UPDATE_EXPECT=1 writes them anew):\n\n{}", wrong.join("\n"));
}

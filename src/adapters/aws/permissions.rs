//! The least that AWS's IAM must allow for a policy: what the calls beside this file need, and nothing else.
//!
//! Which call needs which permission is what the API reference says of each operation under "Required permissions". The
//! ARN of a secret is its name, a hyphen and six characters that AWS chooses; `-??????` also allows a secret that is not
//! there yet, and none with a longer name (user guide, "Limiting access to specific secrets").

use crate::model::fleet::{ACCOUNT_NAME, ACCOUNT_SID};
use crate::model::names::{Place, SinkName};
use crate::model::policy::{AssumeRole, Policy, Replica, SecretsManagerPolicy, SinkPolicy};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What reading a secret needs.
const READ: [&str; 2] = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"];
/// What publishing needs beside that.
const WRITE: [&str; 3] =
    ["secretsmanager:CreateSecret", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"];

/// The IAM policy for one sink, or for all that are of AWS; none if there are none.
pub fn least(policy: &Policy, only: Option<&SinkName>) -> Option<Value> {
    let sinks = policy.sinks.iter().filter(|(name, _)| only.is_none_or(|only| only == *name));
    let mut statements = Vec::new();
    let mut found = false;
    for (name, sink) in sinks {
        let SinkPolicy::SecretsManager(manager) = sink else { continue };
        found = true;
        statements.extend(of_sink(policy, name, manager));
    }
    found.then(|| json!({ "Version": "2012-10-17", "Statement": statements }))
}

fn of_sink(policy: &Policy, name: &SinkName, manager: &SecretsManagerPolicy) -> Vec<Value> {
    let served = policy.credentials.values().chain(policy.fleets.iter().map(|fleet| &fleet.each));
    let served = served.flat_map(|rules| &rules.places).chain(&policy.subaccounts);
    let main_keys = policy.twilio.accesses().filter_map(|access| access.admin.secret.place());
    let here = |place: &&Place| place.sink == *name;
    let (served, main_keys) = (arns(manager, served.filter(here)), arns(manager, main_keys.filter(here)));
    let mut statements = Vec::new();
    if !served.is_empty() {
        let mut actions: BTreeSet<&str> = READ.into_iter().chain(WRITE).collect();
        if !manager.tags.is_empty() {
            actions.insert("secretsmanager:TagResource");
        }
        if !manager.replicas.is_empty() {
            actions.insert("secretsmanager:ReplicateSecretToRegions");
        }
        statements
            .push(json!({ "Sid": sid("Publish", name), "Effect": "Allow", "Action": actions, "Resource": served }));
    }
    if !main_keys.is_empty() {
        statements
            .push(json!({ "Sid": sid("MainKeys", name), "Effect": "Allow", "Action": READ, "Resource": main_keys }));
    }
    if served.is_empty() && main_keys.is_empty() {
        return statements;
    }
    if let Some(key) = &manager.kms_key {
        let actions = ["kms:Decrypt", "kms:GenerateDataKey"];
        statements.push(of_key(manager, sid("Key", name), &manager.region, key, actions));
    }
    for (number, Replica { region, kms_key }) in manager.replicas.iter().enumerate() {
        if let Some(key) = kms_key {
            let title = format!("KeyOfReplica{}", number + 1);
            statements.push(of_key(manager, sid(&title, name), region, key, ["kms:Encrypt", "kms:GenerateDataKey"]));
        }
    }
    statements
}

/// The ARNs of the secrets at these places, in any account that is not known.
fn arns<'p>(manager: &SecretsManagerPolicy, places: impl Iterator<Item = &'p Place>) -> BTreeSet<String> {
    let (partition, account, region) = (partition(&manager.region), account(manager), &manager.region);
    let arn = |place: &Place| {
        // Twilio's SIDs have two letters and 32 digits. `?` stands for one character, `*` for any text (IAM user guide,
        // "IAM JSON policy elements: Resource").
        let sid = format!("AC{}", "?".repeat(32));
        let name = place.path.replace(ACCOUNT_SID, &sid).replace(ACCOUNT_NAME, "*");
        format!("arn:{partition}:secretsmanager:{region}:{account}:secret:{name}-??????")
    };
    places.map(arn).collect()
}

/// What is needed of a KMS key, through Secrets Manager only (KMS developer guide, "AWS KMS condition keys"). The key of a
/// replica is used from its own region or from that of the secret: AWS does not say which.
fn of_key(manager: &SecretsManagerPolicy, sid: String, region: &str, key: &str, actions: [&str; 2]) -> Value {
    let via: BTreeSet<String> = [region, &manager.region].into_iter().map(service).collect();
    let mut condition = BTreeMap::from([("StringEquals", json!({ "kms:ViaService": via }))]);
    let (before, name) = match key.rsplit_once(':') {
        Some((before, name)) => (before.to_owned(), name),
        None => (format!("arn:{}:kms:{region}:{}", partition(region), account(manager)), key),
    };
    // An alias is no resource of these actions: the key is known by having it.
    let resource = if name.starts_with("alias/") {
        condition.insert("ForAnyValue:StringEquals", json!({ "kms:ResourceAliases": name }));
        format!("{before}:key/*")
    } else {
        format!("{before}:key/{}", name.strip_prefix("key/").unwrap_or(name))
    };
    json!({ "Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource, "Condition": condition })
}

/// What Secrets Manager is called when it calls another service.
fn service(region: &str) -> String {
    let end = if partition(region) == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("secretsmanager.{region}.{end}")
}

/// AWS General Reference, "Amazon Resource Names": the regions of a partition begin alike.
fn partition(region: &str) -> &'static str {
    let of = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-isob-", "aws-iso-b"),
        ("us-iso-", "aws-iso"),
        ("eusc-", "aws-eusc"),
    ];
    of.iter().find(|(start, _)| region.starts_with(start)).map_or("aws", |(_, partition)| partition)
}

fn account(manager: &SecretsManagerPolicy) -> &str {
    manager.assume_role.as_ref().map_or("*", AssumeRole::account)
}

/// Letters and digits only, each once in a policy (IAM user guide, "IAM JSON policy elements: Sid").
fn sid(what: &str, sink: &SinkName) -> String {
    let words = sink.as_str().split('-').filter(|word| !word.is_empty());
    let words = words.map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    words.fold(what.to_owned(), |sid, word| sid + &word)
}

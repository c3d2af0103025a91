//! What a secret is made with, who else rotates it, and whether its replicas keep up; and what IAM must allow for all that.

use super::secrets_manager::hand;
use super::vault_faults::answer;
use super::{at, attempt, fence, fresh_place, look, not_done, pair, publish, put_pair, serves, version};
use crate::support::emulator::{config, config_in, shared};
use crate::support::proxy::{Fate, Proxy};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use rekeyd::adapters::aws::{SecretsManager, least};
use rekeyd::model::document::Names;
use rekeyd::model::fault::Fault;
use rekeyd::model::names::{Place, SinkName, Version};
use rekeyd::model::policy::{Policy, SecretsManagerPolicy, SinkPolicy};
use rekeyd::ports::Sink as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const ALL: &str =
    "kms_key = \"alias/rekeyd\"\ntags = { team = \"sms\", stage = \"prod\" }\nreplicas = [\"us-east-1\"]\n";

/// A policy with these lines for its sink.
fn policy(sink: &str, more: &str) -> Policy {
    let text = format!(
        r#"
[daemon]
instance = "prod"
[twilio]
account_sid = "AC00000000000000000000000000000001"
main_key_sid = "SK00000000000000000000000000000001"
main_key_secret_file = "/run/main_key"
[sinks.aws-prod]
kind = "aws-secrets-manager"
region = "eu-west-1"
{sink}
[[credentials]]
name = "billing-sms"
publish_to = [{{ sink = "aws-prod", name = "twilio/billing-sms" }}]
{more}"#
    );
    rekeyd::config::parse(&text, "policy.toml").unwrap_or_else(|errors| panic!("{errors}")).policy
}

fn manager(sink: &str) -> SecretsManagerPolicy {
    match policy(sink, "").sinks.into_values().next().unwrap() {
        SinkPolicy::SecretsManager(manager) => manager,
        _ => unreachable!(),
    }
}

fn making(sink: &str) -> SecretsManager {
    signed(sink, "GOOD")
}

fn signed(sink: &str, access_key_id: &'static str) -> SecretsManager {
    SecretsManager::with(&config(&shared().url(), access_key_id), &manager(sink))
}

async fn described(place: &Place) -> DescribeSecretOutput {
    hand().describe_secret().secret_id(&*place.path).send().await.unwrap()
}

/// What consumers read in another region.
async fn served_in(region: &'static str, place: &Place) -> Option<String> {
    let client = Client::new(&config_in(region, &shared().url(), "GOOD"));
    client.get_secret_value().secret_id(&*place.path).version_stage("AWSCURRENT").send().await.ok()?.secret_string
}

#[tokio::test]
async fn a_new_secret_has_the_key_the_tags_and_the_replicas_of_the_policy() {
    let (sink, place) = (making(ALL), fresh_place());
    put_pair(&sink, &place, &pair(1)).await;
    let secret = described(&place).await;
    assert_eq!(secret.kms_key_id(), Some("alias/rekeyd"));
    let tags: BTreeMap<_, _> = secret.tags().iter().map(|tag| (tag.key().unwrap(), tag.value().unwrap())).collect();
    assert_eq!(tags, BTreeMap::from([("team", "sms"), ("stage", "prod")]));
    assert_eq!(secret.replication_status()[0].region(), Some("us-east-1"));
    assert!(served_in("us-east-1", &place).await.unwrap().contains(pair(1).sid.as_str()));
    assert_eq!(sink.differences(&place).await.answer().unwrap(), Vec::<String>::new());
    put_pair(&sink, &place, &pair(2)).await;
    assert!(served_in("us-east-1", &place).await.unwrap().contains(pair(2).sid.as_str()));
}

#[tokio::test]
async fn a_secret_that_exists_gets_the_replica_it_lacks_and_keeps_its_key_and_tags() {
    let (plain, sink, place) = (making(""), making(ALL), fresh_place());
    put_pair(&plain, &place, &pair(1)).await;
    let differences = sink.differences(&place).await.answer().unwrap();
    let told = [
        "it is encrypted with AWS's own key, not with alias/rekeyd",
        "it has no tag `stage`",
        "it has no tag `team`",
        "it is not copied to us-east-1; the next rotation sees to that",
    ];
    assert_eq!(differences, told);
    look(&sink, &place).await;
    assert_eq!(served_in("us-east-1", &place).await, None, "a look has changed something");
    let base = put_pair(&sink, &place, &pair(2)).await;
    assert!(served_in("us-east-1", &place).await.unwrap().contains(pair(2).sid.as_str()));
    assert_eq!(sink.differences(&place).await.answer().unwrap(), told[..3]);
    at(fence(&sink, &place, attempt(), &base).await);
    assert_eq!(described(&place).await.replication_status().len(), 1, "it was replicated twice");
    assert_eq!(sink.differences(&fresh_place()).await.answer().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_secret_whose_replica_failed_can_not_be_read_as_a_place() {
    let (sink, place) = (making("replicas = [\"us-east-1\"]"), fresh_place());
    let there = Client::new(&config_in("us-east-1", &shared().url(), "GOOD"));
    there.create_secret().name(&*place.path).secret_string("somebody else's").send().await.unwrap();
    let absent = Version("absent".into());
    at(publish(&sink, &place, &pair(1), &absent).await);
    let failure = not_done(sink.read(&place, &Names::default(), None).await);
    assert_eq!(failure.fault, Fault::Refused);
    assert!(failure.detail.starts_with("it is not copied to us-east-1: Replication failed"), "{failure}");
    // The same holds where the policy names no replicas: consumers there read a replica that somebody else wanted.
    assert_eq!(not_done(making("").read(&place, &Names::default(), None).await).fault, Fault::Refused);
}

#[tokio::test]
async fn a_secret_whose_replica_lags_behind_can_not_be_read_as_a_place() {
    let (good, place, first) = (making(ALL), fresh_place(), pair(1));
    put_pair(&good, &place, &first).await;
    let lagging = r#"{"Name":"x","ReplicationStatus":[{"Region":"us-west-2","Status":"InSync"},{"Region":"us-east-1","Status":"InProgress"}]}"#;
    let describe = "secretsmanager.DescribeSecret";
    let proxy = Proxy::for_the_first(1, shared().port, describe, Fate::Answered(answer(200, lagging))).await;
    let sink = SecretsManager::with(&config(&proxy.url, "GOOD"), &manager(ALL));
    let failure = not_done(sink.read(&place, &Names::default(), None).await);
    assert_eq!((failure.fault, failure.detail.as_str()), (Fault::Missing, "AWS is still copying it to us-east-1"));
    serves(&look(&sink, &place).await, &first);
}

#[tokio::test]
async fn a_secret_that_aws_rotates_itself_is_neither_read_as_a_place_nor_written() {
    let (sink, place) = (making(""), fresh_place());
    let base = put_pair(&sink, &place, &pair(1)).await;
    hand().rotate_secret().secret_id(&*place.path).rotate_immediately(false).send().await.unwrap();
    let versions = described(&place).await.version_ids_to_stages;
    let refusals = [
        not_done(sink.read(&place, &Names::default(), None).await),
        not_done(publish(&sink, &place, &pair(2), &base).await),
        not_done(fence(&sink, &place, attempt(), &base).await),
    ];
    let end = format!("aws secretsmanager cancel-rotate-secret --secret-id {}", place.path);
    for failure in refusals {
        assert_eq!(failure.fault, Fault::Refused);
        assert_eq!(failure.detail, format!("AWS rotates this secret itself; to end that: {end}"));
    }
    assert_eq!(described(&place).await.version_ids_to_stages, versions);
    assert!(sink.text(&place).await.answer().unwrap().is_some(), "a Main key that AWS rotates can be read");
    hand().cancel_rotate_secret().secret_id(&*place.path).send().await.unwrap();
    assert_eq!(version(&sink, &place).await, base);
    at(publish(&sink, &place, &pair(2), &base).await);
}

/// The actions that a policy allows, by the name of the statement.
fn allowed(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let texts =
        |value: &Value| value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect();
    let statements = document["Statement"].as_array().unwrap().iter();
    statements.map(|one| (one["Sid"].as_str().unwrap().to_owned(), texts(&one["Action"]))).collect()
}

/// The calls that the emulator saw with this access key id, as IAM calls them.
async fn called(access_key_id: &str) -> BTreeSet<String> {
    let calls: Value = reqwest::get(format!("{}/calls", shared().url())).await.unwrap().json().await.unwrap();
    let names = calls[access_key_id].as_array().unwrap().iter();
    names.map(|name| format!("secretsmanager:{}", name.as_str().unwrap())).collect()
}

/// Whatever the sink can do: make a secret, replace a pair, fence, and look.
async fn everything(sink: &SecretsManager, existing: Place) {
    let place = fresh_place();
    let base = put_pair(sink, &place, &pair(1)).await;
    let fenced = at(fence(sink, &place, attempt(), &base).await);
    at(publish(sink, &place, &pair(2), &fenced).await);
    put_pair(sink, &existing, &pair(3)).await;
    sink.text(&place).await.answer().unwrap();
    sink.differences(&place).await.answer().unwrap();
    let _ = sink.read(&place, &Names::default(), Some(attempt())).await.answer().unwrap();
}

#[tokio::test]
async fn iam_must_allow_what_is_called_and_nothing_else() {
    for (lines, access_key_id, beside) in [("", "PLAIN", &[][..]), (ALL, "FULL", &["secretsmanager:TagResource"])] {
        let existing = fresh_place();
        put_pair(&making(""), &existing, &pair(1)).await;
        everything(&signed(lines, access_key_id), existing).await;
        let mut needed = called(access_key_id).await;
        // A creation with tags needs this without calling it (API reference, `CreateSecret`).
        needed.extend(beside.iter().map(|action| (*action).to_owned()));
        assert_eq!(allowed(&least(&policy(lines, ""), None).unwrap())["PublishAwsProd"], needed);
    }
}

#[tokio::test]
async fn iam_must_allow_a_main_key_to_be_read_and_nothing_else() {
    let place = fresh_place();
    put_pair(&making(""), &place, &pair(1)).await;
    signed("", "READER").text(&place).await.answer().unwrap();
    let nothing_current = fresh_place();
    hand().create_secret().name(&*nothing_current.path).send().await.unwrap();
    signed("", "READER").text(&nothing_current).await.answer().unwrap();
    let more = "[accounts.\"AC00000000000000000000000000000002\"]\nmain_key_at = { sink = \"aws-prod\", name = \"twilio/main\" }\n";
    let document = least(&policy("", more), None).unwrap();
    assert_eq!(allowed(&document)["MainKeysAwsProd"], called("READER").await);
    let arn = json!(["arn:aws:secretsmanager:eu-west-1:*:secret:twilio/main-??????"]);
    assert_eq!(document["Statement"][1]["Resource"], arn);
}

#[test]
fn the_iam_policy_names_secrets_and_keys_as_narrowly_as_they_are_known() {
    let sink = "kms_key = \"alias/rekeyd\"\nassume_role = { arn = \"arn:aws:iam::123456789012:role/rekeyd\" }\n\
                replicas = [{ region = \"us-east-1\", kms_key = \"arn:aws:kms:us-east-1:210987654321:key/mrk-0123456789abcdef0123456789abcdef\" }]";
    let more = r#"
[[fleets]]
name = "customers"
accounts = { status = "active" }
publish_to = [{ sink = "aws-prod", name = "twilio/{account_sid}/{account_name}" }]
[subaccounts]
publish_to = [{ sink = "aws-prod", name = "seeds/{account_sid}" }]
"#;
    let document = least(&policy(sink, more), Some(&SinkName::new("aws-prod").unwrap())).unwrap();
    let account = "?".repeat(32);
    let statements = json!([
        {
            "Sid": "PublishAwsProd",
            "Effect": "Allow",
            "Action": [
                "secretsmanager:CreateSecret",
                "secretsmanager:DescribeSecret",
                "secretsmanager:GetSecretValue",
                "secretsmanager:PutSecretValue",
                "secretsmanager:ReplicateSecretToRegions",
                "secretsmanager:UpdateSecretVersionStage",
            ],
            "Resource": [
                format!("arn:aws:secretsmanager:eu-west-1:123456789012:secret:seeds/AC{account}-??????"),
                format!("arn:aws:secretsmanager:eu-west-1:123456789012:secret:twilio/AC{account}/*-??????"),
                "arn:aws:secretsmanager:eu-west-1:123456789012:secret:twilio/billing-sms-??????",
            ],
        },
        {
            "Sid": "KeyAwsProd",
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
            "Resource": "arn:aws:kms:eu-west-1:123456789012:key/*",
            "Condition": {
                "StringEquals": { "kms:ViaService": ["secretsmanager.eu-west-1.amazonaws.com"] },
                "ForAnyValue:StringEquals": { "kms:ResourceAliases": "alias/rekeyd" },
            },
        },
        {
            "Sid": "KeyOfReplica1AwsProd",
            "Effect": "Allow",
            "Action": ["kms:Encrypt", "kms:GenerateDataKey"],
            "Resource": "arn:aws:kms:us-east-1:210987654321:key/mrk-0123456789abcdef0123456789abcdef",
            "Condition": {
                "StringEquals": {
                    "kms:ViaService": ["secretsmanager.eu-west-1.amazonaws.com", "secretsmanager.us-east-1.amazonaws.com"],
                },
            },
        },
    ]);
    assert_eq!(document, json!({ "Version": "2012-10-17", "Statement": statements }));
    assert!(least(&policy("", ""), Some(&SinkName::new("other").unwrap())).is_none());
}

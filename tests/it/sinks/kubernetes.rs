//! The Kubernetes sink against the stand-in for an API server: the contract, and what is peculiar to Secrets.

use super::contract::{Bench, Hand};
use super::{
    at, attempt, conflict, fence, fresh_place, look, not_done, pair, place, publish, put_pair, serves, version,
};
use crate::sinks::vault::secret_file;
use crate::support::apiserver::{ApiServer, NAMESPACE, Rule, everything};
use crate::support::authority::{Authority, Front};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rekeyd::adapters::http::{self, Base, Connections, Deadlines};
use rekeyd::adapters::kubernetes::{Cluster, RULES};
use rekeyd::model::document::{Beside, Content, Members, Names, Signing};
use rekeyd::model::fault::Fault;
use rekeyd::model::key::PublicKeySid;
use rekeyd::model::names::Version;
use rekeyd::model::policy::SecretSource;
use rekeyd::model::secret::Secret;
use rekeyd::ports::Sink;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::NamedTempFile;

pub(crate) const TOKEN: &str = "canary-token-of-a-pod";

/// A namespace as the daemon would reach it, and what holds its token.
pub(crate) fn with_token(url: &str, token: &str) -> (Cluster, NamedTempFile) {
    let file = secret_file(token);
    (build(url, NAMESPACE, None, file.path()), file)
}

fn build(url: &str, namespace: &str, authority: Option<&Path>, token: &Path) -> Cluster {
    let base = Base::new(&url.parse().unwrap()).unwrap();
    let http = http::client(&base, authority, Deadlines::default(), Connections::Fresh).unwrap();
    Cluster::new(http, base, SecretSource::File(token.to_owned()), namespace)
}

/// A server with a namespace that everything may be done in.
pub(crate) async fn open() -> (Arc<ApiServer>, Cluster, NamedTempFile) {
    let server = Arc::new(ApiServer::start(TOKEN).await);
    let (cluster, file) = with_token(&server.url(), TOKEN);
    (server, cluster, file)
}

async fn bench() -> Bench {
    let (server, cluster, file) = open().await;
    Bench { sink: Box::new(cluster), hand: Box::new(server.clone()), _keep: Box::new((server, file)) }
}

/// Members as a person writes them with `kubectl`: a text is its bytes, anything else its JSON.
#[async_trait]
impl Hand for Arc<ApiServer> {
    async fn put(&self, path: &str, text: &str) {
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap();
        let bytes = |value: &RawValue| serde_json::from_str(value.get()).unwrap_or(value.get().to_owned());
        let data: Map<String, Value> =
            members.iter().map(|(key, value)| (key.clone(), STANDARD.encode(bytes(value)).into())).collect();
        self.edit("secrets", path, |secret| {
            secret["type"] = "Opaque".into();
            secret["data"] = data.into();
        });
    }

    async fn text(&self, path: &str) -> Option<String> {
        let data = self.object("secrets", path)?["data"].as_object().cloned().unwrap_or_default();
        let text = |value: &Value| String::from_utf8(STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap();
        let members: BTreeMap<_, _> = data.iter().map(|(key, value)| (key, text(value))).collect();
        Some(serde_json::to_string(&members).unwrap())
    }

    async fn remove(&self, path: &str) {
        ApiServer::remove(self, "secrets", path);
    }
}

mod contract {
    contract!(super::bench().await);
}

/// Who owns the keys of the data, by manager and operation.
fn owners(server: &ApiServer, name: &str) -> BTreeMap<String, Vec<String>> {
    let secret = server.object("secrets", name).unwrap();
    let entries = secret["metadata"]["managedFields"].as_array().unwrap().iter();
    let keys = |entry: &Value| entry["fieldsV1"]["f:data"].as_object().map(|f| f.keys().cloned().collect());
    let owner = |entry: &Value| format!("{} {}", entry["manager"], entry["operation"]).replace('"', "");
    entries.filter_map(|entry| Some((owner(entry), keys(entry)?))).collect()
}

/// The requests that changed something: method and content type.
fn writes(server: &ApiServer) -> Vec<String> {
    let ends = |asked: &String| Some(format!("{} {}", asked.split_once(' ')?.0, asked.rsplit_once(' ')?.1));
    server.asked().iter().filter(|asked| !asked.starts_with("GET")).filter_map(ends).collect()
}

#[tokio::test]
async fn a_secret_is_made_once_and_applied_from_then_on_and_each_member_is_a_key() {
    let (server, sink, _file) = open().await;
    let (place, second) = (place("billing-sms"), pair(2));
    put_pair(&sink, &place, &pair(1)).await;
    let made = server.object("secrets", "billing-sms").unwrap();
    assert_eq!((&made["type"], &made["metadata"]["namespace"]), (&json!("Opaque"), &json!(NAMESPACE)));
    assert_eq!(made["metadata"]["labels"], json!({ "app.kubernetes.io/managed-by": "rekeyd" }));
    put_pair(&sink, &place, &second).await;
    assert_eq!(writes(&server), ["POST application/json", "PATCH application/apply-patch+yaml"]);
    let data = server.object("secrets", "billing-sms").unwrap()["data"].clone();
    assert_eq!(data["apiKeySecret"], STANDARD.encode(second.secret.expose()));
    assert_eq!(data.as_object().unwrap().len(), 4, "{data}");
    let applied = ["f:accountSid", "f:apiKeySecret", "f:apiKeySid", "f:rekeyd"].map(str::to_owned).to_vec();
    assert_eq!(owners(&server, "billing-sms").get("rekeyd Apply"), Some(&applied));
}

#[tokio::test]
async fn versions_name_the_object_as_well_as_its_state() {
    let (server, sink, _file) = open().await;
    let place = fresh_place();
    assert_eq!(version(&sink, &place).await, Version("absent".into()));
    let first = put_pair(&sink, &place, &pair(1)).await;
    let (uid, number) = first.0.split_once('/').unwrap();
    let shown = server.object("secrets", &place.path).unwrap();
    assert_eq!((&shown["metadata"]["uid"], &shown["metadata"]["resourceVersion"]), (&json!(uid), &json!(number)));
    ApiServer::remove(&server, "secrets", &place.path);
    server.put(&place.path, "{}").await;
    let again = version(&sink, &place).await;
    assert_ne!(again.0.split_once('/').unwrap().0, uid);
    conflict(publish(&sink, &place, &pair(2), &first).await);
}

#[tokio::test]
async fn keys_and_fields_of_others_stay_theirs() {
    let (server, sink, _file) = open().await;
    let place = fresh_place();
    server.put(&place.path, r#"{"validationUrl":"https://example.com"}"#).await;
    server.edit("secrets", &place.path, |secret| {
        secret["metadata"]["labels"] = json!({ "app.kubernetes.io/managed-by": "Helm" });
        secret["data"]["bytes"] = "//4=".into();
    });
    for number in 1..=2 {
        put_pair(&sink, &place, &pair(number)).await;
    }
    let secret = server.object("secrets", &place.path).unwrap();
    assert_eq!(secret["metadata"]["labels"], json!({ "app.kubernetes.io/managed-by": "Helm" }));
    assert_eq!(secret["data"]["bytes"], "//4=");
    let theirs = ["f:bytes", "f:validationUrl"].map(str::to_owned).to_vec();
    assert_eq!(owners(&server, &place.path).get("kubectl-edit Update"), Some(&theirs));
}

#[tokio::test]
async fn a_pair_that_a_person_wrote_is_replaced_and_owned_from_then_on() {
    let (server, sink, _file) = open().await;
    let (place, new) = (fresh_place(), pair(2));
    server.put(&place.path, r#"{"apiKeySid":"SK00000000000000000000000000000001","apiKeySecret":"by hand"}"#).await;
    put_pair(&sink, &place, &new).await;
    serves(&look(&sink, &place).await, &new);
    assert_eq!(owners(&server, &place.path).get("kubectl-edit Update"), None);
}

#[tokio::test]
async fn a_pair_that_a_person_wrote_under_an_old_name_is_taken_away_in_the_same_request() {
    let (server, sink, _file) = open().await;
    let (place, new) = (fresh_place(), pair(2));
    server.put(&place.path, r#"{"apiKeySid":"SK00000000000000000000000000000001","apiKeySecret":"by hand"}"#).await;
    let now = Members { api_key_sid: "KEY".into(), api_key_secret: "SECRET".into(), ..Members::default() };
    let names = Names { now, before: vec![Members::default()] };
    let base = version(&sink, &place).await;
    at(sink.publish(&place, &names, &new, &base).await);
    let text = server.text(&place.path).await.unwrap();
    assert!(!text.contains("apiKey") && !text.contains("by hand"), "{text}");
    assert_eq!(writes(&server), ["PATCH application/merge-patch+json"]);
    let base = version(&sink, &place).await;
    at(sink.publish(&place, &names, &pair(3), &base).await);
    assert_eq!(writes(&server).last().unwrap(), "PATCH application/apply-patch+yaml");
}

#[tokio::test]
async fn what_was_applied_once_and_is_still_wanted_is_said_again() {
    let (server, sink, _file) = open().await;
    let (place, mut with_more) = (fresh_place(), pair(1));
    server.put(&place.path, "{}").await;
    with_more.beside = Some(Beside::Signing(Signing {
        public_key: PublicKeySid::new("CR00000000000000000000000000000001").unwrap(),
        private_key: Secret::new("canary private".to_owned()),
    }));
    put_pair(&sink, &place, &with_more).await;
    put_pair(&sink, &place, &pair(2)).await;
    let data = server.object("secrets", &place.path).unwrap()["data"].clone();
    assert_eq!(data["privateKey"], STANDARD.encode("canary private"), "{data}");
}

#[tokio::test]
async fn a_fence_leaves_a_mark_that_was_never_there_and_touches_no_data() {
    let (server, sink, _file) = open().await;
    let (place, attempt) = (fresh_place(), attempt());
    let base = put_pair(&sink, &place, &pair(1)).await;
    let before = server.object("secrets", &place.path).unwrap();
    at(fence(&sink, &place, attempt, &base).await);
    let after = server.object("secrets", &place.path).unwrap();
    assert_eq!(after["metadata"]["annotations"]["rekeyd.dev/fence"], format!("{attempt} {base}"));
    assert_eq!(after["data"], before["data"]);
}

#[tokio::test]
async fn an_immutable_secret_is_refused_in_words_and_nothing_is_sent() {
    let (server, sink, _file) = open().await;
    let place = fresh_place();
    put_pair(&sink, &place, &pair(1)).await;
    server.edit("secrets", &place.path, |secret| secret["immutable"] = true.into());
    let (base, before) = (version(&sink, &place).await, writes(&server).len());
    let failure = not_done(publish(&sink, &place, &pair(2), &base).await);
    assert!(failure.fault == Fault::Refused && failure.detail.starts_with("the Secret is immutable"), "{failure}");
    assert_eq!(writes(&server).len(), before);
    // What was given up on must be fenced off even so, and its annotations are still open.
    let data = server.object("secrets", &place.path).unwrap()["data"].clone();
    at(fence(&sink, &place, attempt(), &base).await);
    let fenced = server.object("secrets", &place.path).unwrap();
    assert!(fenced["data"] == data && fenced["metadata"]["annotations"]["rekeyd.dev/fence"].is_string());
}

#[tokio::test]
async fn large_letters_of_a_place_are_small_ones_in_the_name_of_a_secret() {
    let (server, sink, _file) = open().await;
    put_pair(&sink, &place("twilio-AC0123-seed"), &pair(1)).await;
    assert!(server.object("secrets", "twilio-ac0123-seed").is_some());
}

#[tokio::test]
async fn a_name_that_could_lead_elsewhere_is_refused_before_anything_is_sent() {
    let (server, sink, _file) = open().await;
    for name in ["", "a/b", "..", "a_b", "-a", "a-", "a..b", "a?b", "é"] {
        let place = place(name);
        let read = sink.read(&place, &Names::default(), None).await;
        assert_eq!(not_done(read).fault, Fault::Refused, "{name}");
        let written = publish(&sink, &place, &pair(1), &Version("absent".into())).await;
        assert_eq!(not_done(written).fault, Fault::Refused, "{name}");
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_token_is_read_again_for_each_call() {
    let (server, sink, file) = open().await;
    let place = fresh_place();
    look(&sink, &place).await;
    server.allow("another-token", everything());
    server.allow(TOKEN, Vec::new());
    fs::write(file.path(), "another-token").unwrap();
    look(&sink, &place).await;
    fs::write(file.path(), "an-old-token").unwrap();
    let failure = not_done(sink.read(&place, &Names::default(), None).await);
    assert_eq!(
        (failure.fault, failure.detail.as_str()),
        (Fault::Unauthorized, "Kubernetes answered 401: Unauthorized")
    );
    fs::write(file.path(), "").unwrap();
    assert_eq!(not_done(sink.read(&place, &Names::default(), None).await).fault, Fault::Local);
}

#[tokio::test]
async fn the_server_is_known_by_the_authority_of_its_cluster_and_no_other() {
    http::install_crypto();
    let (server, _, file) = open().await;
    let (own, other) = (Authority::new("cluster"), Authority::new("somebody else"));
    let front = Front::start(&own, server.port).await;
    let place = fresh_place();
    let good = build(&front.url, NAMESPACE, Some(own.file.path()), file.path());
    put_pair(&good, &place, &pair(1)).await;
    let bad = build(&front.url, NAMESPACE, Some(other.file.path()), file.path());
    assert_eq!(not_done(bad.read(&place, &Names::default(), None).await).fault, Fault::Unreachable);
}

#[tokio::test]
async fn the_rules_that_the_documentation_names_are_enough_and_each_is_needed() {
    let (server, _, _file) = open().await;
    let rule = |(group, resource, verbs)| Rule { group, resource, verbs, names: Vec::new() };
    server.allow("least", RULES.into_iter().take(1).map(rule).collect());
    let (sink, _least) = with_token(&server.url(), "least");
    let place = fresh_place();
    let first = put_pair(&sink, &place, &pair(1)).await;
    let fenced = at(fence(&sink, &place, attempt(), &first).await);
    at(publish(&sink, &place, &pair(2), &fenced).await);
    let verbs: [&'static [&'static str]; 3] = [&["create", "patch"], &["get", "patch"], &["get", "create"]];
    for (verbs, missing) in verbs.into_iter().zip(["get", "create", "patch"]) {
        server.allow("less", vec![Rule { group: "", resource: "secrets", verbs, names: Vec::new() }]);
        let (sink, _less) = with_token(&server.url(), "less");
        let (place, base) = match missing {
            "create" => (fresh_place(), Version("absent".into())),
            _ => (place.clone(), version(&with_token(&server.url(), TOKEN).0, &place).await),
        };
        let failure = not_done(publish(&sink, &place, &pair(3), &base).await);
        let told = format!("cannot {missing} resource \"secrets\"");
        assert!(failure.fault == Fault::Forbidden && failure.detail.contains(&told), "{failure}");
    }
}

#[tokio::test]
async fn a_namespace_that_does_not_exist_serves_nothing_and_takes_nothing() {
    let (server, _, file) = open().await;
    let sink = build(&server.url(), "nowhere", None, file.path());
    let place = fresh_place();
    assert_eq!(look(&sink, &place).await.seen.content, Content::Absent);
    let failure = not_done(publish(&sink, &place, &pair(1), &Version("absent".into())).await);
    assert_eq!(failure.detail, "Kubernetes answered 404: namespaces \"nowhere\" not found");
}

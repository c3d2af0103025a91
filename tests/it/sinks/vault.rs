//! The Vault sink against a real OpenBao server: the contract, and what is peculiar to a KV engine of version 2.

use super::contract::{Bench, Hand};
use super::{at, attempt, conflict, fence, fresh_place, look, not_done, pair, place, publish, put_pair, serves};
use crate::support::openbao::{self, ROOT, Root};
use async_trait::async_trait;
use rekeyd::adapters::http::{self, Base, Connections, Deadlines};
use rekeyd::adapters::vault::Vault;
use rekeyd::model::document::{Content, Names};
use rekeyd::model::fault::Fault;
use rekeyd::model::names::Version;
use rekeyd::model::policy::{SecretSource, VaultAuth, VaultPolicy};
use rekeyd::ports::Sink;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::NamedTempFile;

/// A file that holds a secret, as an agent would write it.
pub(crate) fn secret_file(secret: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{secret}\n")).unwrap();
    file
}

pub(crate) fn token_from(file: &NamedTempFile) -> VaultAuth {
    VaultAuth::Token { token: SecretSource::File(file.path().to_owned()) }
}

/// A sink as the daemon would build it.
pub(crate) fn build(
    address: &str,
    mount: &str,
    namespace: Option<&str>,
    authority: Option<&Path>,
    auth: VaultAuth,
) -> Vault {
    let engine = VaultPolicy { namespace: namespace.map(str::to_owned), ..engine(address, mount, auth) };
    let base = Base::new(&engine.address).unwrap();
    let http = http::client(&base, authority, Deadlines::default(), Connections::Kept).unwrap();
    Vault::new(http, &engine).unwrap()
}

/// An engine as a policy says it that says no more than it has to.
pub(crate) fn engine(address: &str, mount: &str, auth: VaultAuth) -> VaultPolicy {
    let address = address.parse().unwrap();
    let (mount, custom_metadata) = (mount.to_owned(), BTreeMap::new());
    VaultPolicy { address, mount, namespace: None, ca_file: None, client: None, auth, custom_metadata }
}

/// A sink at this address that signs in with this token.
pub(crate) fn with_token(url: &str, token: &str) -> (Vault, NamedTempFile) {
    let file = secret_file(token);
    (build(url, "secret", None, None, token_from(&file)), file)
}

/// A sink that may do everything on the shared server.
pub(crate) fn as_root() -> (Vault, NamedTempFile) {
    with_token(&openbao::shared().url(), ROOT)
}

/// A sink for another mount of the shared server.
fn at_mount(mount: &str, namespace: Option<&str>) -> (Vault, NamedTempFile) {
    let file = secret_file(ROOT);
    (build(&openbao::shared().url(), mount, namespace, None, token_from(&file)), file)
}

/// A person who uses the API as root.
pub(crate) fn hand() -> Root {
    Root::new(openbao::shared())
}

fn bench() -> Bench {
    let (sink, file) = as_root();
    Bench { sink: Box::new(sink), hand: Box::new(hand()), _keep: Box::new(file) }
}

#[async_trait]
impl Hand for Root {
    async fn put(&self, path: &str, text: &str) {
        let (status, answer) = self.send("POST", &format!("secret/data/{path}"), format!(r#"{{"data":{text}}}"#)).await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn text(&self, path: &str) -> Option<String> {
        let (_, answer) = self.send("GET", &format!("secret/data/{path}"), String::new()).await;
        let answer: BTreeMap<String, &RawValue> = serde_json::from_str(&answer).unwrap();
        let data: BTreeMap<String, &RawValue> = serde_json::from_str(answer["data"].get()).unwrap();
        (data["data"].get() != "null").then(|| data["data"].get().to_owned())
    }

    async fn remove(&self, path: &str) {
        self.call("DELETE", &format!("secret/metadata/{path}"), json!({})).await;
    }
}

mod contract {
    contract!(super::bench());
}

#[tokio::test]
async fn versions_are_the_numbers_of_the_engine() {
    let ((sink, _file), place) = (as_root(), fresh_place());
    assert_eq!(look(&sink, &place).await.seen.version, Version("0".into()));
    assert_eq!(put_pair(&sink, &place, &pair(1)).await, Version("1".into()));
    assert_eq!(put_pair(&sink, &place, &pair(2)).await, Version("2".into()));
}

#[tokio::test]
async fn a_deleted_version_is_absent_and_keeps_its_number() {
    let ((sink, _file), place, next) = (as_root(), fresh_place(), pair(2));
    let base = put_pair(&sink, &place, &pair(1)).await;
    hand().call("DELETE", &format!("secret/data/{}", place.path), json!({})).await;
    let seen = look(&sink, &place).await.seen;
    assert_eq!((seen.content, &seen.version), (Content::Absent, &base));
    assert_eq!(at(publish(&sink, &place, &next, &base).await), Version("2".into()));
    serves(&look(&sink, &place).await, &next);
}

#[tokio::test]
async fn a_destroyed_version_is_absent_and_can_be_fenced() {
    let ((sink, _file), place) = (as_root(), fresh_place());
    let base = put_pair(&sink, &place, &pair(1)).await;
    hand().call("PUT", &format!("secret/destroy/{}", place.path), json!({"versions": [1]})).await;
    let seen = look(&sink, &place).await.seen;
    assert_eq!((seen.content, &seen.version), (Content::Absent, &base));
    at(fence(&sink, &place, attempt(), &base).await);
    assert_eq!(look(&sink, &place).await.seen.content, Content::Blank);
    conflict(publish(&sink, &place, &pair(2), &base).await);
}

#[tokio::test]
async fn a_mount_that_requires_compare_and_set_is_satisfied() {
    let (mount, hand) = (format!("strict-{}", fresh_place().path), hand());
    hand.call("POST", &format!("sys/mounts/{mount}"), json!({"type": "kv", "options": {"version": "2"}})).await;
    hand.call("POST", &format!("{mount}/config"), json!({"cas_required": true})).await;
    let ((sink, _file), place) = (at_mount(&mount, None), fresh_place());
    let (status, _) = hand.send("POST", &format!("{mount}/data/{}", place.path), r#"{"data":{}}"#.into()).await;
    assert_eq!(status, 400, "the setting has no effect here");
    let base = put_pair(&sink, &place, &pair(1)).await;
    let fenced = at(fence(&sink, &place, attempt(), &base).await);
    at(publish(&sink, &place, &pair(2), &fenced).await);
}

#[tokio::test]
async fn a_path_that_requires_compare_and_set_is_satisfied() {
    let ((sink, _file), place, hand) = (as_root(), fresh_place(), hand());
    hand.call("POST", &format!("secret/metadata/{}", place.path), json!({"cas_required": true})).await;
    let (status, _) = hand.send("POST", &format!("secret/data/{}", place.path), r#"{"data":{}}"#.into()).await;
    assert_eq!(status, 400, "the setting has no effect here");
    let base = put_pair(&sink, &place, &pair(1)).await;
    let fenced = at(fence(&sink, &place, attempt(), &base).await);
    at(publish(&sink, &place, &pair(2), &fenced).await);
}

#[tokio::test]
async fn paths_with_folders_and_odd_characters_are_kept_apart() {
    let ((sink, _file), hand) = (as_root(), hand());
    let folder = fresh_place().path;
    let paths = ["a", "a/b", "a b", "a%20b", "ü", "a?b=c", "a#b", "a+b", "..a", "a..", "%2e%2e", "a\\b"];
    for (number, path) in (0..).zip(paths) {
        let place = place(&format!("{folder}/{path}"));
        assert_eq!(look(&sink, &place).await.seen.content, Content::Absent, "{path}");
        put_pair(&sink, &place, &pair(number)).await;
    }
    for (number, path) in (0..).zip(paths) {
        let seen = look(&sink, &place(&format!("{folder}/{path}"))).await.seen;
        assert_eq!(seen.content.sid(), Some(&super::sid(number)), "{path}");
    }
    let listed = hand.call("LIST", &format!("secret/metadata/{folder}"), json!({})).await;
    let listed = listed["data"]["keys"].as_array().unwrap().len();
    assert_eq!(listed, paths.len(), "one of them landed elsewhere: a/b is listed as the folder a/");
}

#[tokio::test]
async fn paths_that_would_leave_the_mount_are_refused_before_anything_is_sent() {
    // Nobody listens there, so a request would end as "unreachable".
    let (sink, _file) = with_token("http://127.0.0.1:1", ROOT);
    for path in ["", "/", "/a", "a/", "a//b", ".", "..", "a/../../../sys/health", "a/./b", "a/\t../b", "a\nb"] {
        let place = place(path);
        let read = not_done(sink.read(&place, &Names::default(), None).await);
        assert_eq!(read.fault, Fault::Refused, "{path:?}");
        assert_eq!(not_done(publish(&sink, &place, &pair(1), &Version("0".into())).await).fault, Fault::Refused);
        assert_eq!(not_done(fence(&sink, &place, attempt(), &Version("0".into())).await).fault, Fault::Refused);
    }
    let reached = not_done(sink.read(&place("a"), &Names::default(), None).await);
    assert_eq!(reached.fault, Fault::Unreachable);
}

#[tokio::test]
async fn a_mount_path_with_folders_works() {
    let mount = format!("kv/{}", fresh_place().path);
    hand().call("POST", &format!("sys/mounts/{mount}"), json!({"type": "kv", "options": {"version": "2"}})).await;
    let ((sink, _file), place, pair) = (at_mount(&mount, None), fresh_place(), pair(1));
    put_pair(&sink, &place, &pair).await;
    serves(&look(&sink, &place).await, &pair);
}

#[tokio::test]
async fn a_namespace_is_another_world() {
    let namespace = fresh_place().path.to_string();
    let hand = hand();
    hand.call("POST", &format!("sys/namespaces/{namespace}"), json!({})).await;
    let mount = json!({"type": "kv", "options": {"version": "2"}});
    hand.call("POST", &format!("{namespace}/sys/mounts/secret"), mount).await;
    let ((inside, _file), (outside, _other)) = (at_mount("secret", Some(&namespace)), as_root());
    let (place, pair) = (fresh_place(), pair(1));
    put_pair(&inside, &place, &pair).await;
    serves(&look(&inside, &place).await, &pair);
    assert_eq!(look(&outside, &place).await.seen.content, Content::Absent);
}

#[tokio::test]
async fn a_server_with_a_private_authority_is_trusted_through_its_file_only() {
    let server = openbao::start_with_tls();
    let (file, place, pair) = (secret_file(ROOT), fresh_place(), pair(1));
    let url = server.url().replace("http://", "https://");
    let sink = |authority: Option<&Path>| build(&url, "secret", None, authority, token_from(&file));
    let trusting = sink(Some(&server.folder.path().join("vault-ca.pem")));
    put_pair(&trusting, &place, &pair).await;
    serves(&look(&trusting, &place).await, &pair);
    let failure = not_done(publish(&sink(None), &place, &pair, &Version("1".into())).await);
    assert_eq!(failure.fault, Fault::Unreachable);
}

#[tokio::test]
async fn a_version_1_engine_is_refused_before_anything_is_written() {
    let mount = format!("old-{}", fresh_place().path);
    let hand = hand();
    hand.call("POST", &format!("sys/mounts/{mount}"), json!({"type": "kv", "options": {"version": "1"}})).await;
    let ((sink, _file), place) = (at_mount(&mount, None), fresh_place());
    let failure = not_done(publish(&sink, &place, &pair(1), &Version("0".into())).await);
    assert_eq!(failure.fault, Fault::Refused, "{failure}");
    let (status, listed) = hand.send("LIST", &mount, String::new()).await;
    assert_eq!(status, 404, "something was written: {listed}");
}

#[test]
fn addresses_that_lead_elsewhere_than_a_servers_root_are_refused() {
    let (file, http) = (secret_file(ROOT), reqwest::Client::new());
    let build = |address: &str, mount: &str, namespace: Option<&str>| {
        let namespace = namespace.map(str::to_owned);
        let engine = VaultPolicy { namespace, ..engine(address, mount, token_from(&file)) };
        let sink = Vault::new(http.clone(), &engine);
        sink.map(drop).map_err(|unfit| unfit.to_string())
    };
    assert_eq!(build("https://vault.example.com:8200", "secret", Some("team/a")), Ok(()));
    let root = "address: accepted is http or https, a host and a port, without a path";
    for address in ["https://x/vault", "https://x/?a", "https://x/#a", "ftp://x", "unix:/x", "https://user@x"] {
        assert_eq!(build(address, "secret", None), Err(root.into()), "{address}");
    }
    let mount = "mount: accepted is segments divided by single slashes, none of them empty, . or ..";
    for bad in ["", "secret/", "a/../b"] {
        assert_eq!(build("https://x", bad, None), Err(mount.into()), "{bad}");
    }
    assert_eq!(build("https://x", "a", Some("a\nb")), Err("namespace: accepted is printable characters".into()));
}

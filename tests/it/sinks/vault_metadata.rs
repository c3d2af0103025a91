//! What stands beside a secret in Vault: notes of the operator, and how much is kept.

use super::vault::{engine, hand, secret_file, token_from, with_token};
use super::{at, attempt, fence, fresh_place, look, pair, put_pair, serves};
use crate::support::openbao::{self, ROOT};
use rekeyd::adapters::http::{self, Base, Connections, Deadlines};
use rekeyd::adapters::vault::{Keeping, Vault};
use rekeyd::model::fault::Fault;
use rekeyd::model::names::Place;
use rekeyd::model::policy::VaultPolicy;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// A sink that writes these notes.
fn noting(token: &str, notes: &[(&str, &str)]) -> (Vault, NamedTempFile) {
    let file = secret_file(token);
    let custom_metadata = notes.iter().map(|(name, note)| ((*name).to_owned(), (*note).to_owned())).collect();
    let engine = VaultPolicy { custom_metadata, ..engine(&openbao::shared().url(), "secret", token_from(&file)) };
    let http = http::client(&Base::new(&engine.address).unwrap(), None, Deadlines::default(), Connections::Kept);
    (Vault::new(http.unwrap(), &engine).unwrap(), file)
}

async fn metadata(place: &Place) -> Value {
    hand().call("GET", &format!("secret/metadata/{}", place.path), json!({})).await["data"].clone()
}

#[tokio::test]
async fn notes_are_written_with_a_pair_and_leave_those_of_others_alone() {
    let ((sink, _file), place) = (noting(ROOT, &[("owner", "payments"), ("tier", "1")]), fresh_place());
    put_pair(&sink, &place, &pair(1)).await;
    assert_eq!(metadata(&place).await["custom_metadata"], json!({"owner": "payments", "tier": "1"}));
    let theirs = json!({"custom_metadata": {"owner": "somebody", "theirs": "x"}, "max_versions": 7});
    hand().call("POST", &format!("secret/metadata/{}", place.path), theirs).await;
    put_pair(&sink, &place, &pair(2)).await;
    let found = metadata(&place).await;
    assert_eq!(found["custom_metadata"], json!({"owner": "payments", "tier": "1", "theirs": "x"}));
    assert_eq!((&found["max_versions"], &found["current_version"]), (&json!(7), &json!(2)));
}

#[tokio::test]
async fn notes_that_stand_there_are_not_written_again() {
    let ((sink, _file), place) = (noting(ROOT, &[("owner", "payments")]), fresh_place());
    put_pair(&sink, &place, &pair(1)).await;
    let before = metadata(&place).await["current_metadata_version"].clone();
    let base = put_pair(&sink, &place, &pair(2)).await;
    at(fence(&sink, &place, attempt(), &base).await);
    assert!(before.is_u64(), "{before}");
    assert_eq!(metadata(&place).await["current_metadata_version"], before);
}

#[tokio::test]
async fn a_token_that_may_not_write_notes_publishes_all_the_same() {
    let (hand, place, pair) = (hand(), fresh_place(), pair(1));
    let name = fresh_place().path;
    let rules = format!(r#"path "secret/data/{}" {{ capabilities = ["create", "read", "update"] }}"#, place.path);
    hand.call("PUT", &format!("sys/policies/acl/{name}"), json!({"policy": rules})).await;
    let made = hand.call("POST", "auth/token/create", json!({"policies": [&*name]})).await;
    let (sink, _file) = noting(made["auth"]["client_token"].as_str().unwrap(), &[("owner", "payments")]);
    put_pair(&sink, &place, &pair).await;
    serves(&look(&sink, &place).await, &pair);
    assert_eq!(metadata(&place).await["custom_metadata"], Value::Null);
}

#[tokio::test]
async fn what_is_kept_is_what_the_engine_or_the_path_says_whichever_is_more() {
    let (hand, mount) = (hand(), format!("kept-{}", fresh_place().path));
    let (file, paths) = (secret_file(ROOT), [fresh_place(), fresh_place()]);
    hand.call("POST", &format!("sys/mounts/{mount}"), json!({"type": "kv", "options": {"version": "2"}})).await;
    let sink = super::vault::build(&openbao::shared().url(), &mount, None, None, token_from(&file));
    let kept = async || sink.keeping(&paths).await.unwrap();
    let says = |versions, checked| Keeping { versions, checked };
    assert_eq!(kept().await, [says(10, false), says(10, false)]);
    for number in 0..12 {
        put_pair(&sink, &paths[1], &pair(number)).await;
    }
    let metadata = |place: &Place| format!("{mount}/metadata/{}", place.path);
    let versions = async |place: &Place| {
        let found = hand.call("GET", &metadata(place), json!({})).await;
        found["data"]["versions"].as_object().unwrap().len()
    };
    assert_eq!(versions(&paths[1]).await, 10);
    hand.call("POST", &metadata(&paths[1]), json!({"max_versions": 2, "cas_required": true})).await;
    assert_eq!(kept().await, [says(10, false), says(2, true)]);
    put_pair(&sink, &paths[1], &pair(13)).await;
    assert_eq!(versions(&paths[1]).await, 2);
    hand.call("POST", &format!("{mount}/config"), json!({"max_versions": 4, "cas_required": true})).await;
    assert_eq!(kept().await, [says(4, true), says(4, true)]);
    for number in 14..20 {
        put_pair(&sink, &paths[1], &pair(number)).await;
    }
    assert_eq!(versions(&paths[1]).await, 4);
}

#[tokio::test]
async fn what_is_kept_is_not_told_to_a_token_that_may_not_read_it() {
    let made = hand().call("POST", "auth/token/create", json!({"policies": ["default"]})).await;
    let (sink, _file) = with_token(&openbao::shared().url(), made["auth"]["client_token"].as_str().unwrap());
    assert_eq!(sink.keeping(&[fresh_place()]).await.unwrap_err().fault, Fault::Forbidden);
}

//! Leases of tokens: renewed while that helps, replaced when it does not, and used to their end while nobody answers.

use super::vault::{build, hand, secret_file, token_from};
use super::vault_session::{role_of, sink_with};
use super::{fresh_place, look, not_done, pair, put_pair, serves};
use crate::support::openbao;
use crate::support::wire::{Wire, json as answer};
use rekeyd::adapters::clock::SystemClock;
use rekeyd::adapters::vault::Vault;
use rekeyd::model::document::{Content, Names};
use rekeyd::model::policy::{SecretSource, VaultAuth};
use rekeyd::ports::Sink as _;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test]
async fn the_token_of_a_role_is_renewed_until_its_last_day_and_then_replaced() {
    let hand = hand();
    let role = role_of(&hand, json!({"token_ttl": "3s", "token_max_ttl": "7s"})).await;
    let (sink, place, pair) = (role.sink(&openbao::shared().url()), fresh_place(), pair(1));
    put_pair(&sink, &place, &pair).await;
    let first = role.tokens(&hand).await;
    // Longer than a lease: without a renewal the token would be gone.
    for _ in 0..4 {
        pause(1000).await;
        serves(&look(&sink, &place).await, &pair);
    }
    assert_eq!(first.len(), 1);
    assert_eq!(role.tokens(&hand).await, first);
    for _ in 0..4 {
        pause(1000).await;
        serves(&look(&sink, &place).await, &pair);
    }
    let later = role.tokens(&hand).await;
    assert!(!later.is_empty() && later != first, "{later:?}");
}

#[tokio::test]
async fn a_role_whose_tokens_may_not_be_renewed_signs_in_again() {
    let hand = hand();
    let role = role_of(&hand, json!({"token_ttl": "3s", "token_max_ttl": "1h", "token_no_default_policy": true})).await;
    let (sink, place, pair) = (role.sink(&openbao::shared().url()), fresh_place(), pair(1));
    put_pair(&sink, &place, &pair).await;
    for _ in 0..4 {
        pause(1000).await;
        serves(&look(&sink, &place).await, &pair);
    }
    assert_eq!(role.tokens(&hand).await.len(), 2, "each lives for three seconds, and is replaced after two");
}

#[tokio::test]
async fn a_role_stays_signed_in_while_nothing_is_asked() {
    let hand = hand();
    let role = role_of(&hand, json!({"token_ttl": "3s", "token_max_ttl": "1h"})).await;
    let (sink, place) = (Arc::new(role.sink(&openbao::shared().url())), fresh_place());
    look(&*sink, &place).await;
    let first = role.tokens(&hand).await;
    Vault::stay_signed_in(&sink, Arc::new(SystemClock::new()));
    pause(4500).await;
    look(&*sink, &place).await;
    assert_eq!(first.len(), 1);
    assert_eq!(role.tokens(&hand).await, first);
}

#[tokio::test]
async fn a_periodic_token_in_a_file_does_not_die_while_nobody_calls() {
    let hand = hand();
    let made = json!({"policies": ["root"], "no_parent": true, "period": "4s"});
    let made = [(); 2].map(|()| hand.call("POST", "auth/token/create", made.clone()));
    let files: Vec<_> = futures_util::future::join_all(made)
        .await
        .iter()
        .map(|made| secret_file(made["auth"]["client_token"].as_str().unwrap()))
        .collect();
    let (tended, left) = (Arc::new(sink_with(token_from(&files[0]))), sink_with(token_from(&files[1])));
    Vault::stay_signed_in(&tended, Arc::new(SystemClock::new()));
    let place = fresh_place();
    pause(6000).await;
    assert_eq!(look(&*tended, &place).await.seen.content, Content::Absent);
    not_done(left.read(&place, &Names::default(), None).await);
    // A token that takes its place is tended too, and one that is wrong does no harm.
    let next =
        hand.call("POST", "auth/token/create", json!({"policies": ["root"], "no_parent": true, "period": "4s"})).await;
    std::fs::write(files[0].path(), next["auth"]["client_token"].as_str().unwrap()).unwrap();
    pause(6000).await;
    assert_eq!(look(&*tended, &place).await.seen.content, Content::Absent);
}

#[tokio::test]
async fn a_token_is_used_to_its_end_while_nobody_renews_or_replaces_it() {
    let login = r#"{"auth":{"client_token":"canary-token","accessor":"a","policies":[],"token_policies":[],"metadata":null,
        "lease_duration":6,"renewable":true,"entity_id":"","token_type":"service","orphan":true}}"#;
    let server = Wire::start(move |request| match request.line() {
        line if line.starts_with("GET ") => answer(404, r#"{"errors":[]}"#),
        _ if request.number == 0 => answer(200, login),
        _ => answer(503, r#"{"errors":["not now"]}"#),
    })
    .await;
    let file = secret_file("canary-secret-id");
    let secret_id = SecretSource::File(file.path().to_owned());
    let auth = VaultAuth::AppRole { mount: "approle".to_owned(), role_id: "role".to_owned(), secret_id };
    let sink = build(server.url().as_str(), "secret", None, None, auth);
    let place = fresh_place();
    look(&sink, &place).await;
    pause(4100).await;
    // One try to renew it, and none for the second read that comes at once.
    look(&sink, &place).await;
    look(&sink, &place).await;
    let (login, renewal) = ("POST /v1/auth/approle/login", "POST /v1/auth/token/renew-self");
    let read = format!("GET /v1/secret/data/{}?", place.path);
    assert_eq!(server.lines(), [login, &read, renewal, &read, &read]);
    pause(2000).await;
    not_done(sink.read(&place, &Names::default(), None).await);
    assert_eq!(server.lines().last().map(String::as_str), Some(login));
}

//! Signing in to Vault: tokens that are replaced while the daemon runs, and roles whose tokens end.

use super::vault::{as_root, build, hand, secret_file, token_from};
use super::vault_faults::answer;
use super::{fresh_place, look, not_done, pair, publish, put_pair, serves};
use crate::support::openbao::{self, ROOT, Root};
use crate::support::proxy::{Fate, Proxy};
use rekeyd::adapters::vault::Vault;
use rekeyd::model::document::{Content, Names};
use rekeyd::model::fault::Fault;
use rekeyd::model::names::Version;
use rekeyd::model::policy::{SecretSource, VaultAuth};
use rekeyd::ports::Sink as _;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tempfile::NamedTempFile;

/// A role on the shared server: an auth mount of its own, the role's id, and a file with its secret.
pub(super) struct Role {
    pub(super) mount: String,
    role_id: String,
    secret_id: NamedTempFile,
}

/// Makes a role that may use `secret/`, with tokens that last this long.
async fn role(hand: &Root, lasts: &str) -> Role {
    role_of(hand, json!({"token_ttl": lasts, "token_max_ttl": lasts})).await
}

/// The same, with these settings.
pub(super) async fn role_of(hand: &Root, mut settings: Value) -> Role {
    let mount = fresh_place().path.to_string();
    let policy = json!({"policy": r#"path "secret/data/*" { capabilities = ["create", "read", "update"] }"#});
    hand.call("PUT", &format!("sys/policies/acl/{mount}"), policy).await;
    hand.call("POST", &format!("sys/auth/{mount}"), json!({"type": "approle"})).await;
    settings["token_policies"] = json!([&mount]);
    hand.call("POST", &format!("auth/{mount}/role/r"), settings).await;
    let role_id = hand.call("GET", &format!("auth/{mount}/role/r/role-id"), json!({})).await;
    let secret_id = hand.call("POST", &format!("auth/{mount}/role/r/secret-id"), json!({})).await;
    Role {
        mount,
        role_id: role_id["data"]["role_id"].as_str().unwrap().to_owned(),
        secret_id: secret_file(secret_id["data"]["secret_id"].as_str().unwrap()),
    }
}

impl Role {
    pub(super) fn sink(&self, url: &str) -> Vault {
        let auth = VaultAuth::AppRole {
            mount: self.mount.clone(),
            role_id: self.role_id.clone(),
            secret_id: SecretSource::File(self.secret_id.path().to_owned()),
        };
        build(url, "secret", None, None, auth)
    }

    /// How many tokens logins at this mount have brought that still live.
    pub(super) async fn tokens(&self, hand: &Root) -> Vec<String> {
        let listed = hand.call("LIST", "auth/token/accessors", json!({})).await;
        let mut found = Vec::new();
        for accessor in listed["data"]["keys"].as_array().unwrap() {
            let asked = json!({"accessor": accessor}).to_string();
            let (status, answer) = hand.send("POST", "auth/token/lookup-accessor", asked).await;
            if status == 200 && answer.contains(&format!("auth/{}/login", self.mount)) {
                found.push(accessor.as_str().unwrap().to_owned());
            }
        }
        found
    }
}

pub(super) fn sink_with(auth: VaultAuth) -> Vault {
    build(&openbao::shared().url(), "secret", None, None, auth)
}

#[tokio::test]
async fn a_wrong_token_is_not_accepted_until_its_file_is_replaced() {
    let (file, place, pair) = (secret_file("s.wrong"), fresh_place(), pair(1));
    let sink = sink_with(token_from(&file));
    let failure = not_done(publish(&sink, &place, &pair, &Version("0".into())).await);
    // OpenBao tells a wrong token from a missing right no more than this.
    assert_eq!(failure.fault, Fault::Forbidden);
    assert!(!failure.detail.contains("s.wrong"), "{failure}");
    fs::write(file.path(), ROOT).unwrap();
    put_pair(&sink, &place, &pair).await;
    serves(&look(&sink, &place).await, &pair);
}

#[tokio::test]
async fn a_token_file_that_is_missing_or_unfit_is_a_local_fault_and_nothing_is_sent() {
    let missing = VaultAuth::Token { token: SecretSource::File(Path::new("/nonexistent/token").to_owned()) };
    let unset = VaultAuth::Token { token: SecretSource::Env("REKEYD_TEST_NEVER_SET".into()) };
    let two_lines = secret_file("one\ntwo");
    for auth in [missing, unset, token_from(&two_lines)] {
        let sink = sink_with(auth);
        assert_eq!(not_done(sink.read(&fresh_place(), &Names::default(), None).await).fault, Fault::Local);
        let written = publish(&sink, &fresh_place(), &pair(1), &Version("0".into())).await;
        assert_eq!(not_done(written).fault, Fault::Local);
    }
}

#[tokio::test]
async fn a_role_signs_in_once_and_keeps_its_token() {
    let hand = hand();
    let role = role(&hand, "1h").await;
    let (sink, place, pair) = (role.sink(&openbao::shared().url()), fresh_place(), pair(1));
    put_pair(&sink, &place, &pair).await;
    let looks = (0..8).map(|_| look(&sink, &place));
    for reading in futures_util::future::join_all(looks).await {
        serves(&reading, &pair);
    }
    assert_eq!(role.tokens(&hand).await.len(), 1);
}

#[tokio::test]
async fn calls_at_the_same_time_wait_for_one_login() {
    let hand = hand();
    let role = role(&hand, "1h").await;
    let (sink, place) = (role.sink(&openbao::shared().url()), fresh_place());
    futures_util::future::join_all((0..8).map(|_| look(&sink, &place))).await;
    assert_eq!(role.tokens(&hand).await.len(), 1);
}

#[tokio::test]
async fn a_role_goes_on_working_when_its_tokens_end() {
    let hand = hand();
    let role = role(&hand, "2s").await;
    let (sink, place) = (role.sink(&openbao::shared().url()), fresh_place());
    for number in 0..6 {
        put_pair(&sink, &place, &pair(number)).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
}

#[tokio::test]
async fn a_role_whose_token_was_revoked_signs_in_again_and_the_write_goes_through() {
    let hand = hand();
    let role = role(&hand, "1h").await;
    let (sink, place, next) = (role.sink(&openbao::shared().url()), fresh_place(), pair(2));
    let base = put_pair(&sink, &place, &pair(1)).await;
    for accessor in role.tokens(&hand).await {
        hand.call("POST", "auth/token/revoke-accessor", json!({"accessor": accessor})).await;
    }
    let written = publish(&sink, &place, &next, &base).await;
    assert_eq!(super::at(written), Version("2".into()));
    serves(&look(&sink, &place).await, &next);
}

#[tokio::test]
async fn a_role_that_may_not_write_is_forbidden_after_one_more_login() {
    let hand = hand();
    let role = role(&hand, "1h").await;
    let sink = role.sink(&openbao::shared().url());
    look(&sink, &fresh_place()).await;
    let less = json!({"policy": r#"path "x" { capabilities = ["read"] }"#});
    hand.call("PUT", &format!("sys/policies/acl/{}", role.mount), less).await;
    let outcome = sink.read(&fresh_place(), &Names::default(), None).await;
    assert_eq!(not_done(outcome).fault, Fault::Forbidden);
    assert_eq!(role.tokens(&hand).await.len(), 2);
}

#[tokio::test]
async fn a_role_that_never_had_the_right_is_forbidden_after_one_login() {
    let hand = hand();
    let role = role(&hand, "1h").await;
    let less = json!({"policy": r#"path "x" { capabilities = ["read"] }"#});
    hand.call("PUT", &format!("sys/policies/acl/{}", role.mount), less).await;
    let outcome = role.sink(&openbao::shared().url()).read(&fresh_place(), &Names::default(), None).await;
    assert_eq!(not_done(outcome).fault, Fault::Forbidden);
    assert_eq!(role.tokens(&hand).await.len(), 1);
}

#[tokio::test]
async fn a_wrong_secret_id_is_unauthorized_and_nothing_is_written() {
    let hand = hand();
    let role = role(&hand, "1h").await;
    fs::write(role.secret_id.path(), "canary-secret-id").unwrap();
    let (sink, place) = (role.sink(&openbao::shared().url()), fresh_place());
    let failure = not_done(publish(&sink, &place, &pair(1), &Version("0".into())).await);
    assert!(failure.fault == Fault::Unauthorized && !failure.detail.contains("canary"), "{failure}");
    let (good, _file) = as_root();
    assert_eq!(look(&good, &place).await.seen.content, Content::Absent);
}

#[tokio::test]
async fn a_login_without_an_answer_has_written_nothing() {
    let hand = hand();
    let role = role(&hand, "1h").await;
    for fate in [Fate::Lost, Fate::AnswerLost, Fate::Answered(answer(500, ""))] {
        let proxy = Proxy::start(openbao::shared().port, "/login", fate).await;
        let written = publish(&role.sink(&proxy.url), &fresh_place(), &pair(1), &Version("0".into())).await;
        assert!(matches!(not_done(written).fault, Fault::Unreachable | Fault::Server), "{fate:?}");
    }
}

//! Whoever answers may repeat what it was sent. Twilio, Vault and Secrets Manager each repeat the secrets of the request
//! in their errors, in all seven encodings, and none of it may be told on (protocol, S6).

use super::canary::Seen;
use super::rig::{QUICK, Rig};
use crate::support::counted::counted;
use crate::support::disguise::ENCODINGS;
use crate::support::proxy::{Fate, Proxy};
use crate::support::{emulator, openbao};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Every secret in a request: the token, the password, and the one in the value that is written.
fn held(request: &str) -> Vec<String> {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let basic = header("authorization").and_then(|value| {
        let pair = String::from_utf8(STANDARD.decode(value.strip_prefix("Basic ")?).unwrap()).unwrap();
        Some(pair.split_once(':').unwrap().1.to_owned())
    });
    let after =
        body.split_once("apiKeySecret").map(|(_, rest)| rest.trim_start_matches(|c: char| !c.is_alphanumeric()));
    let written = after.map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned());
    header("x-vault-token").into_iter().chain(basic).chain(written).collect()
}

/// The text of an error: all secrets, each in the encoding whose turn it is.
fn text(request: &str, number: usize) -> String {
    let (_, encoding) = ENCODINGS[number % ENCODINGS.len()];
    let held = held(request);
    assert!(!held.is_empty(), "{request}");
    let encoded = held.iter().map(|secret| String::from_utf8(encoding(secret.as_bytes()).remove(0)).unwrap());
    format!("echo: {}", encoded.collect::<Vec<_>>().join(" "))
}

fn answer(body: &Value) -> String {
    let body = body.to_string();
    let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn by_twilio(request: &str, number: usize) -> String {
    answer(&json!({ "code": 20001, "message": text(request, number), "status": 400 }))
}

fn by_vault(request: &str, number: usize) -> String {
    answer(&json!({ "errors": [text(request, number)] }))
}

fn by_aws(request: &str, number: usize) -> String {
    answer(&json!({ "__type": "InvalidParameterException", "Message": text(request, number) }))
}

/// Seven credentials meet seven errors with a secret in them; everything that was written about it is searched.
/// Answers how many there were.
async fn told_of(url: fn(&Rig) -> String, chosen: &'static str, echo: fn(&str, usize) -> String) -> usize {
    let rig = Rig::new(&["one", "two", "three", "four", "five", "six", "seven"], QUICK).await;
    let url = url(&rig);
    let port = url.rsplit(':').next().unwrap().parse().unwrap();
    let proxy = Proxy::start(port, chosen, Fate::Echoed(echo)).await;
    let policy = std::fs::read_to_string(rig.path("policy.toml")).unwrap();
    std::fs::write(rig.path("policy.toml"), policy.replace(&url, &proxy.url)).unwrap();
    let daemon = rig.start();
    let told = || rig.log().matches("echo: ").count();
    rig.until("every encoding came back and was told of", || proxy.chosen() >= 7 && told() >= 7).await;
    let mut seen = Seen::default();
    seen.look(&rig, &daemon).await;
    drop(daemon);
    seen.files(rig.dir.path());
    seen.expect_no_secret(&rig);
    proxy.chosen()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_twilio_that_repeats_the_main_key_does_not_tell_it() {
    let count = told_of(|rig| rig.sandbox.url(), "POST /2010-04-01/", by_twilio).await;
    counted("errors that repeated a secret", count);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_twilio_that_repeats_a_new_key_does_not_tell_it() {
    let count = told_of(|rig| rig.sandbox.url(), "IncomingPhoneNumbers", by_twilio).await;
    counted("errors that repeated a secret", count);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_vault_that_repeats_token_and_pair_does_not_tell_them() {
    let count = told_of(|_| openbao::shared().url(), "POST /v1/secret/data/", by_vault).await;
    counted("errors that repeated a secret", count);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_vault_that_repeats_the_token_does_not_tell_it() {
    let count = told_of(|_| openbao::shared().url(), "GET /v1/secret/data/", by_vault).await;
    counted("errors that repeated a secret", count);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_secrets_manager_that_repeats_the_pair_does_not_tell_it() {
    let count = told_of(|_| emulator::shared().url(), "secretsmanager.CreateSecret", by_aws).await;
    counted("errors that repeated a secret", count);
}

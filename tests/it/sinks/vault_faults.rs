//! How the Vault sink tells "not done" from "unknown": each answer, and each way to have none.

use super::vault::{as_root, build, engine, hand, secret_file, token_from, with_token};
use super::{
    at, attempt, conflict, fence, fresh_place, look, not_done, pair, publish, put_pair, serves, unknown, version,
};
use crate::support::openbao::{self, ROOT, Root};
use crate::support::proxy::{Fate, Proxy};
use rekeyd::adapters::vault::Vault;
use rekeyd::model::document::{Content, Names};
use rekeyd::model::fault::{Fault, Outcome};
use rekeyd::model::names::Version;
use rekeyd::ports::Sink as _;
use serde_json::json;
use std::time::Duration;

/// The first line of a write, by which the proxy chooses it.
const WRITE: &str = "POST /v1/secret/data/";
const READ: &str = "GET /v1/secret/data/";

/// An answer as it goes over the wire.
pub(crate) fn answer(status: u16, body: &str) -> &'static str {
    format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len()).leak()
}

/// The same server through a proxy that does this to writes.
async fn troubled(text: &'static str, fate: Fate) -> (Vault, Proxy, tempfile::NamedTempFile) {
    let proxy = Proxy::start(openbao::shared().port, text, fate).await;
    let (sink, file) = with_token(&proxy.url, ROOT);
    (sink, proxy, file)
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_unknown_and_a_look_shows_the_truth() {
    let ((good, _file), (sink, _proxy, _other)) = (as_root(), troubled(WRITE, Fate::AnswerLost).await);
    let (place, first, second) = (fresh_place(), pair(1), pair(2));
    let failure = unknown(publish(&sink, &place, &first, &Version("0".into())).await);
    assert_eq!(failure.fault, Fault::Unreachable);
    let reading = look(&good, &place).await;
    serves(&reading, &first);
    conflict(publish(&good, &place, &first, &Version("0".into())).await);
    unknown(publish(&sink, &place, &second, &reading.seen.version).await);
    serves(&look(&good, &place).await, &second);
}

#[tokio::test]
async fn a_write_that_never_arrives_looks_the_same_and_a_look_shows_the_truth() {
    let ((good, _file), (sink, _proxy, _other)) = (as_root(), troubled(WRITE, Fate::Lost).await);
    let place = fresh_place();
    unknown(publish(&sink, &place, &pair(1), &Version("0".into())).await);
    assert_eq!(look(&good, &place).await.seen.content, Content::Absent);
    put_pair(&good, &place, &pair(1)).await;
}

#[tokio::test]
async fn a_fence_whose_answer_is_lost_is_unknown_and_holds() {
    let ((good, _file), (sink, _proxy, _other)) = (as_root(), troubled(WRITE, Fate::AnswerLost).await);
    let (place, late) = (fresh_place(), pair(2));
    let base = put_pair(&good, &place, &pair(1)).await;
    unknown(fence(&sink, &place, late.stamp.attempt, &base).await);
    assert_ne!(version(&good, &place).await, base);
    conflict(publish(&good, &place, &late, &base).await);
}

#[tokio::test]
async fn a_write_that_is_not_answered_in_time_is_unknown() {
    let proxy = Proxy::start(openbao::shared().port, WRITE, Fate::Silence).await;
    let (file, place, pair) = (secret_file(ROOT), fresh_place(), pair(1));
    let http = reqwest::Client::builder().timeout(Duration::from_millis(500)).build().unwrap();
    let sink = Vault::new(http, &engine(&proxy.url, "secret", token_from(&file))).unwrap();
    assert_eq!(unknown(publish(&sink, &place, &pair, &Version("0".into())).await).fault, Fault::Timeout);
    let (good, _file) = as_root();
    serves(&look(&good, &place).await, &pair);
}

#[tokio::test]
async fn an_answer_that_may_come_from_in_between_is_unknown() {
    let answers = [
        (Fault::Server, answer(503, "")),
        (Fault::Server, answer(500, r#"{"errors":["oops"]}"#)),
        (Fault::Forbidden, answer(403, r#"<h1>No</h1"#)),
        (Fault::Refused, answer(408, "")),
        (Fault::Malformed, answer(200, r#"{}"#)),
        (Fault::Malformed, answer(204, "")),
        (Fault::Unreachable, "HTTP/1.1 200 x\r\ncontent-length: 100\r\n\r\n{\"data\""),
        (Fault::Malformed, "nonsense\r\n\r\n"),
    ];
    let (good, _file) = as_root();
    for (fault, answer) in answers {
        let (sink, _proxy, _other) = troubled(WRITE, Fate::Answered(answer)).await;
        let (place, pair) = (fresh_place(), pair(1));
        assert_eq!(unknown(publish(&sink, &place, &pair, &Version("0".into())).await).fault, fault, "{answer:?}");
        serves(&look(&good, &place).await, &pair);
    }
}

#[tokio::test]
async fn an_answer_that_says_no_is_not_done() {
    let answers = [
        (Fault::Throttled, answer(429, "")),
        (Fault::Refused, "HTTP/1.1 307 x\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"),
        (Fault::Refused, answer(400, r#"{"errors":["oops"]}"#)),
        (Fault::Refused, answer(404, r#"{"errors":["oops"]}"#)),
        (Fault::Forbidden, answer(403, r#"{"errors":["oops"]}"#)),
        (Fault::Unauthorized, answer(403, r#"{"errors":["permission denied","invalid token"]}"#)),
    ];
    for (fault, answer) in answers {
        let (sink, _proxy, _file) = troubled(WRITE, Fate::Answered(answer)).await;
        let written = publish(&sink, &fresh_place(), &pair(1), &Version("0".into())).await;
        assert_eq!(not_done(written).fault, fault, "{answer:?}");
    }
}

#[tokio::test]
async fn what_vault_says_is_repeated_without_the_secret() {
    let said = answer(400, r#"{"errors":["the value canary1111 is not to my taste"]}"#);
    let (sink, _proxy, _file) = troubled(WRITE, Fate::Answered(said)).await;
    let failure = not_done(publish(&sink, &fresh_place(), &pair(1), &Version("0".into())).await);
    assert_eq!(failure.detail, "Vault answered 400: the value [secret] is not to my taste");
}

#[tokio::test]
async fn a_look_that_fails_before_a_write_leaves_nothing_unknown() {
    let (sink, _proxy, _file) = troubled(READ, Fate::AnswerLost).await;
    let place = fresh_place();
    assert_eq!(not_done(publish(&sink, &place, &pair(1), &Version("0".into())).await).fault, Fault::Unreachable);
    let (good, _file) = as_root();
    assert_eq!(look(&good, &place).await.seen.content, Content::Absent);
}

#[tokio::test]
async fn an_answer_longer_than_a_mebibyte_is_not_read() {
    let long = answer(200, &" ".repeat(1024 * 1024 + 1));
    let (sink, _proxy, _file) = troubled(READ, Fate::Answered(long)).await;
    let outcome = sink.read(&fresh_place(), &Names::default(), None).await;
    assert_eq!(outcome.answer().err().unwrap().fault, Fault::Malformed);
}

#[tokio::test]
async fn answers_to_a_read_that_make_no_sense_show_nothing() {
    let answers = [
        (Fault::Malformed, answer(200, r#"{}"#)),
        (Fault::Malformed, answer(200, r#"{"data":{"data":{}}}"#)),
        (Fault::Refused, answer(404, "")),
        (Fault::Refused, answer(404, r#"{"errors":["oops"]}"#)),
        (Fault::Server, answer(412, r#"{"errors":["oops"]}"#)),
    ];
    for (fault, answer) in answers {
        let (sink, _proxy, _file) = troubled(READ, Fate::Answered(answer)).await;
        let outcome = sink.read(&fresh_place(), &Names::default(), None).await;
        assert_eq!(outcome.answer().err().unwrap().fault, fault, "{answer:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_unreachable_and_nothing_was_done() {
    let (sink, _file) = with_token(&format!("http://127.0.0.1:{}", crate::support::server::free_port()), ROOT);
    let (place, base) = (fresh_place(), Version("0".into()));
    assert_eq!(not_done(sink.read(&place, &Names::default(), None).await).fault, Fault::Unreachable);
    assert_eq!(not_done(publish(&sink, &place, &pair(1), &base).await).fault, Fault::Unreachable);
    assert_eq!(not_done(fence(&sink, &place, attempt(), &base).await).fault, Fault::Unreachable);
}

#[tokio::test]
async fn a_sealed_vault_shows_nothing_and_takes_nothing() {
    let server = openbao::start();
    let (sink, _file) = with_token(&server.url(), ROOT);
    let place = fresh_place();
    let base = put_pair(&sink, &place, &pair(1)).await;
    Root::new(&server).call("PUT", "sys/seal", json!({})).await;
    let failure = sink.read(&place, &Names::default(), None).await.answer().err().unwrap();
    assert!(failure.fault == Fault::Server && failure.detail.contains("sealed"), "{failure}");
    assert_eq!(not_done(publish(&sink, &place, &pair(2), &base).await).fault, Fault::Server);
}

#[tokio::test]
async fn a_token_without_the_right_is_forbidden_and_nothing_was_done() {
    let (hand, place) = (hand(), fresh_place());
    let name = fresh_place().path;
    let rules = format!(r#"path "secret/data/{}" {{ capabilities = ["read"] }}"#, place.path);
    hand.call("PUT", &format!("sys/policies/acl/{name}"), json!({"policy": rules})).await;
    let made = hand.call("POST", "auth/token/create", json!({"policies": [&*name]})).await;
    let (sink, _file) = with_token(&openbao::shared().url(), made["auth"]["client_token"].as_str().unwrap());
    assert_eq!(look(&sink, &place).await.seen.content, Content::Absent);
    assert_eq!(not_done(publish(&sink, &place, &pair(1), &Version("0".into())).await).fault, Fault::Forbidden);
    assert_eq!(not_done(fence(&sink, &place, attempt(), &Version("0".into())).await).fault, Fault::Forbidden);
    let other = not_done(sink.read(&fresh_place(), &Names::default(), None).await);
    assert_eq!(other.fault, Fault::Forbidden);
}

#[tokio::test]
async fn a_token_with_the_rights_that_the_documentation_names_is_enough() {
    let (hand, place) = (hand(), fresh_place());
    let name = fresh_place().path;
    let rules = format!(r#"path "secret/data/{}" {{ capabilities = ["create", "read", "update"] }}"#, place.path);
    hand.call("PUT", &format!("sys/policies/acl/{name}"), json!({"policy": rules})).await;
    let made = hand.call("POST", "auth/token/create", json!({"policies": [&*name]})).await;
    let (sink, _file) = with_token(&openbao::shared().url(), made["auth"]["client_token"].as_str().unwrap());
    let first = put_pair(&sink, &place, &pair(1)).await;
    let fenced = at(fence(&sink, &place, attempt(), &first).await);
    at(publish(&sink, &place, &pair(2), &fenced).await);
}

#[tokio::test]
async fn a_mount_that_does_not_exist_is_refused() {
    let file = secret_file(ROOT);
    let sink = build(&openbao::shared().url(), "nowhere", None, None, token_from(&file));
    let outcome = sink.read(&fresh_place(), &Names::default(), None).await;
    assert_eq!(outcome.answer().err().unwrap().fault, Fault::Refused);
}

#[tokio::test]
async fn a_rate_limit_of_the_server_is_throttled_and_nothing_was_done() {
    let server = openbao::start();
    let (sink, _file) = with_token(&server.url(), ROOT);
    let place = fresh_place();
    let base = put_pair(&sink, &place, &pair(1)).await;
    let quota = json!({"path": "secret/", "rate": 0.01, "interval": "60s"});
    Root::new(&server).call("POST", "sys/quotas/rate-limit/tight", quota).await;
    let mut throttled = None;
    for _ in 0..3 {
        throttled = match publish(&sink, &place, &pair(2), &base).await {
            Outcome::NotDone(failure) => Some(failure.fault),
            _ => throttled,
        };
    }
    assert_eq!(throttled, Some(Fault::Throttled));
}

//! How the Kubernetes sink tells "not done" from "unknown": each answer, and each way to have none.

use super::kubernetes::{TOKEN, open, with_token};
use super::vault_faults::answer;
use super::{
    at, attempt, conflict, fence, fresh_place, look, not_done, pair, publish, put_pair, serves, unknown, version,
};
use crate::support::apiserver::{ApiServer, NAMESPACE};
use crate::support::proxy::{Fate, Proxy};
use rekeyd::adapters::http::Base;
use rekeyd::adapters::kubernetes::Cluster;
use rekeyd::model::document::{Content, Names};
use rekeyd::model::fault::Fault;
use rekeyd::model::names::Version;
use rekeyd::model::policy::SecretSource;
use rekeyd::ports::Sink as _;
use serde_json::json;
use std::time::Duration;

/// The first lines of writes, by which the proxy chooses them.
const CREATE: &str = "POST /api/v1/";
const PATCH: &str = "PATCH /api/v1/";
const READ: &str = "GET /api/v1/";

fn absent() -> Version {
    Version("absent".into())
}

/// The same server through a proxy that does this to requests with that text.
async fn troubled(server: &ApiServer, text: &'static str, fate: Fate) -> (Cluster, Proxy, tempfile::NamedTempFile) {
    let proxy = Proxy::start(server.port, text, fate).await;
    let (sink, file) = with_token(&proxy.url, TOKEN);
    (sink, proxy, file)
}

/// An error as Kubernetes writes it.
fn status(code: u16, reason: &str, message: &str) -> &'static str {
    let body = json!({ "kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code });
    answer(code, &body.to_string())
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_unknown_and_a_look_shows_the_truth() {
    let (server, good, _file) = open().await;
    let (place, first, second) = (fresh_place(), pair(1), pair(2));
    let (sink, _proxy, _other) = troubled(&server, CREATE, Fate::AnswerLost).await;
    assert_eq!(unknown(publish(&sink, &place, &first, &absent()).await).fault, Fault::Unreachable);
    let reading = look(&good, &place).await;
    serves(&reading, &first);
    conflict(publish(&good, &place, &first, &absent()).await);
    let (sink, _proxy, _other) = troubled(&server, PATCH, Fate::AnswerLost).await;
    unknown(publish(&sink, &place, &second, &reading.seen.version).await);
    serves(&look(&good, &place).await, &second);
}

#[tokio::test]
async fn a_write_that_never_arrives_looks_the_same_and_a_look_shows_the_truth() {
    let (server, good, _file) = open().await;
    let (sink, _proxy, _other) = troubled(&server, CREATE, Fate::Lost).await;
    let place = fresh_place();
    unknown(publish(&sink, &place, &pair(1), &absent()).await);
    assert_eq!(look(&good, &place).await.seen.content, Content::Absent);
    put_pair(&good, &place, &pair(1)).await;
}

#[tokio::test]
async fn a_fence_whose_answer_is_lost_is_unknown_and_holds() {
    let (server, good, _file) = open().await;
    let (sink, _proxy, _other) = troubled(&server, PATCH, Fate::AnswerLost).await;
    let (place, late) = (fresh_place(), pair(2));
    let base = put_pair(&good, &place, &pair(1)).await;
    unknown(fence(&sink, &place, late.stamp.attempt, &base).await);
    assert_ne!(version(&good, &place).await, base);
    conflict(publish(&good, &place, &late, &base).await);
}

#[tokio::test]
async fn a_write_that_arrives_twice_is_done_once() {
    let (server, good, _file) = open().await;
    let (place, second) = (fresh_place(), pair(2));
    let base = put_pair(&good, &place, &pair(1)).await;
    let (sink, proxy, _other) = troubled(&server, PATCH, Fate::Twice).await;
    // Which of the two is answered is for the network to say.
    drop(publish(&sink, &place, &second, &base).await);
    assert!(proxy.chosen() > 0);
    serves(&look(&good, &place).await, &second);
    assert_eq!(server.object("secrets", &place.path).unwrap()["metadata"]["resourceVersion"], "2");
}

#[tokio::test]
async fn a_secret_that_goes_or_comes_between_the_look_and_the_write_is_a_conflict() {
    let (server, good, _file) = open().await;
    let gone = fresh_place();
    let base = put_pair(&good, &gone, &pair(1)).await;
    let shown = server.object("secrets", &gone.path).unwrap();
    let seen: &'static str = answer(200, &shown.to_string());
    let (sink, _proxy, _other) = troubled(&server, READ, Fate::Answered(seen)).await;
    server.remove("secrets", &gone.path);
    conflict(publish(&sink, &gone, &pair(2), &base).await);
    conflict(fence(&sink, &gone, attempt(), &base).await);
    assert_eq!(look(&good, &gone).await.seen.content, Content::Absent, "nothing was made");
    let again = put_pair(&good, &gone, &pair(3)).await;
    conflict(publish(&sink, &gone, &pair(2), &base).await);
    assert_eq!(version(&good, &gone).await, again);
    let name = &gone.path;
    let none = json!({ "kind": "Status", "reason": "NotFound", "details": { "kind": "secrets", "name": &**name } });
    let (blind, _proxy, _third) = troubled(&server, READ, Fate::Answered(answer(404, &none.to_string()))).await;
    conflict(publish(&blind, &gone, &pair(2), &absent()).await);
    conflict(fence(&blind, &gone, attempt(), &absent()).await);
}

#[tokio::test]
async fn a_write_that_is_not_answered_in_time_is_unknown() {
    let (server, good, file) = open().await;
    let proxy = Proxy::start(server.port, CREATE, Fate::Silence).await;
    let (place, pair) = (fresh_place(), pair(1));
    let http = reqwest::Client::builder().timeout(Duration::from_millis(500)).build().unwrap();
    let base = Base::new(&proxy.url.parse().unwrap()).unwrap();
    let sink = Cluster::new(http, base, SecretSource::File(file.path().to_owned()), NAMESPACE);
    assert_eq!(unknown(publish(&sink, &place, &pair, &absent()).await).fault, Fault::Timeout);
    serves(&look(&good, &place).await, &pair);
}

#[tokio::test]
async fn an_answer_that_may_come_from_in_between_is_unknown() {
    let answers = [
        (Fault::Server, answer(503, "")),
        (Fault::Server, status(500, "InternalError", "oops")),
        (Fault::Server, status(504, "Timeout", "request did not complete within requested timeout")),
        (Fault::Forbidden, answer(403, r#"<h1>No</h1"#)),
        (Fault::Refused, answer(409, "")),
        (Fault::Refused, answer(408, "")),
        (Fault::Malformed, answer(200, r#"{}"#)),
        (Fault::Malformed, answer(200, r#"{"metadata":{"uid":"x"}}"#)),
        (Fault::Refused, answer(204, "")),
        (Fault::Unreachable, "HTTP/1.1 200 x\r\ncontent-length: 100\r\n\r\n{\"data\""),
        (Fault::Malformed, "nonsense\r\n\r\n"),
    ];
    let (server, good, _file) = open().await;
    for (fault, answer) in answers {
        let (sink, _proxy, _other) = troubled(&server, CREATE, Fate::Answered(answer)).await;
        let (place, pair) = (fresh_place(), pair(1));
        assert_eq!(unknown(publish(&sink, &place, &pair, &absent()).await).fault, fault, "{answer:?}");
        serves(&look(&good, &place).await, &pair);
    }
}

#[tokio::test]
async fn an_answer_that_says_no_is_not_done() {
    let quota = "Operation cannot be fulfilled on resourcequotas \"q\": the object has been modified";
    let answers = [
        (Fault::Throttled, answer(429, "")),
        (Fault::Refused, "HTTP/1.1 307 x\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"),
        (Fault::Refused, status(400, "BadRequest", "oops")),
        (Fault::Refused, status(404, "NotFound", "namespaces \"x\" not found")),
        (Fault::Refused, status(409, "Conflict", quota)),
        (Fault::Refused, status(422, "Invalid", "oops")),
        (Fault::Forbidden, status(403, "Forbidden", "oops")),
        (Fault::Unauthorized, status(401, "Unauthorized", "Unauthorized")),
    ];
    let (server, _, _file) = open().await;
    for (fault, answer) in answers {
        let (sink, _proxy, _file) = troubled(&server, CREATE, Fate::Answered(answer)).await;
        let written = publish(&sink, &fresh_place(), &pair(1), &absent()).await;
        assert_eq!(not_done(written).fault, fault, "{answer:?}");
    }
}

#[tokio::test]
async fn what_the_server_says_is_repeated_without_the_secret_the_token_or_the_coded_form_of_either() {
    let said =
        status(422, "Invalid", "data: canary1111, Y2FuYXJ5MTExMQ== and canary-token-of-a-pod are not to my taste");
    let (server, _, _file) = open().await;
    let (sink, _proxy, _other) = troubled(&server, CREATE, Fate::Answered(said)).await;
    let failure = not_done(publish(&sink, &fresh_place(), &pair(1), &absent()).await);
    let told = "Kubernetes answered 422: data: [secret], [secret]Q== and [secret] are not to my taste";
    assert_eq!(failure.detail, told);
}

#[tokio::test]
async fn a_look_that_fails_before_a_write_leaves_nothing_unknown() {
    let (server, good, _file) = open().await;
    let (sink, _proxy, _other) = troubled(&server, READ, Fate::AnswerLost).await;
    let place = fresh_place();
    assert_eq!(not_done(publish(&sink, &place, &pair(1), &absent()).await).fault, Fault::Unreachable);
    assert_eq!(look(&good, &place).await.seen.content, Content::Absent);
}

#[tokio::test]
async fn answers_to_a_read_that_make_no_sense_show_nothing() {
    let held = |data: &str| {
        let metadata = r#"{"uid":"u","resourceVersion":"1"}"#;
        answer(200, &format!(r#"{{"kind":"Secret","metadata":{metadata},"data":{data}}}"#))
    };
    let answers = [
        (Fault::Malformed, answer(200, r#"{}"#)),
        (Fault::Malformed, answer(200, r#"{"kind":"Secret","metadata":{}}"#)),
        (Fault::Malformed, answer(200, r#"{"kind":"ConfigMap","metadata":{"uid":"u","resourceVersion":"1"}}"#)),
        (Fault::Malformed, held(r#"{"apiKeySid":"no base64"}"#)),
        (Fault::Malformed, held(r#"{"apiKeySid":1}"#)),
        (Fault::Malformed, answer(200, &" ".repeat(1024 * 1024 + 1))),
        (Fault::Refused, answer(404, "")),
        (Fault::Refused, status(404, "NotFound", "the server could not find the requested resource")),
        (Fault::Server, status(503, "ServiceUnavailable", "oops")),
    ];
    let (server, _, _file) = open().await;
    for (fault, answer) in answers {
        let (sink, _proxy, _other) = troubled(&server, READ, Fate::Answered(answer)).await;
        let outcome = sink.read(&fresh_place(), &Names::default(), None).await;
        assert_eq!(outcome.answer().err().unwrap().fault, fault, "{:?}", answer.get(..200).unwrap_or(answer));
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_unreachable_and_nothing_was_done() {
    let (sink, _file) = with_token(&format!("http://127.0.0.1:{}", crate::support::server::free_port()), TOKEN);
    let place = fresh_place();
    assert_eq!(not_done(sink.read(&place, &Names::default(), None).await).fault, Fault::Unreachable);
    assert_eq!(not_done(publish(&sink, &place, &pair(1), &absent()).await).fault, Fault::Unreachable);
    assert_eq!(not_done(fence(&sink, &place, attempt(), &absent()).await).fault, Fault::Unreachable);
}

#[tokio::test]
async fn too_many_requests_are_throttled_and_nothing_was_done() {
    let (server, good, _file) = open().await;
    let place = fresh_place();
    let base = put_pair(&good, &place, &pair(1)).await;
    server.tire(1);
    assert_eq!(not_done(publish(&good, &place, &pair(2), &base).await).fault, Fault::Throttled);
    server.tire(1000);
    assert_eq!(version(&good, &place).await, base);
    at(publish(&good, &place, &pair(2), &base).await);
}

//! How the Secrets Manager sink tells "not done" from "unknown", and the rules of AWS that the emulator is held to.

use super::secrets_manager::{PROMOTION, hand, sink, troubled};
use super::vault_faults::answer;
use super::{attempt, conflict, fence, fresh_place, look, not_done, pair, publish, put_pair, serves, unknown, version};
use crate::support::emulator::{Fleeting, config, config_with, shared};
use crate::support::proxy::{Fate, Proxy};
use crate::support::server::free_port;
use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::primitives::Blob;
use rekeyd::adapters::aws::SecretsManager;
use rekeyd::model::document::Names;
use rekeyd::model::fault::Fault;
use rekeyd::model::names::Version;
use rekeyd::ports::Sink as _;

const PUT: &str = "secretsmanager.PutSecretValue";
const GET: &str = "secretsmanager.GetSecretValue";

fn absent() -> Version {
    Version("absent".into())
}

#[tokio::test]
async fn what_aws_refuses_is_not_done_and_named() {
    let cases = [
        ("DENIED", Fault::Forbidden),
        ("UNKNOWN", Fault::Unauthorized),
        ("EXPIRED", Fault::Unauthorized),
        ("THROTTLED", Fault::Throttled),
    ];
    for (access_key_id, fault) in cases {
        let sink = SecretsManager::new(&config(&shared().url(), access_key_id));
        let place = fresh_place();
        assert_eq!(not_done(sink.read(&place, &Names::default(), None).await).fault, fault, "{access_key_id}");
        assert_eq!(not_done(publish(&sink, &place, &pair(1), &absent()).await).fault, fault, "{access_key_id}");
        assert_eq!(not_done(fence(&sink, &place, attempt(), &absent()).await).fault, fault, "{access_key_id}");
    }
}

#[tokio::test]
async fn a_refusal_of_the_write_itself_is_not_done() {
    let refused = [
        ("AccessDeniedException", Fault::Forbidden),
        ("ThrottlingException", Fault::Throttled),
        ("EncryptionFailure", Fault::Refused),
        ("LimitExceededException", Fault::Refused),
        ("ExpiredTokenException", Fault::Unauthorized),
    ];
    for call in [PUT, PROMOTION] {
        for (code, fault) in refused {
            let good = sink();
            let (sink, _proxy) = troubled(call, Fate::Answered(error(400, code))).await;
            let place = fresh_place();
            let base = put_pair(&good, &place, &pair(1)).await;
            assert_eq!(not_done(publish(&sink, &place, &pair(2), &base).await).fault, fault, "{call} {code}");
        }
    }
}

#[tokio::test]
async fn a_failure_of_the_service_or_of_what_lies_in_between_is_unknown_after_a_write() {
    let unclear = [
        (Fault::Server, error(500, "InternalServiceError")),
        (Fault::Server, error(503, "ServiceUnavailable")),
        (Fault::Server, answer(502, "<h1>Bad gateway</h1>")),
        (Fault::Refused, answer(400, "<h1>Proxy</h1>")),
        (Fault::Unreachable, "nonsense\r\n\r\n"),
    ];
    for call in [PUT, PROMOTION, "secretsmanager.CreateSecret"] {
        for (fault, answer) in unclear {
            let good = sink();
            let (sink, _proxy) = troubled(call, Fate::Answered(answer)).await;
            let place = fresh_place();
            let base = if call.ends_with("CreateSecret") { absent() } else { put_pair(&good, &place, &pair(1)).await };
            let failure = unknown(publish(&sink, &place, &pair(2), &base).await);
            assert_eq!(failure.fault, fault, "{call} {answer:?}: {failure}");
        }
    }
}

#[tokio::test]
async fn a_service_that_is_broken_before_a_write_leaves_nothing_unknown() {
    let sink = SecretsManager::new(&config(&shared().url(), "BROKEN"));
    let read = sink.read(&fresh_place(), &Names::default(), None).await.answer().err().unwrap();
    assert_eq!(read.fault, Fault::Server);
    assert_eq!(not_done(publish(&sink, &fresh_place(), &pair(1), &absent()).await).fault, Fault::Server);
    let (sink, _proxy) = troubled(GET, Fate::AnswerLost).await;
    assert_eq!(not_done(publish(&sink, &fresh_place(), &pair(1), &absent()).await).fault, Fault::Unreachable);
}

#[tokio::test]
async fn a_name_that_is_taken_between_look_and_creation_is_a_conflict() {
    let (good, place, theirs) = (sink(), fresh_place(), pair(1));
    put_pair(&good, &place, &theirs).await;
    // Nothing is there, say both ways to look, as they did a moment ago.
    let nothing = Fate::Answered(error(400, "ResourceNotFoundException"));
    let value = Proxy::start(shared().port, GET, nothing).await;
    let both = Proxy::start(value.port, "secretsmanager.DescribeSecret", nothing).await;
    let sink = SecretsManager::new(&config(&both.url, "GOOD"));
    conflict(publish(&sink, &place, &pair(2), &absent()).await);
    conflict(fence(&sink, &place, attempt(), &absent()).await);
    serves(&look(&good, &place).await, &theirs);
}

#[tokio::test]
async fn a_call_that_is_not_answered_in_time_is_unknown() {
    let good = sink();
    let (sink, _proxy) = troubled(PROMOTION, Fate::Silence).await;
    let (place, second) = (fresh_place(), pair(2));
    let base = put_pair(&good, &place, &pair(1)).await;
    assert_eq!(unknown(publish(&sink, &place, &second, &base).await).fault, Fault::Timeout);
    serves(&look(&good, &place).await, &second);
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_unreachable_and_nothing_was_done() {
    let sink = SecretsManager::new(&config(&format!("http://127.0.0.1:{}", free_port()), "GOOD"));
    assert_eq!(not_done(sink.read(&fresh_place(), &Names::default(), None).await).fault, Fault::Unreachable);
    assert_eq!(not_done(publish(&sink, &fresh_place(), &pair(1), &absent()).await).fault, Fault::Unreachable);
    let sink = SecretsManager::new(&config("http://no-such-host.invalid", "GOOD"));
    assert_eq!(not_done(sink.read(&fresh_place(), &Names::default(), None).await).fault, Fault::Unreachable);
}

#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    let sink = SecretsManager::new(&config_with(&shared().url(), Fleeting(0.into())));
    assert_eq!(not_done(sink.read(&fresh_place(), &Names::default(), None).await).fault, Fault::Unauthorized);
    assert_eq!(not_done(publish(&sink, &fresh_place(), &pair(1), &absent()).await).fault, Fault::Unauthorized);
}

#[tokio::test]
async fn credentials_that_end_between_look_and_write_leave_nothing_unknown() {
    let (good, place) = (sink(), fresh_place());
    let base = put_pair(&good, &place, &pair(1)).await;
    for calls in [1, 2, 3] {
        let sink = SecretsManager::new(&config_with(&shared().url(), Fleeting(calls.into())));
        assert_eq!(not_done(publish(&sink, &place, &pair(2), &base).await).fault, Fault::Unauthorized);
        assert_eq!(version(&good, &place).await, base);
    }
}

#[tokio::test]
async fn a_write_is_sent_once_whatever_comes_back() {
    let good = sink();
    let (sink, proxy) = troubled(PUT, Fate::Answered(error(500, "InternalServiceError"))).await;
    let place = fresh_place();
    let base = put_pair(&good, &place, &pair(1)).await;
    unknown(publish(&sink, &place, &pair(2), &base).await);
    assert_eq!(proxy.chosen(), 1);
}

#[tokio::test]
async fn what_aws_says_is_repeated_without_the_secret() {
    let said = answer(400, r#"{"__type":"InvalidParameterException","Message":"canary2222 is too simple"}"#);
    let good = sink();
    let (sink, _proxy) = troubled(PUT, Fate::Answered(said)).await;
    let place = fresh_place();
    let base = put_pair(&good, &place, &pair(1)).await;
    let failure = not_done(publish(&sink, &place, &pair(2), &base).await);
    assert_eq!(failure.detail, "AWS answered 400 InvalidParameterException: [secret] is too simple");
}

/// AWS repeats the request as it would have signed it, with the token of the session among the headers.
#[tokio::test]
async fn what_aws_says_of_a_wrong_signature_is_not_repeated() {
    let message = "The Canonical String should have been 'POST\\n/\\n\\nx-amz-security-token:canary/3333+3333\\n'";
    let said = answer(403, &format!(r#"{{"__type":"InvalidSignatureException","Message":"{message}"}}"#));
    let (sink, _proxy) = troubled(PUT, Fate::Answered(said)).await;
    let good = self::sink();
    let place = fresh_place();
    let base = put_pair(&good, &place, &pair(1)).await;
    let failure = not_done(publish(&sink, &place, &pair(2), &base).await);
    assert_eq!(failure.detail, "AWS answered 403 InvalidSignatureException: the credentials were not accepted");
}

/// AWS's codes are made of letters; somebody else's may be anything.
#[tokio::test]
async fn a_code_that_is_not_one_of_aws_is_not_repeated() {
    let said = answer(400, r#"{"__type":"Canary3333Canary","Message":"so it is"}"#);
    let (sink, _proxy) = troubled(PUT, Fate::Answered(said)).await;
    let good = self::sink();
    let place = fresh_place();
    let base = put_pair(&good, &place, &pair(1)).await;
    let failure = not_done(publish(&sink, &place, &pair(2), &base).await);
    assert_eq!(failure.detail, "AWS answered 400 with an unusual code: so it is");
}

fn error(status: u16, code: &str) -> &'static str {
    answer(status, &format!(r#"{{"__type":"{code}","Message":"so it is"}}"#))
}

/// The code and the status of an error.
fn code<T, E: ProvideErrorMetadata>(result: Result<T, SdkError<E, HttpResponse>>) -> (u16, String) {
    let error = result.err().expect("the emulator allows what AWS refuses");
    (error.raw_response().unwrap().status().as_u16(), error.code().unwrap().to_owned())
}

fn refused(name: &str) -> (u16, String) {
    (400, name.to_owned())
}

#[tokio::test]
async fn the_emulator_keeps_the_rules_of_versions() {
    let (aws, place) = (hand(), fresh_place());
    let name = &*place.path;
    let (one, two) = (attempt().to_string(), attempt().to_string());
    aws.create_secret().name(name).client_request_token(&one).secret_string("1").send().await.unwrap();
    let again = aws.create_secret().name(name).client_request_token(&one).secret_string("1").send().await.unwrap();
    assert_eq!(again.version_id, Some(one.clone()));
    let other = aws.create_secret().name(name).client_request_token(&one).secret_string("2").send().await;
    assert_eq!(code(other), refused("ResourceExistsException"));
    let put = || aws.put_secret_value().secret_id(name).client_request_token(&two).version_stages("AWSPENDING");
    put().secret_string("2").send().await.unwrap();
    put().secret_string("2").send().await.unwrap();
    assert_eq!(code(put().secret_string("3").send().await), refused("ResourceExistsException"));
    let create = aws.create_secret().name(name).client_request_token(&two).secret_string("3").send().await;
    assert_eq!(code(create), refused("ResourceExistsException"));
    let both = put().secret_string("2").secret_binary(Blob::new("2")).send().await;
    assert_eq!(code(both), refused("InvalidParameterException"));
    let large = aws.put_secret_value().secret_id(name).secret_string("x".repeat(65_537)).send().await;
    assert_eq!(code(large), refused("InvalidParameterException"));
    let missing = aws.get_secret_value().secret_id(fresh_place().path.to_string()).send().await;
    assert_eq!(code(missing), refused("ResourceNotFoundException"));
}

#[tokio::test]
async fn the_emulator_keeps_the_rules_of_labels() {
    let (aws, place) = (hand(), fresh_place());
    let name = &*place.path;
    let (one, two) = (attempt().to_string(), attempt().to_string());
    aws.create_secret().name(name).client_request_token(&one).secret_string("1").send().await.unwrap();
    let put = aws.put_secret_value().secret_id(name).client_request_token(&two).version_stages("AWSPENDING");
    put.secret_string("2").send().await.unwrap();
    let moved = || aws.update_secret_version_stage().secret_id(name).version_stage("AWSCURRENT");
    let invalid = || refused("InvalidParameterException");
    assert_eq!(code(moved().move_to_version_id(&two).send().await), invalid());
    assert_eq!(code(moved().move_to_version_id(&two).remove_from_version_id(&two).send().await), invalid());
    assert_eq!(code(moved().remove_from_version_id(&one).send().await), invalid());
    let unheard = attempt().to_string();
    assert_eq!(code(moved().move_to_version_id(unheard).remove_from_version_id(&one).send().await), invalid());
    let current = || aws.get_secret_value().secret_id(name).send();
    assert_eq!(current().await.unwrap().secret_string.as_deref(), Some("1"), "a refused move has moved something");
    moved().move_to_version_id(&two).remove_from_version_id(&one).send().await.unwrap();
    assert_eq!(current().await.unwrap().secret_string.as_deref(), Some("2"));
}

#[tokio::test]
async fn the_emulator_keeps_the_rules_of_deletion() {
    let (aws, place) = (hand(), fresh_place());
    let name = &*place.path;
    aws.create_secret().name(name).secret_string("1").send().await.unwrap();
    aws.delete_secret().secret_id(name).recovery_window_in_days(7).send().await.unwrap();
    let invalid = || refused("InvalidRequestException");
    assert_eq!(code(aws.put_secret_value().secret_id(name).secret_string("2").send().await), invalid());
    assert_eq!(code(aws.create_secret().name(name).secret_string("2").send().await), invalid());
    assert_eq!(code(aws.get_secret_value().secret_id(name).send().await), invalid());
}

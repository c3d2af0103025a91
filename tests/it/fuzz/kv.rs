//! What Vault serves, changed at random: a reading says what a second look at the JSON says, and shows no secret of
//! anything but a pair.

use super::{JSON, bodies, changed, play, runtime};
use crate::sinks::place;
use crate::sinks::vault::{build, secret_file, token_from};
use crate::support::wire::{Wire, json};
use proptest::sample::select;
use rekeyd::model::document::{Content, Names};
use rekeyd::model::fault::Outcome;
use rekeyd::model::key::KeySid;
use rekeyd::model::secret::Secret;
use rekeyd::ports::{Reading, Sink as _};
use serde_json::Value;
use std::sync::{Arc, Mutex};

/// What the JSON says, read once more.
fn judge(reading: &Reading, status: u16, text: &str) {
    let shown = format!("{:?} of {status} {text}", reading.seen);
    assert!(reading.staged.is_none() && !reading.seen.staged, "{shown}");
    let is_pair = matches!(reading.seen.content, Content::Pair { .. });
    assert!(reading.secret.is_none() || is_pair, "a secret of no pair, {shown}");
    assert!(matches!(status, 200 | 404), "{shown}");
    assert_eq!(reading.seen.content == Content::Absent, status == 404, "{shown}");
    // A number that no machine holds may stand where nobody looks; then this second reader is blind.
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    if value.get("errors").is_some_and(|errors| errors == &serde_json::json!([])) && reading.seen.version.0 == "0" {
        return;
    }
    let version = value["data"]["metadata"]["version"].as_u64().expect("a version that is no number");
    assert!(reading.seen.version.0 == version.to_string() && (version > 0 || status == 404), "{shown}");
    if status == 404 {
        return;
    }
    let data = &value["data"]["data"];
    let sid = data.get("apiKeySid").and_then(Value::as_str).and_then(|sid| KeySid::new(sid).ok());
    assert_eq!(reading.seen.content.sid(), sid.as_ref(), "{shown}");
    let secret = data.get("apiKeySecret").and_then(Value::as_str).filter(|secret| !secret.is_empty() && sid.is_some());
    assert_eq!(reading.secret.as_ref().map(Secret::expose), secret, "{shown}");
    let blank = data
        .as_object()
        .is_some_and(|object| object.is_empty() || (object.len() == 1 && object.contains_key("rekeyd")));
    assert!(reading.seen.content != Content::Blank || blank, "{shown}");
}

#[test]
fn a_reading_of_vault_says_what_its_json_says_and_no_more() {
    let runtime = runtime();
    let answer = Arc::new(Mutex::new((200, String::new())));
    let wire = runtime.block_on(Wire::start({
        let answer = Arc::clone(&answer);
        move |_| {
            let (status, body) = answer.lock().unwrap().clone();
            json(status, &body)
        }
    }));
    let file = secret_file("canary-token");
    let sink = build(wire.url().as_str(), "secret", None, None, token_from(&file));
    let statuses = select(vec![200_u16, 200, 200, 200, 404, 404, 403, 500, 204, 301]);
    play("kv json", &(changed(bodies(&["vault-read"]), JSON), statuses), |(body, status)| {
        *answer.lock().unwrap() = (status, if status == 204 { String::new() } else { body.clone() });
        match runtime.block_on(sink.read(&place("billing"), &Names::default(), None)) {
            Outcome::Done(reading) => judge(&reading, status, &body),
            Outcome::NotDone(failure) | Outcome::Unknown(failure) => {
                let detail = &failure.detail;
                assert!(!detail.contains(char::is_control) && detail.chars().count() <= 200, "{detail:?}");
                assert!(!detail.contains("canary-token"), "{detail}");
            }
        }
    });
}

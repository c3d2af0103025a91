//! Answers of Twilio, changed at random: what the adapter makes of one is what a second reading of it allows, written
//! here once more and independently (protocol, rules 2 and 16).

use super::{JSON, bodies, changed, play, runtime};
use crate::support::wire::{Wire, json};
use crate::twilio::{ACCOUNT, Call, KEY, LABEL, MAIN_KEY, NEW_SECRET, client};
use proptest::sample::select;
use serde_json::Value;
use std::sync::{Arc, Mutex};

/// The error number, if this is an error of Twilio's.
fn code(status: u16, body: Option<&Value>) -> Option<u64> {
    let object = body?.as_object()?;
    let told = object.get("status").filter(|told| !told.is_null());
    let code = object.get("code")?.as_u64().filter(|code| *code >= 10_000)?;
    told.is_none_or(|told| told.as_u64() == Some(u64::from(status))).then_some(code)
}

/// What the outcome claims must be so in the answer.
fn judge(call: Call, found: &str, status: u16, text: &str) {
    let value: Option<Value> = serde_json::from_str(text).ok();
    let member = |name: &str| value.as_ref().and_then(|value| value.get(name)).and_then(Value::as_str);
    let code = code(status, value.as_ref());
    let shown = format!("{call:?}: {found}\n  of {status} {text}");
    if found.starts_with("not done: ") {
        // A letter or a number that no machine holds is allowed in members that nobody reads.
        let coded = code.is_some() || (value.is_none() && text.contains("\"code\""));
        assert!(status == 429 || ((400..500).contains(&status) && coded), "not certain, {shown}");
    }
    let Some(done) = found.strip_prefix("done: ") else { return };
    let here =
        || value.as_ref().and_then(|value| value.get("account_sid")).is_none_or(|sid| sid.is_null() || sid == ACCOUNT);
    match call {
        Call::Create => {
            assert!(matches!(status, 200 | 201), "{shown}");
            // Numbers that no machine holds are allowed in members that nobody reads.
            if value.is_some() {
                assert!(member("friendly_name") == Some(LABEL) && member("secret") == Some(NEW_SECRET), "{shown}");
                assert!(member("sid").is_some_and(|sid| done.starts_with(sid) && sid != MAIN_KEY) && here(), "{shown}");
            }
        }
        Call::Fetch if done == "none" => assert!(status == 404 && code.is_none_or(|code| code == 20404), "{shown}"),
        Call::Fetch => {
            assert!(status == 200 && done.starts_with(KEY), "{shown}");
            assert!(value.is_none() || (member("sid") == Some(KEY) && here()), "{shown}");
        }
        Call::Delete => {
            assert!((200..300).contains(&status) || (status == 404 && code.is_none_or(|c| c == 20404)), "{shown}")
        }
        Call::List => {
            assert_eq!(status, 200, "{shown}");
            let rows = value.as_ref().map(|value| value["keys"].as_array().expect("a list without rows"));
            assert!(
                rows.is_none_or(|rows| rows.iter().all(|row| done.contains(row["sid"].as_str().unwrap()))),
                "{shown}"
            );
        }
        Call::Probe if done == "Works" => {
            let fine =
                (200..300).contains(&status) && value.as_ref().is_none_or(|v| v.is_object() && v.get("code").is_none());
            assert!(fine || (status == 401 && code.is_none_or(|code| code == 70051)), "{shown}");
        }
        Call::Probe => assert!(matches!(status, 401 | 404) && code != Some(70051), "{shown}"),
        Call::Standing => {
            assert_eq!(status, 200, "{shown}");
            let same = |word: &str| word.eq_ignore_ascii_case(done);
            assert!(
                value.is_none() || (member("sid") == Some(ACCOUNT) && member("status").is_some_and(same)),
                "{shown}"
            );
        }
    }
}

#[test]
fn an_answer_of_twilio_is_never_taken_for_more_than_it_says() {
    let runtime = runtime();
    let answer = Arc::new(Mutex::new((200, String::new())));
    let wire = runtime.block_on(Wire::start({
        let answer = Arc::clone(&answer);
        move |_| {
            let (status, body) = answer.lock().unwrap().clone();
            json(status, &body)
        }
    }));
    let client = client(&wire);
    let seeds = bodies(&["twilio-create", "twilio-keys", "twilio-list", "twilio-pairs"]);
    let statuses =
        select(vec![200_u16, 200, 200, 201, 201, 202, 206, 301, 400, 401, 401, 403, 404, 404, 409, 429, 500, 503]);
    play("twilio json", &(changed(seeds, JSON), statuses, 0_usize..6), |(body, status, call)| {
        *answer.lock().unwrap() = (status, body.clone());
        let call = Call::ALL[call];
        // The secret of a new key is checked by `judge`, as far as it can be read a second time.
        if call == Call::Create
            && body.contains("\"secret\":")
            && !body.contains(&format!("\"secret\":\"{NEW_SECRET}\""))
        {
            return;
        }
        let found = runtime.block_on(call.make(&client));
        assert!(found.len() < 1_000 || call == Call::List, "{found}");
        assert!(call == Call::List || found.starts_with("done: ") || !found.contains(char::is_control), "{found:?}");
        judge(call, &found, status, &body);
    });
}

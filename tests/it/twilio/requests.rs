//! What goes out: the exact bytes, how often, on which connection, and what never comes back in a text.

use super::{
    ACCOUNT, Call, DATE, KEY, LABEL, MAIN_KEY, MAIN_SECRET, NEW_KEY, NEW_SECRET, PAIR_SECRET, client, client_with,
};
use crate::support::wire::{Act, Wire, answer, json, raw};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use jiff::Timestamp;
use rekeyd::adapters::http::Deadlines;
use rekeyd::ports::Issuer as _;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Barrier;

/// A good answer to any call.
fn good(line: &str) -> Vec<Act> {
    let date = format!(r#""date_created":"{DATE}""#);
    let kind = line.split(['?', '/']).rfind(|part| part.ends_with(".json")).unwrap();
    match (line.split_once(' ').unwrap().0, kind) {
        ("POST", _) => {
            json(201, &format!(r#"{{"sid":"{NEW_KEY}","friendly_name":"{LABEL}",{date},"secret":"{NEW_SECRET}"}}"#))
        }
        ("DELETE", _) => raw("HTTP/1.1 204 No Content\r\n\r\n"),
        (_, "Keys.json") => json(200, r#"{"keys":[],"next_page_uri":null}"#),
        (_, "IncomingPhoneNumbers.json") => json(200, r#"{"incoming_phone_numbers":[]}"#),
        (_, sid) if sid.starts_with("SK") => json(200, &format!(r#"{{"sid":"{KEY}","friendly_name":null,{date}}}"#)),
        _ => json(200, &format!(r#"{{"sid":"{ACCOUNT}","status":"active"}}"#)),
    }
}

fn basic(sid: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{sid}:{secret}")))
}

#[tokio::test]
async fn every_call_sends_exactly_this() {
    let (main, pair) = (basic(MAIN_KEY, MAIN_SECRET), basic(KEY, PAIR_SECRET));
    let form = format!("FriendlyName={}", LABEL.replace(':', "%3A"));
    let account = format!("/2010-04-01/Accounts/{ACCOUNT}");
    for (call, line, authorization, body) in [
        (Call::Create, format!("POST {account}/Keys.json"), &main, form.as_str()),
        (Call::List, format!("GET {account}/Keys.json?PageSize=1000"), &main, ""),
        (Call::Fetch, format!("GET {account}/Keys/{KEY}.json"), &main, ""),
        (Call::Delete, format!("DELETE {account}/Keys/{KEY}.json"), &main, ""),
        (Call::Probe, format!("GET {account}/IncomingPhoneNumbers.json?PageSize=1"), &pair, ""),
        (Call::Standing, format!("GET {account}.json"), &main, ""),
    ] {
        let wire = Wire::start(|request| good(request.line())).await;
        let found = call.make(&client(&wire)).await;
        assert!(found.starts_with("done: "), "{call:?}: {found}");
        let [request] = wire.requests().try_into().unwrap();
        let (head, sent) = request.text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.split("\r\n");
        assert_eq!(lines.next().unwrap(), format!("{line} HTTP/1.1"));
        let mut expected = BTreeSet::from([
            format!("authorization: {authorization}"),
            "accept: application/json".to_owned(),
            format!("user-agent: rekeyd/{}", env!("CARGO_PKG_VERSION")),
            format!("host: {}", wire.url().authority()),
        ]);
        if call == Call::Create {
            expected.insert("content-type: application/x-www-form-urlencoded".to_owned());
            expected.insert(format!("content-length: {}", body.len()));
        }
        assert_eq!(lines.map(ToOwned::to_owned).collect::<BTreeSet<_>>(), expected, "{call:?}");
        assert_eq!(sent, body);
    }
}

#[tokio::test]
async fn a_create_never_travels_on_a_connection_that_was_used_before() {
    let wire = Wire::start(|request| good(request.line())).await;
    let client = client(&wire);
    for call in [Call::List, Call::Fetch, Call::Create, Call::Create, Call::Delete] {
        call.make(&client).await;
    }
    let connections: Vec<_> = wire.requests().iter().map(|request| request.connection).collect();
    let [list, fetch, create, again, delete] = connections.try_into().unwrap();
    assert_eq!((list, list), (fetch, delete), "other calls share one connection");
    assert_eq!(BTreeSet::from([list, create, again]).len(), 3);
}

#[tokio::test]
async fn a_kept_connection_that_closes_costs_no_second_create() {
    let wire = Wire::start(|request| match request.number {
        0 => good(request.line()),
        _ => vec![Act::Close],
    })
    .await;
    let client = client(&wire);
    Call::List.make(&client).await;
    assert!(Call::Create.make(&client).await.starts_with("unknown: unreachable"));
    assert!(Call::Delete.make(&client).await.starts_with("unknown: unreachable"));
    let methods: Vec<_> = wire.lines().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(methods, ["GET", "POST", "DELETE"], "each was sent once");
}

#[tokio::test]
async fn bytes_behind_an_answer_are_never_the_answer_to_the_next_call() {
    let gone = r#"{"code":20404,"status":404}"#;
    let smuggled = format!("HTTP/1.1 404 Any\r\nContent-Length: {}\r\n\r\n{gone}", gone.len());
    let wire = Wire::start(move |request| match request.number {
        0 => raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n{}{smuggled}",
            r#"{"keys":[],"next_page_uri":null}"#
        )),
        _ => good(request.line()),
    })
    .await;
    let client = client(&wire);
    assert_eq!(Call::List.make(&client).await, "done: ");
    assert!(Call::Fetch.make(&client).await.starts_with("done: SK"));
}

#[tokio::test]
async fn calls_do_not_wait_for_each_other() {
    // No answer is given before all requests are there.
    let barrier = Arc::new(Barrier::new(30));
    let wire = Wire::start(move |request| {
        let mut acts = vec![Act::Meet(Arc::clone(&barrier))];
        acts.extend(good(request.line()));
        acts
    })
    .await;
    let client = client(&wire);
    let calls = (0..5).flat_map(|_| Call::ALL).map(|call| call.make(&client));
    for found in join_all(calls).await {
        assert!(found.starts_with("done: "), "{found}");
    }
    assert_eq!(wire.requests().len(), 30);
}

#[tokio::test]
async fn no_secret_is_shown_even_if_twilio_repeats_it() {
    for call in Call::ALL {
        let known = if call == Call::Probe { format!("{PAIR_SECRET}/{MAIN_SECRET}") } else { MAIN_SECRET.to_owned() };
        for status in [400, 403, 429, 500, 503] {
            // What was sent, the secrets in clear, and one that only Twilio knows; also where the text is cut.
            for padding in [0, 60, 80, 100, 120, 140, 150, 160, 170, 180] {
                let known = known.clone();
                let wire = Wire::start(move |request| {
                    let sent = request.header("authorization").unwrap();
                    let message = format!("{} {sent} {known} {NEW_SECRET}", ".".repeat(padding));
                    json(status, &format!(r#"{{"code":70001,"message":"{message}"}}"#))
                })
                .await;
                let found = call.make(&client(&wire)).await;
                let coded = [basic(MAIN_KEY, MAIN_SECRET), basic(KEY, PAIR_SECRET)].map(|text| text[6..18].to_owned());
                assert!(coded.iter().all(|coded| !found.contains(coded.as_str())), "{found}");
                assert!(!found.contains("Canary"), "{found}");
                assert!(found.contains("error 70001: ..") || found.contains("error 70001:  Basic [secret]"), "{found}");
            }
        }
    }
}

#[tokio::test]
async fn a_message_with_line_breaks_can_not_forge_a_line() {
    let wire = Wire::always(json(400, r#"{"code":70001,"message":"a\r\nERROR forged\u0000\u001b[2J"}"#)).await;
    let found = Call::List.make(&client(&wire)).await;
    assert_eq!(found, "not done: refused: HTTP 400, error 70001: a  ERROR forged  [2J");
}

#[tokio::test]
async fn the_date_is_the_last_one_seen_on_any_answer() {
    let dates =
        ["Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:38 GMT", "", "soon", "Mon, 06 Nov 1994 08:49:39 GMT"];
    let wire = Wire::start(move |request| {
        let date = dates[request.number];
        let header = if date.is_empty() { String::new() } else { format!("Date: {date}\r\n") };
        answer(if request.number == 1 { 500 } else { 200 }, &header, r#"{"keys":[],"next_page_uri":null}"#)
    })
    .await;
    let client = client(&wire);
    assert_eq!(client.date(), None);
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    Call::List.make(&client).await;
    let (first, earlier) = client.date().unwrap();
    assert_eq!(first, at("1994-11-06T08:49:37Z"));
    Call::List.make(&client).await;
    let (second, later) = client.date().unwrap();
    assert_eq!(second, at("1994-11-06T08:49:38Z"), "an error has a date too");
    assert!(later > earlier);
    for why in ["no date", "not a date", "the wrong day of the week"] {
        Call::List.make(&client).await;
        assert_eq!(client.date(), Some((second, later)), "{why}");
    }
    assert_eq!(wire.requests().len(), 5);
}

#[tokio::test]
async fn the_date_is_noted_when_the_head_arrives_not_after_a_slow_body() {
    let head = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 9\r\n\r\n{";
    let wire = Wire::always(vec![Act::Send(head.into()), Act::Wait(Duration::from_secs(60))]).await;
    let client = client_with(wire.url(), Deadlines { total: Duration::from_secs(3), ..Deadlines::default() });
    assert_eq!(Call::List.make(&client).await, "unknown: timeout: no whole answer in time");
    let (date, noted) = client.date().unwrap();
    assert_eq!(date.to_string(), "1994-11-06T08:49:37Z");
    assert!(noted < Duration::from_secs(2), "{noted:?}");
}

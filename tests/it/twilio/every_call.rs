//! What every operation makes of an answer that is no success, or no answer at all: the same.

use super::{Call, check, client, client_with};
use crate::support::wire::{Act, Wire, answer, cut, json, raw};
use rekeyd::adapters::http::Deadlines;
use std::time::Duration;
use tokio::net::TcpSocket;
use url::Url;

const LONG: Duration = Duration::from_secs(60);

/// Checks every operation against rows that all end in the same way.
async fn all_end(expected: &'static str, rows: Vec<(&'static str, Vec<Act>)>) {
    for call in Call::ALL {
        check(call, rows.iter().map(|(name, acts)| (*name, acts.clone(), expected)).collect()).await;
    }
}

#[tokio::test]
async fn what_twilio_refuses_is_not_done() {
    let limit = r#"{"code":70151,"message":"Maximum Number Of API Keys Exceeded","status":400}"#;
    let bad = r#"{"code":70001,"message":"The request has constraint violations"}"#;
    for (status, body, expected) in [
        (400, bad, "not done: refused: HTTP 400, error 70001: The request has constraint violations"),
        (400, r#"{"code":70002}"#, "not done: refused: HTTP 400, error 70002"),
        (400, r#"{"code":70002,"message":null,"status":400}"#, "not done: refused: HTTP 400, error 70002"),
        (400, r#"{"code":10000}"#, "not done: refused: HTTP 400, error 10000"),
        (400, limit, "not done: quota: HTTP 400, error 70151: Maximum Number Of API Keys Exceeded"),
        (403, r#"{"code":20008,"message":"Test"}"#, "not done: forbidden: HTTP 403, error 20008: Test"),
        (405, r#"{"code":20004,"message":"No"}"#, "not done: refused: HTTP 405, error 20004: No"),
        (409, r#"{"code":20409,"message":"No"}"#, "not done: refused: HTTP 409, error 20409: No"),
        (499, r#"{"code":20001,"message":"No"}"#, "not done: refused: HTTP 499, error 20001: No"),
        (429, r#"{"code":20429,"message":"Too Many"}"#, "not done: throttled: HTTP 429, error 20429: Too Many"),
    ] {
        all_end(expected, vec![("an error of Twilio", json(status, body))]).await;
    }
}

#[tokio::test]
async fn a_429_is_not_done_whoever_wrote_it() {
    all_end(
        "not done: throttled: HTTP 429",
        vec![
            ("a page of a gateway", answer(429, "Retry-After: 1\r\n", "<h1>slow down</h1>")),
            ("no body", answer(429, "", "")),
            ("a body that is cut", cut("HTTP/1.1 429 Any\r\nContent-Length: 9\r\n\r\n{")),
            ("a body longer than 1 MiB", announced(429, 1 << 21)),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_refusal_that_twilio_may_not_have_written_is_unknown() {
    all_end(
        "unknown: malformed: HTTP 408, but the body is not an error of Twilio",
        vec![
            ("a gateway that waited in vain", answer(408, "", "upstream request timeout")),
            ("a page of a proxy", answer(408, "Content-Type: text/html\r\n", "<html>Forbidden</html>")),
            ("no body", answer(408, "", "")),
            ("compressed without being asked", answer(408, "Content-Encoding: gzip\r\n", "\u{1f}\u{8b}")),
            ("a number just below those of Twilio", json(408, r#"{"code":9999}"#)),
            ("the number of a gateway", json(408, r#"{"code":408,"message":"Request Timeout"}"#)),
            ("a number as text", json(408, r#"{"code":"70001","message":"x"}"#)),
            ("a negative number", json(408, r#"{"code":-70001}"#)),
            ("a broken number", json(408, r#"{"code":70001.5}"#)),
            ("no number", json(408, r#"{"message":"x","status":408}"#)),
            ("another status inside", json(408, r#"{"code":20404,"message":"x","status":404}"#)),
            ("a message that is no text", json(408, r#"{"code":70001,"message":{"a":1}}"#)),
            ("a list", json(408, r#"[{"code":70001}]"#)),
            ("two numbers", json(408, r#"{"code":70001,"code":20404}"#)),
            ("half an object", json(408, r#"{"code":70001"#)),
        ],
    )
    .await;
    let ended = "unknown: unreachable: the connection was cut: end of file before message length reached";
    let half = cut("HTTP/1.1 400 Any\r\nContent-Length: 99\r\n\r\n{\"code\":70001");
    all_end(ended, vec![("a refusal that is cut", half)]).await;
    let long = "unknown: malformed: the answer is longer than 1 MiB";
    all_end(long, vec![("a refusal longer than 1 MiB", announced(400, 1 << 21))]).await;
}

#[tokio::test]
async fn a_failure_on_the_other_side_is_unknown() {
    let inside = json(500, r#"{"code":20500,"message":"Internal Server Error","status":500}"#);
    all_end("unknown: server: HTTP 500, error 20500: Internal Server Error", vec![("500", inside)]).await;
    for (status, expected) in [
        (500, "unknown: server: HTTP 500"),
        (503, "unknown: server: HTTP 503"),
        (599, "unknown: server: HTTP 599"),
        (600, "unknown: malformed: HTTP 600"),
        (999, "unknown: malformed: HTTP 999"),
        (300, "unknown: malformed: HTTP 300"),
        (304, "unknown: malformed: HTTP 304"),
        (399, "unknown: malformed: HTTP 399"),
    ] {
        let half = format!("HTTP/1.1 {status} Any\r\nContent-Length: 9\r\n\r\n<");
        all_end(expected, vec![("a page", answer(status, "", "<html></html>")), ("half a page", cut(half))]).await;
    }
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let elsewhere = Wire::always(json(200, "{}")).await;
    for call in Call::ALL {
        for status in [301, 302, 303, 307, 308] {
            for target in [elsewhere.url().to_string(), "/2010-04-01/Accounts.json".to_owned()] {
                let wire = Wire::always(answer(status, &format!("Location: {target}\r\n"), "")).await;
                let found = call.make(&client(&wire)).await;
                assert_eq!(found, format!("unknown: malformed: HTTP {status}"), "{call:?} to {target}");
                assert_eq!(wire.requests().len(), 1);
            }
        }
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn bytes_that_are_not_an_answer_leave_it_unknown() {
    let cut_off = "unknown: unreachable: the connection was cut: connection closed before message completed";
    let garbage = "unknown: malformed: the answer is not HTTP: …";
    let many = "X: y\r\n".repeat(200);
    for call in Call::ALL {
        check(
            call,
            vec![
                ("closed without a word", vec![Act::Close], cut_off),
                ("reset without a word", vec![Act::Reset], "unknown: unreachable: the connection was cut: …"),
                ("closed in the status line", cut("HTTP/1.1 20"), cut_off),
                ("closed in the headers", cut("HTTP/1.1 201 Created\r\nContent-Type: app"), cut_off),
                ("closed before the empty line", cut("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n"), cut_off),
                ("only a 100", cut("HTTP/1.1 100 Continue\r\n\r\n"), cut_off),
                ("another protocol", cut("SSH-2.0-OpenSSH_9.2\r\n"), garbage),
                ("a body without a head", cut("{\"sid\":\"SK0000000000000000000000000000000b\"}\r\n\r\n"), garbage),
                ("frames of HTTP/2", cut([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]), garbage),
                ("a version from the future", raw("HTTP/7.1 200 OK\r\nContent-Length: 0\r\n\r\n"), garbage),
                ("a status of two digits", raw("HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"), garbage),
                ("a status of letters", raw("HTTP/1.1 two OK\r\nContent-Length: 0\r\n\r\n"), garbage),
                ("a header without a colon", raw("HTTP/1.1 200 OK\r\nContent-Length\r\n\r\n"), garbage),
                ("a zero byte in a header", raw("HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n"), garbage),
                ("two lengths", raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), garbage),
                ("a negative length", raw("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), garbage),
                ("200 headers", raw(format!("HTTP/1.1 200 OK\r\n{many}\r\n")), garbage),
                (
                    "a header of 1 MiB",
                    vec![Act::Send(b"HTTP/1.1 200 OK\r\nX: ".to_vec()), Act::Flood(1 << 20)],
                    garbage,
                ),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_leaves_it_unknown() {
    let late = "unknown: timeout: no whole answer in time";
    let drip = |bytes: &str| vec![Act::Drip(bytes.as_bytes().to_vec(), Duration::from_millis(50))];
    let tail = |start: &str, act| vec![Act::Send(start.as_bytes().to_vec()), act];
    for call in Call::ALL {
        check(
            call,
            vec![
                ("silence", vec![Act::Wait(LONG)], late),
                ("100 again and again", drip(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(50)), late),
                ("a dripping head", drip(&format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(5000))), late),
                ("half a head", tail("HTTP/1.1 200 OK\r\nContent-", Act::Wait(LONG)), late),
                ("half a refusal", tail("HTTP/1.1 400 Any\r\nContent-Length: 20\r\n\r\n{", Act::Wait(LONG)), late),
            ],
        )
        .await;
    }
}

/// An answer that announces a length and then sends it.
fn announced(status: u16, length: usize) -> Vec<Act> {
    let head = format!("HTTP/1.1 {status} Any\r\nContent-Length: {length}\r\n\r\n");
    vec![Act::Send(head.into_bytes()), Act::Flood(length)]
}

#[tokio::test]
async fn a_success_without_a_whole_body_is_none() {
    let late = "unknown: timeout: no whole answer in time";
    let long = "unknown: malformed: the answer is longer than 1 MiB";
    let ended = "unknown: unreachable: the connection was cut: end of file before message length reached";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let dripping = vec![
        Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n".to_vec()),
        Act::Drip(vec![b'{'; 5000], Duration::from_millis(50)),
    ];
    // A delete has no body that could matter: its status is its answer.
    for call in Call::ALL.into_iter().filter(|call| *call != Call::Delete) {
        check(
            call,
            vec![
                ("nothing of a body", cut("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), ended),
                ("a byte too few", cut("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}"), ended),
                (
                    "reset in the body",
                    vec![
                        Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{".to_vec()),
                        Act::Wait(Duration::from_millis(50)),
                        Act::Reset,
                    ],
                    "unknown: unreachable: the connection was cut: …",
                ),
                (
                    "chunks that end early",
                    cut(format!("{chunked}2\r\n{{}}\r\n")),
                    "unknown: unreachable: the connection was cut: …",
                ),
                (
                    "a chunk of a strange size",
                    raw(format!("{chunked}zz\r\n{{}}\r\n0\r\n\r\n")),
                    "unknown: malformed: the answer is not HTTP: …",
                ),
                ("a dripping body", dripping.clone(), late),
                (
                    "half a body",
                    vec![Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec()), Act::Wait(LONG)],
                    late,
                ),
                ("a byte more than 1 MiB", announced(200, (1 << 20) + 1), long),
                (
                    "endless chunks",
                    vec![Act::Send(format!("{chunked}40000000\r\n").into_bytes()), Act::Flood(1 << 30)],
                    long,
                ),
                (
                    "endless without a length",
                    vec![Act::Send(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), Act::Flood(1 << 30)],
                    long,
                ),
                (
                    "a longest body, of nonsense",
                    announced(200, 1 << 20),
                    "unknown: malformed: HTTP 200, but the body is not …",
                ),
                ("an empty body", json(200, ""), "unknown: malformed: HTTP 200, but the body is not …"),
                ("204", raw("HTTP/1.1 204 No Content\r\n\r\n"), "unknown: malformed: HTTP 204…"),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn without_a_connection_nothing_was_done() {
    // Bound, so that nobody else gets the port, and not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let client = client_with(Url::parse(&format!("http://{address}")).unwrap(), Deadlines::default());
    for call in Call::ALL {
        let found = call.make(&client).await;
        assert!(found.starts_with("not done: unreachable: no connection: Connection refused"), "{call:?}: {found}");
    }
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_in_time_has_done_nothing() {
    // A full queue of waiting connections: further ones are neither accepted nor refused.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let _waiting = tokio::net::TcpStream::connect(address).await.unwrap();
    let deadlines = Deadlines { connect: Duration::from_millis(200), total: LONG };
    let client = client_with(Url::parse(&format!("http://{address}")).unwrap(), deadlines);
    for call in Call::ALL {
        let found = call.make(&client).await;
        assert!(found.starts_with("not done: unreachable: no connection: "), "{call:?}: {found}");
    }
}

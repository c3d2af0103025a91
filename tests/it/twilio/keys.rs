//! Lists, fetches and deletes.

use super::{ACCOUNT, Call, DATE, KEY, LABEL, MAIN_KEY, check, client, key};
use crate::support::wire::{Act, Wire, answer, cut, json, raw};
use rekeyd::model::key::KeySid;
use rekeyd::ports::Issuer as _;

fn row(sid: &str) -> String {
    format!(r#"{{"sid":"{sid}","friendly_name":"{LABEL}","date_created":"{DATE}","date_updated":"{DATE}"}}"#)
}

/// The key of this number.
fn numbered(number: usize) -> String {
    format!("SK{number:032x}")
}

/// A page as Twilio writes it.
fn page(sids: &[String], next: &str) -> Vec<Act> {
    let keys: Vec<_> = sids.iter().map(|sid| row(sid)).collect();
    let (keys, end) = (keys.join(","), sids.len().saturating_sub(1));
    let uri = format!(r#""/2010-04-01/Accounts/{ACCOUNT}/Keys.json?PageSize=1000&Page=0""#);
    let pages = format!(r#""first_page_uri":{uri},"previous_page_uri":null,"next_page_uri":{next},"uri":{uri}"#);
    json(200, &format!(r#"{{"keys":[{keys}],{pages},"page":0,"page_size":1000,"start":0,"end":{end}}}"#))
}

/// The key of these tests, in words.
const SHOWN: &str = "done: SK0000000000000000000000000000000b LABEL 2016-06-13T22:50:08Z";

/// The SIDs that a list came to, or how it failed.
async fn list(wire: &Wire) -> Result<Vec<String>, String> {
    let outcome = client(wire).list(&super::home()).await;
    let keys = outcome.answer().map_err(|failure| failure.to_string())?;
    Ok(keys.into_iter().map(|key| key.sid.to_string()).collect())
}

#[tokio::test]
async fn a_list_of_one_page_is_what_the_page_shows() {
    let nameless = format!(r#"{{"keys":[{{"sid":"{KEY}","friendly_name":null,"date_created":"{DATE}"}}]}}"#);
    check(
        Call::List,
        vec![
            ("no key", page(&[], "null"), "done: "),
            ("a key", page(&[KEY.to_owned()], "null"), SHOWN),
            ("a next page that is empty text", page(&[KEY.to_owned()], r#""""#), SHOWN),
            (
                "a key without a name, and no word of a next page",
                json(200, &nameless),
                "done: SK0000000000000000000000000000000b - 2016-06-13T22:50:08Z",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_page_that_is_not_as_twilio_describes_it_spoils_the_list() {
    let not = "unknown: malformed: HTTP 200, but the body is not a page of keys (line …";
    let next = |address: &str| page(&[], address);
    let no_query = "unknown: malformed: HTTP 200, but the address of the next page has no query";
    check(
        Call::List,
        vec![
            ("a bad SID in one row", page(&[KEY.to_owned(), "SK00".to_owned()], "null"), not),
            ("a bad date in one row", json(200, &format!(r#"{{"keys":[{}]}}"#, row(KEY).replace("Mon,", "Sun,"))), not),
            ("no rows", json(200, r#"{"next_page_uri":null}"#), not),
            ("rows that are null", json(200, r#"{"keys":null,"next_page_uri":null}"#), not),
            ("rows under another name", json(200, r#"{"signing_keys":[],"next_page_uri":null}"#), not),
            ("a row that is text", json(200, r#"{"keys":["SK0000000000000000000000000000000b"]}"#), not),
            ("a list alone", json(200, "[]"), not),
            ("a next page that is a number", next("2"), not),
            ("a next page that is true", next("true"), not),
            ("a next page without a query", next(r#""/2010-04-01/Accounts.json""#), no_query),
            ("a next page with an empty query", next(r#""/2010-04-01/Accounts.json?""#), no_query),
            ("a query behind a fragment", next(r##""/2010-04-01/Accounts.json#?Page=1""##), no_query),
            (
                "the first page again",
                next(r#""/x?PageSize=1000""#),
                "unknown: malformed: HTTP 200, but the list leads back to a page that was read before",
            ),
            ("201", json(201, r#"{"keys":[],"next_page_uri":null}"#), "unknown: malformed: HTTP 201"),
            (
                "401",
                json(401, r#"{"code":20003,"message":"Authenticate"}"#),
                "not done: unauthorized: HTTP 401, error 20003: Authenticate",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn all_pages_are_read_and_a_key_on_two_of_them_is_one_key() {
    let wire = Wire::start(|request| match request.number {
        0 => page(
            &[numbered(3), numbered(1)],
            r#""/2010-04-01/Accounts/x/Keys.json?PageSize=1000&Page=1&PageToken=PASKa%2Bb%3D""#,
        ),
        1 => page(&[numbered(1), numbered(2)], r#""/x?Page=2&PageToken=PASKc#fragment""#),
        _ => page(&[], "null"),
    })
    .await;
    assert_eq!(list(&wire).await.unwrap(), [numbered(1), numbered(2), numbered(3)]);
    let path = format!("GET /2010-04-01/Accounts/{ACCOUNT}/Keys.json");
    assert_eq!(
        wire.lines(),
        [
            format!("{path}?PageSize=1000"),
            format!("{path}?PageSize=1000&Page=1&PageToken=PASKa%2Bb%3D"),
            format!("{path}?Page=2&PageToken=PASKc"),
        ]
    );
}

#[tokio::test]
async fn of_the_address_of_the_next_page_only_the_query_is_used() {
    let elsewhere = Wire::always(page(&[], "null")).await;
    let foreign = elsewhere.url().to_string();
    let own_path = format!("GET /2010-04-01/Accounts/{ACCOUNT}/Keys.json?PageToken=x");
    for address in [
        format!("{foreign}2010-04-01/Accounts/{ACCOUNT}/Keys.json?PageToken=x"),
        format!("//{}/Keys.json?PageToken=x", elsewhere.url().authority()),
        "https://user:password@evil.example/?PageToken=x".to_owned(),
        "file:///etc/passwd?PageToken=x".to_owned(),
        "/2010-04-01/Accounts/AC00000000000000000000000000000001/Keys.json?PageToken=x".to_owned(),
        "../../../Accounts.json?PageToken=x".to_owned(),
        "?PageToken=x".to_owned(),
    ] {
        let next = format!("\"{address}\"");
        let wire = Wire::start(move |request| page(&[], if request.number == 0 { &next } else { "null" })).await;
        assert_eq!(list(&wire).await.unwrap(), Vec::<String>::new());
        assert_eq!(wire.lines().get(1), Some(&own_path), "{address}");
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_query_can_not_break_out_of_the_request_line() {
    let next = r#""/x?Page=1 HTTP/1.1\r\nHost: evil\r\n\r\nDELETE /&a=\u00e9""#;
    let wire = Wire::start(move |request| page(&[], if request.number == 0 { next } else { "null" })).await;
    assert_eq!(list(&wire).await.unwrap(), Vec::<String>::new());
    let path = format!("GET /2010-04-01/Accounts/{ACCOUNT}/Keys.json");
    assert_eq!(wire.lines()[1], format!("{path}?Page=1%20HTTP/1.1Host:%20evilDELETE%20/&a=%C3%A9"));
    assert_eq!(wire.requests().len(), 2);
}

#[tokio::test]
async fn a_list_that_goes_in_circles_is_given_up() {
    let back = "malformed: HTTP 200, but the list leads back to a page that was read before";
    let same_query = Wire::always(page(&[numbered(1)], r#""/x?Page=1""#)).await;
    assert_eq!(list(&same_query).await.unwrap_err(), back);
    assert_eq!(same_query.requests().len(), 2);
    let same_token =
        Wire::start(|request| page(&[], &format!(r#""/x?Page={}&PageToken=PASKa""#, request.number + 1))).await;
    assert_eq!(list(&same_token).await.unwrap_err(), back);
    assert_eq!(same_token.requests().len(), 2);
}

#[tokio::test]
async fn a_list_may_have_100_pages_and_not_one_more() {
    let pages = |last: usize| {
        Wire::start(move |request| {
            let next = format!(r#""/x?PageToken=PASK{}""#, request.number);
            page(&[numbered(request.number)], if request.number + 1 == last { "null" } else { &next })
        })
    };
    let longest = pages(100).await;
    assert_eq!(list(&longest).await.unwrap().len(), 100);
    let longer = pages(101).await;
    assert_eq!(list(&longer).await.unwrap_err(), "malformed: HTTP 200, but the list has more than 100 pages");
    assert_eq!(longer.requests().len(), 100);
}

#[tokio::test]
async fn a_list_that_fails_on_a_later_page_fails() {
    let second = |acts: Vec<Act>| {
        Wire::start(
            move |request| {
                if request.number == 0 { page(&[numbered(1)], r#""/x?Page=1""#) } else { acts.clone() }
            },
        )
    };
    let unavailable = second(json(503, "")).await;
    assert_eq!(list(&unavailable).await.unwrap_err(), "server: HTTP 503");
    let unanswered = second(cut("HTTP/1.1 200 OK\r\n")).await;
    assert!(list(&unanswered).await.unwrap_err().starts_with("unreachable: the connection was cut"));
}

#[tokio::test]
async fn a_fetch_tells_whether_a_key_exists() {
    let path = format!("/2010-04-01/Accounts/{ACCOUNT}/Keys/{KEY}.json");
    let message = format!("The requested resource {path} was not found");
    let info = "https://www.twilio.com/docs/errors/20404";
    let gone = format!(r#"{{"code":20404,"message":"{message}","more_info":"{info}","status":404}}"#);
    check(
        Call::Fetch,
        vec![
            ("a key", json(200, &row(KEY)), SHOWN),
            ("gone, says Twilio", json(404, &gone), "done: none"),
            ("gone, in few words", json(404, r#"{"code":20404}"#), "done: none"),
            (
                "a 404 of a proxy",
                json(404, "<html>not here</html>"),
                "unknown: malformed: HTTP 404, but the body is not an error of Twilio",
            ),
            (
                "a 404 without a body",
                answer(404, "", ""),
                "unknown: malformed: HTTP 404, but the body is not an error of Twilio",
            ),
            (
                "a 404 for another reason",
                json(404, r#"{"code":20001,"message":"x"}"#),
                "not done: refused: HTTP 404, error 20001: x",
            ),
            (
                "gone, but with another status",
                json(410, r#"{"code":20404,"message":"x"}"#),
                "not done: refused: HTTP 410, error 20404: x",
            ),
            (
                "gone, but of status 200",
                json(200, r#"{"code":20404,"message":"x","status":404}"#),
                "unknown: malformed: HTTP 200, but the body is not a key (line 1, column 41)",
            ),
            (
                "a 404 that is cut",
                cut("HTTP/1.1 404 Any\r\nContent-Length: 99\r\n\r\n{\"code\":20404}"),
                "unknown: unreachable: the connection was cut: …",
            ),
            ("another key", json(200, &row(MAIN_KEY)), "unknown: malformed: HTTP 200, but it shows another key"),
            (
                "the same key in capitals",
                json(200, &row(&KEY.replace('b', "B"))),
                "unknown: malformed: HTTP 200, but it shows another key",
            ),
            (
                "a list",
                json(200, r#"{"keys":[],"next_page_uri":null}"#),
                "unknown: malformed: HTTP 200, but the body is not a key (line …",
            ),
            (
                "401",
                json(401, r#"{"code":20003,"message":"Authenticate"}"#),
                "not done: unauthorized: HTTP 401, error 20003: Authenticate",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_delete_is_done_when_the_key_is_gone() {
    let bare = "unknown: malformed: HTTP 404, but the body is not an error of Twilio";
    check(
        Call::Delete,
        vec![
            ("204", raw("HTTP/1.1 204 No Content\r\n\r\n"), "done: deleted"),
            ("200 with a body", json(200, "{}"), "done: deleted"),
            ("202", json(202, ""), "done: deleted"),
            ("200 cut in its body", cut("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), "done: deleted"),
            ("gone already", json(404, r#"{"code":20404,"message":"was not found","status":404}"#), "done: deleted"),
            ("a 404 of a proxy", json(404, "not here"), bare),
            ("a 404 without a body", json(404, ""), bare),
            (
                "a 404 for another reason",
                json(404, r#"{"code":20001,"message":"x"}"#),
                "not done: refused: HTTP 404, error 20001: x",
            ),
            (
                "a wrong SID",
                json(400, r#"{"code":70002,"message":"Invalid Sid provided in the request"}"#),
                "not done: refused: HTTP 400, error 70002: Invalid Sid provided in the request",
            ),
            (
                "401",
                json(401, r#"{"code":20003,"message":"Authenticate"}"#),
                "not done: unauthorized: HTTP 401, error 20003: Authenticate",
            ),
            ("a bare 401", json(401, ""), "unknown: malformed: HTTP 401, but the body is not an error of Twilio"),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_main_key_is_never_deleted() {
    let wire = Wire::always(raw("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let main = KeySid::new(MAIN_KEY).unwrap();
    let failure = client(&wire).delete(&super::home(), &main).await.answer().unwrap_err();
    assert_eq!(failure.to_string(), "refused: this is the Main key, or what signs its calls, which is never deleted");
    assert!(wire.requests().is_empty());
    client(&wire).delete(&super::home(), &key()).await.answer().unwrap();
}

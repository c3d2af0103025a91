//! What a create makes of a success: a key that can be used, or nobody knows what.

use super::{Call, DATE, LABEL, MAIN_KEY, NEW_KEY, NEW_SECRET, Row, check};
use crate::support::wire::{Act, json};

/// The answer of Twilio to a create, with one part of it replaced.
fn with(status: u16, part: &str, by: &str) -> Vec<Act> {
    let whole = format!(
        r#"{{"sid":"{NEW_KEY}","friendly_name":"{LABEL}","date_created":"{DATE}","flags":[],"secret":"{NEW_SECRET}"}}"#
    );
    assert!(whole.contains(part), "{part} is not in {whole}");
    json(status, &whole.replacen(part, by, 1))
}

fn rows(expected: &'static str, cases: &[(&'static str, &str, &str)]) -> Vec<Row> {
    cases.iter().map(|(name, part, by)| (*name, with(201, part, by), expected)).collect()
}

const CREATED: &str = "done: SK000000000000000000000000000000ff LABEL 2016-06-13T22:50:08Z";

#[tokio::test]
async fn a_key_as_twilio_describes_it_is_created() {
    check(Call::Create, vec![("201", with(201, "", ""), CREATED), ("200", with(200, "", ""), CREATED)]).await;
    let escaped = LABEL.replace(':', "\\u003a");
    check(
        Call::Create,
        rows(
            CREATED,
            &[
                (
                    "members that are not known",
                    "{",
                    r#"{"account_sid":null,"flags":["rest_api"],"policy":{"allow":[]},"#,
                ),
                ("no flags", r#""flags":[],"#, ""),
                ("a label written with escapes", LABEL, &escaped),
                ("another time zone", "22:50:08 +0000", "23:50:08 +0100"),
                ("the zone of HTTP", "22:50:08 +0000", "22:50:08 GMT"),
                ("white space around", "{", "\r\n\t {"),
            ],
        ),
    )
    .await;
}

#[tokio::test]
async fn a_key_without_a_usable_secret_is_not_known_to_be_made() {
    let secret = format!(r#""{NEW_SECRET}""#);
    let whole = format!(r#","secret":{secret}"#);
    let unusable = "unknown: malformed: HTTP 201, but the new key has no usable secret";
    check(
        Call::Create,
        rows(
            unusable,
            &[
                ("a secret that is null", &secret, "null"),
                ("no secret", &whole, ""),
                ("an empty secret", &secret, r#""""#),
                ("a secret with a hyphen", "CanaryNewCanary", "CanaryNew-anary"),
                ("a secret with a space", "CanaryNewCanary", "CanaryNew anary"),
                ("a secret with a letter of another alphabet", "CanaryNewCanary", "CanaryNewÇanary"),
            ],
        ),
    )
    .await;
    check(
        Call::Create,
        rows(
            "unknown: malformed: HTTP 201, but the body is not a new key (line 1, column …",
            &[
                ("a secret that is a number", &secret, "12345678"),
                ("a secret in a list", &secret, r#"["CanaryNewCanary"]"#),
                ("a secret with an escape", "CanaryNewCanary", "CanaryNew\\u0043anary"),
                ("a secret that does not end", &format!("{secret}}}"), &secret[..9]),
                ("two secrets", &whole, &format!("{whole}{whole}")),
            ],
        ),
    )
    .await;
}

#[tokio::test]
async fn another_key_than_was_asked_for_is_not_known_to_be_made() {
    let name = format!(r#""{LABEL}""#);
    check(
        Call::Create,
        rows(
            "unknown: malformed: HTTP 201, but the new key has another name than was asked for",
            &[
                ("another name", &name, r#""rekeyd:prod:billing-sms:AAAAAAAAAAAAAAAAAAAAKslwaTQp""#),
                ("a name in other letters", "rekeyd:prod", "Rekeyd:prod"),
                ("a name cut short", "TQo\"", "TQ\""),
                ("an empty name", &name, r#""""#),
                ("a name that is null", &name, "null"),
                ("no name", &format!(r#""friendly_name":{name},"#), ""),
            ],
        ),
    )
    .await;
    let main = ("the Main key", with(201, NEW_KEY, MAIN_KEY));
    check(
        Call::Create,
        vec![(main.0, main.1, "unknown: malformed: HTTP 201, but the new key is said to be the Main key")],
    )
    .await;
}

#[tokio::test]
async fn a_success_that_is_not_a_key_leaves_it_unknown() {
    let sid = &format!(r#""{NEW_KEY}""#);
    let date = &format!(r#""date_created":"{DATE}""#);
    check(
        Call::Create,
        rows(
            "unknown: malformed: HTTP 201, but the body is not a new key (line …",
            &[
                ("a SID too short", "00000000ff", "0000000ff"),
                ("a SID too long", "00000000ff", "0000000000ff"),
                ("a SID that is not hexadecimal", "00000000ff", "00000000fg"),
                ("a SID in small letters", "\"SK", "\"sk"),
                ("the SID of an account", "\"SK", "\"AC"),
                ("a SID with a path", sid, r#""SK00000000000000000000000000/../xx""#),
                ("a SID that is null", sid, "null"),
                ("no SID", &format!(r#""sid":{sid},"#), ""),
                ("a date of another kind", DATE, "2016-06-13T22:50:08Z"),
                ("a date on the wrong day of the week", "Mon, 13", "Tue, 13"),
                ("a date that does not exist", "Mon, 13 Jun", "Mon, 31 Jun"),
                ("an empty date", DATE, ""),
                ("a date that is null", date, r#""date_created":null"#),
                ("a date that is a number", date, r#""date_created":1465858208"#),
                ("no date", &format!("{date},"), ""),
            ],
        ),
    )
    .await;
    let not = "unknown: malformed: HTTP 201, but the body is not a new key (line 1, column …";
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    check(
        Call::Create,
        vec![
            ("nothing", json(201, ""), not),
            ("a page of a gateway", json(201, "<html>Created</html>"), not),
            ("null", json(201, "null"), not),
            ("an empty object", json(201, "{}"), not),
            ("text", json(201, r#""CanaryCanary""#), not),
            ("deep brackets", json(201, &nested), not),
            ("half an object", json(201, r#"{"sid":"SK000000000000000000000000000000ff""#), not),
            ("more behind the object", with(201, r#"03"}"#, r#"03"}{}"#), not),
            ("the XML of the same API", json(201, "<?xml version=\"1.0\"?><TwilioResponse/>"), not),
            ("the list form", json(201, r#"{"keys":[]}"#), not),
        ],
    )
    .await;
    check(
        Call::Create,
        vec![
            ("accepted, but when?", with(202, "", ""), "unknown: malformed: HTTP 202"),
            ("a part", with(206, "", ""), "unknown: malformed: HTTP 206"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_refused_create_says_why() {
    check(
        Call::Create,
        vec![
            (
                "the Main key is refused",
                json(401, r#"{"code":20003,"message":"Authenticate","status":401}"#),
                "not done: unauthorized: HTTP 401, error 20003: Authenticate",
            ),
            (
                "a permission is missing",
                json(401, r#"{"code":70051,"message":"Authorization Error"}"#),
                "not done: forbidden: HTTP 401, error 70051: Authorization Error",
            ),
            ("a bare 401", json(401, ""), "unknown: malformed: HTTP 401, but the body is not an error of Twilio"),
            (
                "no such account",
                json(404, r#"{"code":20404,"message":"was not found","status":404}"#),
                "not done: refused: HTTP 404, error 20404: was not found",
            ),
            ("a bare 404", json(404, ""), "unknown: malformed: HTTP 404, but the body is not an error of Twilio"),
            (
                "a limit told with 429",
                json(429, r#"{"code":70151,"message":"Maximum Number Of API Keys Exceeded"}"#),
                "not done: throttled: HTTP 429, error 70151: Maximum Number Of API Keys Exceeded",
            ),
        ],
    )
    .await;
}

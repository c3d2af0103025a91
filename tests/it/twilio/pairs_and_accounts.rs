//! Whether a pair works, and whether an account may be worked on.

use super::{ACCOUNT, Call, check, client};
use crate::support::wire::{Act, Wire, answer, cut, json};

const REFUSED: &str =
    r#"{"code":20003,"message":"Authenticate","more_info":"https://www.twilio.com/docs/errors/20003","status":401}"#;
const LACKING: &str = r#"{"code":70051,"message":"Authorization Error: required permission a/b/list is missing"}"#;

#[tokio::test]
async fn a_pair_works_if_an_ordinary_resource_answers_it() {
    let not = "unknown: malformed: HTTP 200, but the body is not a JSON object (line 1, column …";
    check(
        Call::Probe,
        vec![
            ("a list", json(200, r#"{"incoming_phone_numbers":[],"page":0}"#), "done: Works"),
            ("any object", json(200, "{}"), "done: Works"),
            ("any 2xx", json(203, "{}"), "done: Works"),
            ("recognised, but not permitted", json(401, LACKING), "done: Works"),
            (
                "refused without a word, by whoever is on the way",
                answer(401, "", ""),
                "unknown: malformed: HTTP 401, but the body is not an error of Twilio",
            ),
            (
                "refused in HTML",
                answer(401, "WWW-Authenticate: Basic realm=\"Twilio API\"\r\n", "<h1>401</h1>"),
                "unknown: malformed: HTTP 401, but the body is not an error of Twilio",
            ),
            (
                "a permission named under another status",
                json(401, r#"{"code":70051,"status":400}"#),
                "unknown: malformed: HTTP 401, but the body is not an error of Twilio",
            ),
            (
                "a 401 that is cut",
                cut("HTTP/1.1 401 Any\r\nContent-Length: 99\r\n\r\n{\"code\":70051"),
                "unknown: unreachable: the connection was cut: …",
            ),
            (
                "a number of a permission with 403",
                json(403, r#"{"code":70051,"message":"x"}"#),
                "not done: forbidden: HTTP 403, error 70051: x",
            ),
            (
                "test credentials",
                json(403, r#"{"code":20008,"message":"x"}"#),
                "not done: forbidden: HTTP 403, error 20008: x",
            ),
            ("the welcome page of a hotel", answer(200, "", "<html>Welcome</html>"), not),
            ("a list alone", json(200, "[]"), not),
            ("nothing", json(200, ""), not),
            ("a redirect to a login", answer(302, "Location: /login\r\n", ""), "unknown: malformed: HTTP 302"),
        ],
    )
    .await;
}

const RESOURCES: [&str; 3] = ["IncomingPhoneNumbers", "Messages", "Calls"];

#[tokio::test]
async fn the_next_resource_is_asked_where_the_one_before_is_missing_or_refuses() {
    let missing = || json(404, r#"{"code":20404,"message":"was not found","status":404}"#);
    let (bare, fine) = (|| json(404, "bare"), || json(200, "{}"));
    let cases = [
        (vec![fine()], "done: Works"),
        (vec![missing(), fine()], "done: Works"),
        (vec![bare(), fine()], "done: Works"),
        (vec![json(401, REFUSED), fine()], "done: Works"),
        (vec![json(401, REFUSED), json(401, REFUSED)], "done: Refused"),
        (vec![json(401, REFUSED), missing(), missing()], "done: Refused"),
        (
            vec![json(401, REFUSED), json(401, "closed")],
            "unknown: malformed: HTTP 401, but the body is not an error of Twilio",
        ),
        (vec![missing(), json(401, REFUSED), json(401, REFUSED)], "done: Refused"),
        (vec![missing(), json(401, REFUSED), missing()], "done: Refused"),
        (vec![missing(), json(401, LACKING)], "done: Works"),
        (vec![missing(), json(503, "")], "unknown: server: HTTP 503"),
        (vec![missing(), bare(), fine()], "done: Works"),
        (vec![missing(), missing(), missing()], "not done: refused: HTTP 404, error 20404: was not found"),
        (vec![bare(), bare(), bare()], "unknown: malformed: HTTP 404, but the body is not an error of Twilio"),
    ];
    for (answers, expected) in cases {
        let asked = answers.len();
        let wire = Wire::start(move |request| {
            let index = RESOURCES.iter().position(|name| request.line().contains(&format!("/{name}.json")));
            answers[index.unwrap()].clone()
        });
        let wire = wire.await;
        assert_eq!(Call::Probe.make(&client(&wire)).await, expected);
        let line = |name: &&str| format!("GET /2010-04-01/Accounts/{ACCOUNT}/{name}.json?PageSize=1");
        assert_eq!(wire.lines(), RESOURCES[..asked].iter().map(line).collect::<Vec<_>>());
    }
}

fn account(sid: &str, status: &str) -> Vec<Act> {
    let rest = format!(r#""type":"Full","auth_token":"","owner_account_sid":"{ACCOUNT}","subresource_uris":{{}}"#);
    json(200, &format!(r#"{{"sid":"{sid}","friendly_name":"a","status":{status},{rest}}}"#))
}

#[tokio::test]
async fn an_account_is_active_suspended_or_closed_or_not_told() {
    let not = "unknown: malformed: HTTP 200, but the body is not an account with a status (line 1, column …";
    let other = "AC0000000000000000000000000000000b";
    check(
        Call::Standing,
        vec![
            ("active", account(ACCOUNT, r#""active""#), "done: Active"),
            ("suspended", account(ACCOUNT, r#""suspended""#), "done: Suspended"),
            ("closed", account(ACCOUNT, r#""closed""#), "done: Closed"),
            ("in capitals", account(ACCOUNT, r#""ACTIVE""#), not),
            ("a new word", account(ACCOUNT, r#""dormant""#), not),
            ("a number", account(ACCOUNT, "1"), not),
            ("null", account(ACCOUNT, "null"), not),
            ("no status", json(200, &format!(r#"{{"sid":"{ACCOUNT}"}}"#)), not),
            ("no account", json(200, r#"{"status":"closed"}"#), not),
            (
                "another account",
                account(other, r#""closed""#),
                "unknown: malformed: HTTP 200, but it shows another account",
            ),
            (
                "a Main key that may not see a subaccount",
                json(401, REFUSED),
                "not done: unauthorized: HTTP 401, error 20003: Authenticate",
            ),
            (
                "no such account",
                json(404, r#"{"code":20404,"message":"x","status":404}"#),
                "not done: refused: HTTP 404, error 20404: x",
            ),
            ("a bare 404", json(404, ""), "unknown: malformed: HTTP 404, but the body is not an error of Twilio"),
        ],
    )
    .await;
}

//! Every way to be refused, with the exact body.

use super::{Bench, CHILD, PARENT, Pair, key, keys, messages, read};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rekeyd::sandbox::{Faults, KeyKind, Reach};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

async fn bench() -> Bench {
    Bench::new(Faults::default()).await
}

fn refusal(status: u16, code: u32, message: &str) -> Value {
    let more_info = format!("https://www.twilio.com/docs/errors/{code}");
    json!({"status": status, "code": code, "message": message, "more_info": more_info})
}

fn authenticate() -> Value {
    refusal(401, 20003, "Authenticate")
}

#[tokio::test]
async fn a_standard_key_is_refused_on_keys_and_accounts() {
    let bench = bench().await;
    let pair = bench.create("standard").await;
    let accounts = ["/2010-04-01/Accounts.json".to_owned(), format!("/2010-04-01/Accounts/{PARENT}.json")];
    for path in accounts.into_iter().chain([keys(), key(&pair.0)]) {
        let got = bench.get(&pair, &path).await;
        assert_eq!((got.status, got.body()), (StatusCode::UNAUTHORIZED, authenticate()), "{path}");
        assert_eq!(got.header("www-authenticate"), "Basic realm=\"Twilio API\"");
    }
    assert_eq!(read(bench.request(Method::DELETE, &pair, &key(&pair.0))).await.body(), authenticate());
}

#[tokio::test]
async fn bad_credentials_are_told_apart_as_far_as_twilio_does() {
    let bench = bench().await;
    let (sid, secret) = (bench.main.0.clone(), bench.main.1.clone());
    let invalid = refusal(401, 20003, "Authentication Error - invalid username");
    for (user, password, expected) in [
        (sid.clone(), "wrong".to_owned(), authenticate()),
        (format!("SK{}", "0".repeat(32)), secret.clone(), authenticate()),
        (PARENT.to_owned(), secret.clone(), authenticate()),
        (format!(" {sid}"), secret.clone(), invalid.clone()),
        ("somebody".to_owned(), secret.clone(), invalid.clone()),
        (format!("PK{}", &sid[2..]), secret, invalid),
    ] {
        let got = bench.get(&Pair(user.clone(), password), &keys()).await;
        assert_eq!((got.status, got.body()), (StatusCode::UNAUTHORIZED, expected), "{user}");
    }
}

#[tokio::test]
async fn no_credentials_are_refused_whatever_stands_in_their_place() {
    let bench = bench().await;
    let nothing = bench.http.get(format!("{}{}", bench.sandbox.url(), keys()));
    let pair = STANDARD.encode(format!("{}:{}", bench.main.0, bench.main.1));
    let bearer = bench.http.get(format!("{}{}", bench.sandbox.url(), keys())).bearer_auth(pair);
    let expected = refusal(401, 20003, "Authentication Error - No credentials provided");
    for request in [nothing, bearer] {
        let got = read(request).await;
        assert_eq!((got.status, got.body()), (StatusCode::UNAUTHORIZED, expected.clone()));
    }
}

#[tokio::test]
async fn a_suspended_and_a_closed_account_refuse_their_own_credentials() {
    let bench = bench().await;
    let main = bench.by_hand(CHILD, KeyKind::Main);
    let path = format!("/2010-04-01/Accounts/{CHILD}.json");
    for status in ["suspended", "closed"] {
        let control = format!("{}/_sandbox/accounts/{CHILD}", bench.sandbox.url());
        let told = bench.http.post(control).json(&json!({"status": status})).send().await.unwrap();
        assert_eq!(told.status(), StatusCode::NO_CONTENT);
        assert_eq!(bench.get(&main, &path).await.body(), authenticate());
        assert_eq!(bench.get(&bench.main, &path).await.body()["status"], status);
    }
}

#[tokio::test]
async fn a_parents_main_key_reaches_what_the_switch_says_and_its_token_everything() {
    for (switch, expected) in [
        (Reach::AccountsOnly, [200, 401, 401]),
        (Reach::AccountsAndKeys, [200, 200, 401]),
        (Reach::AllV2010, [200, 200, 200]),
    ] {
        let bench = Bench::new(Faults { parent_main_key_on_subaccount: switch, ..Faults::default() }).await;
        let token = bench.token(PARENT);
        for (path, expected) in ["", "/Keys", "/Messages"].into_iter().zip(expected) {
            let path = format!("/2010-04-01/Accounts/{CHILD}{path}.json");
            assert_eq!(bench.get(&bench.main, &path).await.status.as_u16(), expected, "{switch:?} {path}");
            assert_eq!(bench.get(&token, &path).await.status, StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn parameters_that_break_a_rule_are_refused() {
    let bench = bench().await;
    let long = bench.post(&keys(), &[("FriendlyName", &"x".repeat(65))]).await;
    assert_eq!(long.body(), refusal(400, 70001, "The request has constraint violations"));
    assert_eq!(bench.post(&keys(), &[("FriendlyName", &"x".repeat(64))]).await.status, StatusCode::CREATED);
    let other_kind = bench.get(&bench.main, &key(PARENT)).await;
    assert_eq!(other_kind.body(), refusal(400, 70002, "Invalid Sid provided in the request"));
    for (query, expected) in [
        ("PageSize=1001", (400, 20007)),
        ("PageSize=0", (400, 20001)),
        ("Page=1", (400, 20001)),
        ("PageToken=abc", (400, 20001)),
    ] {
        let got = bench.get(&bench.main, &format!("{}?{query}", keys())).await;
        assert_eq!(got.refusal(), expected, "{query}");
    }
    assert_eq!(bench.get(&bench.main, &format!("{}?PageSize=1000", keys())).await.status, StatusCode::OK);
}

#[tokio::test]
async fn credentials_are_looked_at_before_parameters() {
    let bench = bench().await;
    let wrong = Pair(bench.main.0.clone(), "wrong".into());
    assert_eq!(bench.get(&wrong, &key(PARENT)).await.body(), authenticate());
    assert_eq!(bench.get(&wrong, &format!("{}?PageSize=5000", keys())).await.body(), authenticate());
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let bench = bench().await;
    let foreign = bench.by_hand(CHILD, KeyKind::Standard);
    let nobody = format!("/2010-04-01/Accounts/AC{}.json", "9".repeat(32));
    let unknown = key(&format!("SK{}", "0".repeat(32)));
    for path in
        [unknown, key(&foreign.0), nobody, format!("/2010-04-01/Accounts/{PARENT}/Calls.json"), "/v1/Nothing".into()]
    {
        let got = bench.get(&bench.main, &path).await;
        let message = format!("The requested resource {path} was not found");
        assert_eq!((got.status, got.body()), (StatusCode::NOT_FOUND, refusal(404, 20404, &message)));
    }
    let elsewhere = keys().replace(PARENT, &format!("AC{}", "9".repeat(32)));
    assert_eq!(bench.get(&bench.main, &elsewhere).await.body(), authenticate());
}

#[tokio::test]
async fn a_method_that_a_resource_does_not_have_is_not_allowed() {
    let bench = bench().await;
    for (method, path) in [(Method::PUT, keys()), (Method::DELETE, keys()), (Method::POST, messages())] {
        let got = read(bench.request(method, &bench.main, &path)).await;
        assert_eq!(
            (got.status, got.body()),
            (StatusCode::METHOD_NOT_ALLOWED, refusal(405, 20004, "Method not allowed"))
        );
    }
}

#[tokio::test]
async fn a_body_that_is_far_too_large_is_refused_and_makes_no_key() {
    let bench = bench().await;
    let got = bench.post(&keys(), &[("FriendlyName", "x"), ("Padding", &"x".repeat(100_000))]).await;
    assert_eq!((got.refusal(), bench.alive()), ((400, 70001), 0));
}

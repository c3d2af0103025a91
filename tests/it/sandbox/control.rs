//! What can be done to a running sandbox from outside.

use super::{Bench, CHILD, PARENT, Pair, keys, messages, read};
use rekeyd::sandbox::Faults;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

impl Bench {
    async fn control(&self, method: Method, path: &str, body: Value) -> super::Got {
        let url = format!("{}/_sandbox/{path}", self.sandbox.url());
        let request = self.http.request(method, url);
        read(if body.is_null() { request } else { request.json(&body) }).await
    }

    async fn state(&self) -> Value {
        self.control(Method::GET, "state", Value::Null).await.body()
    }
}

async fn bench() -> Bench {
    Bench::new(Faults::default()).await
}

#[tokio::test]
async fn the_state_shows_accounts_and_keys_and_no_secret() {
    let bench = bench().await;
    let pair = bench.create("visible").await;
    bench.get(&Pair(pair.0.clone(), "wrong".into()), &messages()).await;
    let state = bench.state().await;
    let parent = state["accounts"].as_array().unwrap().iter().find(|account| account["sid"] == PARENT).unwrap();
    let key = &parent["keys"][1];
    assert_eq!((&key["sid"], &key["type"]), (&json!(pair.0), &json!("standard")));
    assert_eq!((&key["friendly_name"], &key["made_by"]), (&json!("visible"), &json!(bench.main.0)));
    let created = json!({"operation": "create_key", "status": 201, "count": 1});
    assert!(state["calls"].as_array().unwrap().contains(&created), "{state}");
    assert_eq!(state["dead_pairs"], 1);
    for secret in [&pair.1, &bench.main.1, &bench.token(PARENT).1] {
        assert!(!state.to_string().contains(secret.as_str()));
    }
}

#[tokio::test]
async fn the_audit_has_every_call_and_why_it_was_refused() {
    let bench = bench().await;
    let pair = bench.create("x").await;
    bench.get(&Pair(pair.1.clone(), pair.0.clone()), &messages()).await;
    let audit = bench.control(Method::GET, "audit", Value::Null).await.body();
    assert_eq!((&audit["forgotten"], audit["entries"].as_array().unwrap().len()), (&json!(0), 2));
    let (created, refused) = (&audit["entries"][0], &audit["entries"][1]);
    assert_eq!(
        (&created["key"], &created["user"], &created["status"]),
        (&json!(pair.0), &json!(bench.main.0), &json!(201))
    );
    assert_eq!(
        (&refused["denied"], &refused["user"], &refused["code"]),
        (&json!("malformed"), &Value::Null, &json!(20003))
    );
    assert!(!audit.to_string().contains(&pair.1), "user and secret were swapped, and the secret is still a secret");
}

#[tokio::test]
async fn settings_take_effect_at_once_and_what_is_not_given_is_kind() {
    let bench = bench().await;
    let set = bench.control(Method::PUT, "faults", json!({"key_quota": 1, "edges": 0.5})).await;
    assert_eq!((set.status, &set.body()["key_quota"]), (StatusCode::OK, &json!(1)));
    assert_eq!(bench.post(&keys(), &[]).await.refusal(), (400, 70151));
    bench.control(Method::PUT, "faults", json!({})).await;
    assert_eq!(bench.post(&keys(), &[]).await.status, StatusCode::CREATED);
    assert_eq!(bench.state().await["faults"]["edges"], 0.0);
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_and_change_nothing() {
    let bench = bench().await;
    for (wrong, told) in [
        (json!({"edges": 2}), "a rate is a number from 0 to 1"),
        (json!({"key_delay": 2}), "unknown field `key_delay`"),
        (json!({"random": [{"fault": "lots", "rate": 1}]}), "unknown variant `lots`"),
    ] {
        let got = bench.control(Method::PUT, "faults", wrong).await;
        assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(got.text.contains(told), "{}", got.text);
    }
    assert_eq!(bench.state().await["faults"]["edges"], 0.0);
}

#[tokio::test]
async fn a_script_strikes_the_calls_it_names_and_can_be_taken_back() {
    let bench = bench().await;
    let late = json!({"operation": "create_key", "fault": {"late": {"ms": 500}}});
    let lines = json!([
        {"operation": "create_key", "times": 2, "fault": "rate_limited"},
        {"operation": "list_keys", "account": PARENT, "times": 9, "fault": "refused"},
        late,
    ]);
    assert_eq!(bench.control(Method::POST, "script", lines).await.status, StatusCode::NO_CONTENT);
    assert_eq!(bench.get(&bench.main, &keys()).await.refusal(), (401, 20003));
    for _ in 0..2 {
        assert_eq!(bench.post(&keys(), &[]).await.refusal(), (429, 20429));
    }
    assert_eq!(bench.state().await["script"][0]["times"], 8);
    assert!(bench.request(Method::POST, &bench.main, &keys()).send().await.is_err());
    assert_eq!(bench.state().await["on_its_way"][0]["operation"], "create_key");
    bench.control(Method::DELETE, "script", Value::Null).await;
    assert_eq!(bench.get(&bench.main, &keys()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn people_make_and_delete_keys_by_hand() {
    let bench = bench().await;
    for (kind, reaches) in [("main", 200), ("standard", 401)] {
        let wanted = json!({"account": CHILD, "type": kind, "friendly_name": "mine"});
        let made = bench.control(Method::POST, "keys", wanted).await;
        assert_eq!(made.status, StatusCode::CREATED);
        let pair = Pair(made.body()["sid"].as_str().unwrap().into(), made.body()["secret"].as_str().unwrap().into());
        let path = format!("/2010-04-01/Accounts/{CHILD}/Keys.json");
        assert_eq!(bench.get(&pair, &path).await.status.as_u16(), reaches, "{kind}");
        let path = format!("keys/{}", pair.0);
        assert_eq!(bench.control(Method::DELETE, &path, Value::Null).await.status, StatusCode::NO_CONTENT);
        assert_eq!(bench.control(Method::DELETE, &path, Value::Null).await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_in_a_sentence() {
    let bench = bench().await;
    let nobody = format!("AC{}", "9".repeat(32));
    let key = json!({"account": nobody, "type": "main"});
    let status = json!({"status": "closed"});
    for (method, path, body, told) in [
        (Method::POST, "keys".to_owned(), key, format!("there is no account {nobody}")),
        (Method::POST, format!("accounts/{nobody}"), status, format!("there is no account {nobody}")),
        (Method::GET, "stat".to_owned(), Value::Null, "there is: GET state".to_owned()),
    ] {
        let got = bench.control(method, &path, body).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND);
        assert!(got.body()["error"].as_str().unwrap().starts_with(&told), "{}", got.text);
    }
}

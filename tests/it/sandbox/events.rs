//! Monitor's events: every change leaves one, and nothing else does.

use super::{Bench, CHILD, PARENT, Pair, key, keys, read};
use rekeyd::model::key::KeySid;
use rekeyd::sandbox::{Faults, KeyKind};
use reqwest::Method;
use serde_json::{Value, json};

const EVENTS: &str = "/v1/Events";

async fn bench() -> Bench {
    Bench::new(Faults::default()).await
}

impl Bench {
    async fn events(&self, pair: &Pair, query: &str) -> Vec<Value> {
        let body = self.get(pair, &format!("{EVENTS}?{query}")).await.body();
        body["events"].as_array().unwrap().clone()
    }

    /// The types of the events of the account, oldest first, from the API alone.
    async fn kinds(&self, pair: &Pair) -> Vec<String> {
        let events = self.events(pair, "").await;
        let api = events.iter().rev().filter(|event| event["source"] == "api");
        api.map(|event| event["event_type"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn every_change_leaves_one_event_and_looking_leaves_none() {
    let bench = bench().await;
    let made = bench.create("one").await;
    bench.post(&key(&made.0), &[("FriendlyName", "other")]).await;
    bench.get(&bench.main, &key(&made.0)).await;
    bench.get(&bench.main, &keys()).await;
    bench.delete(&key(&made.0)).await;
    assert_eq!(bench.delete(&key(&made.0)).await.status.as_u16(), 404, "what is refused changes nothing");
    let public = "/v1/Credentials/PublicKeys";
    let vectors: Value = serde_json::from_str(include_str!("../../vectors/pkcv.json")).unwrap();
    let form = [("PublicKey", vectors["rsa_public_key_spki_pem"].as_str().unwrap())];
    let registered = bench.post(public, &form).await.body()["sid"].as_str().unwrap().to_owned();
    bench.post(&format!("{public}/{registered}"), &[("FriendlyName", "x")]).await;
    bench.delete(&format!("{public}/{registered}")).await;
    bench.post("/2010-04-01/Accounts.json", &[("FriendlyName", "new")]).await;
    let token = bench.token(PARENT);
    for (method, path) in [("POST", "Secondary"), ("DELETE", "Secondary"), ("POST", "Secondary"), ("POST", "Promote")] {
        read(bench.request(method.parse().unwrap(), &token, &format!("/v1/AuthTokens/{path}"))).await;
    }
    let expected = [
        "account-api-keys.created",
        "account-api-keys.updated",
        "account-api-keys.deleted",
        "account-credentials.created",
        "account-credentials.updated",
        "account-credentials.deleted",
        "account.created",
        "account-auth-token.secondary-created",
        "account-auth-token.secondary-deleted",
        "account-auth-token.secondary-created",
        "account-auth-token.promoted",
    ];
    assert_eq!(bench.kinds(&bench.main).await, expected);
}

#[tokio::test]
async fn an_event_says_who_what_when_and_what_is_another_now() {
    let bench = bench().await;
    let child = format!("/2010-04-01/Accounts/{CHILD}.json");
    bench.post(&child, &[("FriendlyName", "Mr. Friendly"), ("Status", "suspended")]).await;
    bench.post(&child, &[("Status", "active")]).await;
    let own = bench.token(CHILD);
    let events = bench.events(&own, "").await;
    assert_eq!((events.len(), &events[1]["event_type"]), (2, &json!("account.updated")));
    let event = &events[1];
    assert_eq!(event["event_data"]["friendly_name"]["updated"], "Mr. Friendly");
    assert_eq!(event["event_data"]["status"], json!({"previous": "active", "updated": "suspended"}));
    assert_eq!(events[0]["event_data"], json!({"status": {"previous": "suspended", "updated": "active"}}));
    assert_eq!((&event["account_sid"], &event["resource_sid"]), (&json!(CHILD), &json!(CHILD)));
    assert_eq!((&event["actor_sid"], &event["actor_type"]), (&json!(PARENT), &json!("account")));
    assert_eq!((&event["source"], &event["event_date"]), (&json!("api"), &json!("2023-11-14T22:13:20Z")));
    let path = format!("{EVENTS}/{}", event["sid"].as_str().unwrap());
    let fetched = bench.get(&own, &path).await.body();
    assert_eq!((&fetched, &fetched["url"]), (event, &json!(format!("{}{path}", bench.sandbox.url()))));
    assert_eq!(bench.get(&bench.main, &path).await.refusal(), (404, 20404), "an event of another account");
    assert_eq!(bench.get(&own, &format!("{EVENTS}/AE{}", "f".repeat(32))).await.refusal(), (404, 20404));
}

#[tokio::test]
async fn what_a_person_did_is_told_apart() {
    let bench = bench().await;
    let made = bench.by_hand(PARENT, KeyKind::Standard);
    let now = bench.sandbox.world().now();
    let sid = KeySid::new(&made.0).unwrap();
    assert!(bench.sandbox.world().lock().delete_by_hand(now, &sid));
    assert!(!bench.sandbox.world().lock().delete_by_hand(now, &sid), "twice is once");
    let events = bench.events(&bench.main, &format!("ResourceSid={sid}")).await;
    let told: Vec<_> =
        events.iter().map(|event| [&event["event_type"], &event["source"], &event["actor_type"]]).collect();
    let by_hand = |kind: &str| [json!(kind), json!("web"), json!("user")];
    assert_eq!(json!(told), json!([by_hand("account-api-keys.deleted"), by_hand("account-api-keys.created")]));
}

#[tokio::test]
async fn events_are_filtered_and_come_in_pages_newest_first() {
    let bench = bench().await;
    let first = bench.create("a").await;
    bench.pass(1_000);
    let second = bench.create("b").await;
    bench.delete(&key(&first.0)).await;
    let count = async |query: &str| bench.events(&bench.main, query).await.len();
    let all = count("").await;
    assert_eq!(count("EventType=account-api-keys.deleted").await, 1);
    assert_eq!(count(&format!("ResourceSid={}", first.0)).await, 2);
    assert_eq!((count(&format!("ActorSid={PARENT}")).await, count(&format!("ActorSid={CHILD}")).await), (3, 0));
    assert_eq!((count("SourceIpAddress=127.0.0.1").await, count("SourceIpAddress=192.0.2.1").await), (all, 0));
    assert_eq!(count("StartDate=2023-11-14T22:13:21Z").await, 2);
    assert_eq!(count("StartDate=2023-11-14T22:13:22Z").await, 0);
    assert_eq!(count("EndDate=2023-11-14T22:13:20Z").await, all - 2);
    assert_eq!(count("EndDate=2023-11-14T22:13:21Z").await, all);
    assert_eq!((count("StartDate=2023-11-14").await, count("StartDate=2023-11-15").await), (all, 0));
    assert_eq!((count("EndDate=2023-11-14").await, count("EndDate=2023-11-13").await), (all, 0));
    assert_eq!(bench.get(&bench.main, &format!("{EVENTS}?StartDate=soon")).await.refusal(), (400, 20001));
    let page = bench.get(&bench.main, &format!("{EVENTS}?EventType=account-api-keys.created&PageSize=1")).await.body();
    assert_eq!((&page["events"][0]["resource_sid"], &page["meta"]["key"]), (&json!(second.0), &json!("events")));
    let next = page["meta"]["next_page_url"].as_str().unwrap().strip_prefix(&bench.sandbox.url()).unwrap().to_owned();
    assert_eq!(bench.get(&bench.main, &next).await.body()["events"][0]["resource_sid"], first.0);
}

#[tokio::test]
async fn any_key_of_the_account_may_read_its_events_and_a_restricted_one_if_it_is_permitted() {
    let bench = bench().await;
    let standard = bench.by_hand(PARENT, KeyKind::Standard);
    assert_eq!(bench.get(&standard, EVENTS).await.status.as_u16(), 200);
    for (policy, status) in [("/twilio/monitor/events/list", 200), ("/twilio/monitor/events/read", 401)] {
        let policy = json!({ "allow": [policy] }).to_string();
        let form = [("AccountSid", PARENT), ("KeyType", "restricted"), ("Policy", policy.as_str())];
        let body = bench.post("/v1/Keys", &form).await.body();
        let pair = Pair(body["sid"].as_str().unwrap().into(), body["secret"].as_str().unwrap().into());
        assert_eq!(bench.get(&pair, EVENTS).await.status.as_u16(), status, "{policy}");
    }
    let method = read(bench.request(Method::POST, &bench.main, EVENTS)).await;
    assert_eq!(method.refusal(), (405, 20004));
}

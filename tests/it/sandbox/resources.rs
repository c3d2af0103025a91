//! Twilio's resources, answer by answer.

use super::{Bench, CHILD, PARENT, Pair, key, keys, messages};
use rekeyd::sandbox::{Faults, KeyKind};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn bench() -> Bench {
    Bench::new(Faults::default()).await
}

fn members(body: &Value) -> BTreeSet<&str> {
    body.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_life_of_a_key_from_create_to_delete() {
    let bench = bench().await;
    let created = bench.post(&keys(), &[("FriendlyName", "a name: with/signs & ü"), ("KeyType", "restricted")]).await;
    assert_eq!(created.status, StatusCode::CREATED);
    let body = created.body();
    assert_eq!(members(&body), ["date_created", "date_updated", "friendly_name", "secret", "sid"].into());
    assert_eq!(body["friendly_name"], "a name: with/signs & ü");
    assert_eq!(body["date_created"], "Tue, 14 Nov 2023 22:13:20 +0000");
    let sid = body["sid"].as_str().unwrap();
    let pair = Pair(sid.to_owned(), body["secret"].as_str().unwrap().to_owned());
    assert_eq!(pair.1.len(), 32);

    let fetched = bench.get(&bench.main, &key(sid)).await.body();
    assert_eq!(members(&fetched), ["date_created", "date_updated", "friendly_name", "sid"].into());
    assert_eq!(bench.get(&pair, &messages()).await.status, StatusCode::OK);

    bench.pass(1_000);
    let updated = bench.post(&key(sid), &[("FriendlyName", "another")]).await;
    assert_eq!((updated.status, &updated.body()["friendly_name"]), (StatusCode::OK, &json!("another")));
    assert_eq!(updated.body()["date_updated"], "Tue, 14 Nov 2023 22:13:21 +0000");
    assert_eq!(updated.body()["date_created"], body["date_created"]);

    let deleted = bench.delete(&key(sid)).await;
    assert_eq!((deleted.status, deleted.text.as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(bench.delete(&key(sid)).await.refusal(), (404, 20404));
    assert_eq!(bench.get(&pair, &messages()).await.refusal(), (401, 20003));
}

#[tokio::test]
async fn a_key_without_a_name_has_none() {
    let bench = bench().await;
    let body = bench.post(&keys(), &[]).await.body();
    assert_eq!(body["friendly_name"], Value::Null);
    let no_form =
        bench.request(Method::POST, &bench.main, &keys()).body("FriendlyName=x").header("content-type", "text/plain");
    assert_eq!(super::read(no_form).await.body()["friendly_name"], Value::Null, "only forms are read");
}

#[tokio::test]
async fn a_list_is_walked_by_its_own_addresses_and_has_every_kind_of_key() {
    let bench = bench().await;
    let by_hand = bench.by_hand(PARENT, KeyKind::Standard);
    let mut expected = vec![bench.main.0.clone(), by_hand.0];
    for second in 0..5 {
        bench.pass(1_000);
        expected.push(bench.create(&format!("key {second}")).await.0);
    }
    expected.reverse();

    let (mut seen, mut pages, mut next) = (Vec::new(), 0, format!("{}?PageSize=3", keys()));
    loop {
        let body = bench.get(&bench.main, &next).await.body();
        let rows = body["keys"].as_array().unwrap();
        seen.extend(rows.iter().map(|row| row["sid"].as_str().unwrap().to_owned()));
        assert_eq!((&body["page"], &body["page_size"], &body["start"]), (&json!(pages), &json!(3), &json!(pages * 3)));
        pages += 1;
        let Some(uri) = body["next_page_uri"].as_str() else { break };
        assert!(uri.contains("PageToken="), "{uri}");
        next = uri.to_owned();
    }
    assert_eq!((seen, pages), (expected, 3));
}

#[tokio::test]
async fn a_page_has_the_members_that_the_sdks_accept_and_no_others() {
    let bench = bench().await;
    let body = bench.get(&bench.main, &keys()).await.body();
    let first = format!("{}?PageSize=50&Page=0", keys());
    assert_eq!(body["keys"].as_array().unwrap().len(), 1);
    let mut rest = body.clone();
    rest.as_object_mut().unwrap().remove("keys");
    let expected = json!({
        "first_page_uri": first, "uri": first, "previous_page_uri": null, "next_page_uri": null,
        "page": 0, "page_size": 50, "start": 0, "end": 0,
    });
    assert_eq!(rest, expected);
}

#[tokio::test]
async fn signing_keys_are_the_same_keys_under_another_name() {
    let bench = bench().await;
    let signing = keys().replace("Keys.json", "SigningKeys.json");
    let sid = bench.post(&signing, &[("FriendlyName", "one")]).await.body()["sid"].as_str().unwrap().to_owned();
    assert_eq!(bench.get(&bench.main, &signing).await.body()["signing_keys"][0]["sid"], sid.as_str());
    assert_eq!(bench.get(&bench.main, &keys()).await.body()["keys"][0]["sid"], sid.as_str());
    assert_eq!(bench.delete(&key(&sid).replace("/Keys/", "/SigningKeys/")).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn accounts_are_fetched_and_listed_and_show_their_token_to_tokens_only() {
    let bench = bench().await;
    let own = format!("/2010-04-01/Accounts/{PARENT}.json");
    let body = bench.get(&bench.main, &own).await.body();
    assert_eq!((&body["sid"], &body["owner_account_sid"]), (&json!(PARENT), &json!(PARENT)));
    assert_eq!((&body["status"], &body["type"], &body["auth_token"]), (&json!("active"), &json!("Full"), &json!("")));
    assert_eq!(body["subresource_uris"]["keys"], keys());
    let token = bench.token(PARENT);
    assert_eq!(bench.get(&token, &own).await.body()["auth_token"], token.1);

    let list = "/2010-04-01/Accounts.json";
    let sids = |body: Value| -> BTreeSet<String> {
        let rows = body["accounts"].as_array().unwrap().clone();
        rows.iter().map(|row| row["sid"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(sids(bench.get(&bench.main, list).await.body()), [PARENT.to_owned(), CHILD.to_owned()].into());
    assert_eq!(sids(bench.get(&bench.token(CHILD), list).await.body()), [CHILD.to_owned()].into());
    let child = format!("/2010-04-01/Accounts/{CHILD}.json");
    let renamed = bench.post(&child, &[("FriendlyName", "A subaccount")]).await;
    assert_eq!((renamed.status, &renamed.body()["friendly_name"]), (StatusCode::OK, &json!("A subaccount")));
    let filter = format!("{list}?FriendlyName=A+subaccount&Status=active&PageSize=1");
    let filtered = bench.get(&bench.main, &filter).await.body();
    assert!(filtered["uri"].as_str().unwrap().contains("FriendlyName=A+subaccount"));
    assert_eq!(sids(filtered), [CHILD.to_owned()].into());
    assert!(sids(bench.get(&bench.main, &format!("{list}?Status=closed")).await.body()).is_empty());
}

#[tokio::test]
async fn a_parent_opens_subaccounts_and_suspends_and_closes_them() {
    let bench = bench().await;
    let list = "/2010-04-01/Accounts.json";
    let made = bench.post(list, &[("FriendlyName", "a customer")]).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let made = made.body();
    assert_eq!((&made["friendly_name"], &made["owner_account_sid"]), (&json!("a customer"), &json!(PARENT)));
    let sid = made["sid"].as_str().unwrap().to_owned();
    let home = format!("/2010-04-01/Accounts/{sid}.json");
    for status in ["suspended", "active", "closed"] {
        assert_eq!(bench.post(&home, &[("Status", status)]).await.body()["status"], status);
    }
    let refused = async |path: &str, form: &[(&str, &str)], code: u32| {
        let answer = bench.post(path, form).await;
        assert_eq!((answer.status, &answer.body()["code"]), (StatusCode::BAD_REQUEST, &json!(code)), "{path} {form:?}");
    };
    refused(&home, &[("Status", "active")], 20001).await;
    refused(&format!("/2010-04-01/Accounts/{PARENT}.json"), &[("Status", "closed")], 20001).await;
    refused(&home, &[("Status", "gone")], 70001).await;
    refused(list, &[("FriendlyName", &"x".repeat(65))], 70001).await;
    let named = bench.post(list, &[]).await.body()["friendly_name"].as_str().unwrap().to_owned();
    assert!(named.starts_with("SubAccount Created at "), "{named}");
}

#[tokio::test]
async fn ordinary_resources_prove_a_key() {
    let bench = bench().await;
    let pair = bench.create("prove me").await;
    for (resource, prefix) in [("IncomingPhoneNumbers", "PN"), ("Messages", "SM")] {
        let path = format!("/2010-04-01/Accounts/{PARENT}/{resource}.json?PageSize=1");
        let body = bench.get(&pair, &path).await.body();
        let member = if resource == "Messages" { "messages" } else { "incoming_phone_numbers" };
        let sid = body[member][0]["sid"].as_str().unwrap();
        assert!(sid.starts_with(prefix) && sid.len() == 34, "{sid}");
        assert_eq!((body[member].as_array().unwrap().len(), &body[member][0]["account_sid"]), (1, &json!(PARENT)));
        assert!(body["next_page_uri"].is_string());
    }
}

#[tokio::test]
async fn answers_carry_twilios_headers() {
    let bench = Bench::new(Faults { clock_offset_ms: 60_000, ..Faults::default() }).await;
    let got = bench.get(&bench.main, &keys()).await;
    for (name, value) in [
        ("content-type", "application/json"),
        ("date", "Tue, 14 Nov 2023 22:14:20 GMT"),
        ("twilio-concurrent-requests", "1"),
        ("twilio-request-duration", "0.000"),
        ("x-api-domain", "api.twilio.com"),
        ("x-home-region", "us1"),
        ("x-powered-by", "AT-5000"),
        ("x-shenanigans", "none"),
        ("strict-transport-security", "max-age=31536000"),
        ("access-control-expose-headers", "ETag"),
    ] {
        assert_eq!(got.header(name), value);
    }
    let id = got.header("twilio-request-id");
    assert!(id.starts_with("RQ") && id.len() == 34, "{id}");
    assert_ne!(bench.get(&bench.main, &keys()).await.header("twilio-request-id"), id);
}

#[tokio::test]
async fn without_the_suffix_the_answer_is_xml() {
    let bench = bench().await;
    let got = bench.get(&bench.main, keys().trim_end_matches(".json")).await;
    assert_eq!((got.status, got.header("content-type")), (StatusCode::OK, "application/xml"));
    assert!(got.text.contains("<Key><DateCreated>Tue, 14 Nov 2023 22:13:20 +0000</DateCreated>"));
    let nobody = Pair(bench.main.0.clone(), "wrong".into());
    let refused = bench.get(&nobody, keys().trim_end_matches(".json")).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.text.contains("<RestException><Code>20003</Code>"), "{}", refused.text);
}

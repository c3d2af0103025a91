//! The newer APIs, each on a host of its own at Twilio and all on one port here: IAM version 1, and public keys.

use super::{Bench, CHILD, Got, PARENT, Pair, key, keys, messages, read};
use rekeyd::sandbox::{Faults, KeyKind};
use reqwest::Method;
use serde_json::{Value, json};

const POLICY: &str = r#"{"allow":["/twilio/messaging/messages/list","/twilio/messaging/messages/read"]}"#;
const VECTORS: &str = include_str!("../../vectors/pkcv.json");

async fn bench() -> Bench {
    Bench::new(Faults::default()).await
}

impl Bench {
    async fn restricted(&self, policy: &str) -> Got {
        let form = [("AccountSid", PARENT), ("FriendlyName", "few"), ("KeyType", "restricted"), ("Policy", policy)];
        self.post("/v1/Keys", &form).await
    }
}

fn pem() -> String {
    serde_json::from_str::<Value>(VECTORS).unwrap()["rsa_public_key_spki_pem"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_restricted_key_is_made_shown_listed_and_deleted() {
    let bench = bench().await;
    let made = bench.restricted(POLICY).await;
    let body = made.body();
    let members: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["date_created", "date_updated", "friendly_name", "policy", "secret", "sid"]);
    assert_eq!((made.status.as_u16(), &body["policy"]), (201, &serde_json::from_str::<Value>(POLICY).unwrap()));
    assert_eq!(
        body["date_created"], "Tue, 14 Nov 2023 22:13:20 +0000",
        "as in Twilio's document, unlike other v1 APIs"
    );
    let sid = body["sid"].as_str().unwrap();
    let shown = bench.get(&bench.main, &format!("/v1/Keys/{sid}?AccountSid={PARENT}")).await.body();
    assert_eq!(shown["policy"], body["policy"]);
    assert!(shown.get("secret").is_none() && shown.get("flags").is_none());
    let listed = bench.get(&bench.main, &format!("/v1/Keys?AccountSid={PARENT}&PageSize=1")).await.body();
    assert_eq!(listed["keys"][0]["flags"], json!(["restricted", "rest_api", "signing"]));
    assert!(listed["keys"][0].get("policy").is_none());
    let meta = &listed["meta"];
    assert_eq!((&meta["key"], &meta["page"], &meta["page_size"]), (&json!("keys"), &json!(0), &json!(1)));
    let next = meta["next_page_url"].as_str().unwrap();
    assert!(next.starts_with(&format!("{}/v1/Keys?AccountSid={PARENT}", bench.sandbox.url())), "{next}");
    let all = bench.get(&bench.main, &keys()).await.body();
    assert!(all["keys"].as_array().unwrap().iter().any(|listed| listed["sid"] == sid), "the older API lists it too");
    let gone = read(bench.request(Method::DELETE, &bench.main, &format!("/v1/Keys/{sid}"))).await;
    assert_eq!((gone.status.as_u16(), gone.text.as_str()), (204, ""));
    assert_eq!(bench.get(&bench.main, &key(sid)).await.refusal(), (404, 20404));
}

#[tokio::test]
async fn a_standard_key_has_no_policy_and_an_update_replaces_the_whole_policy() {
    let bench = bench().await;
    let standard = bench.post("/v1/Keys", &[("AccountSid", PARENT), ("FriendlyName", "x")]).await.body();
    assert_eq!(standard["policy"], Value::Null);
    let sid = bench.restricted(POLICY).await.body()["sid"].as_str().unwrap().to_owned();
    let other = r#"{"allow":["/twilio/messaging/messages/create"]}"#;
    let updated = bench.post(&format!("/v1/Keys/{sid}"), &[("Policy", other)]).await.body();
    assert_eq!(updated["policy"], serde_json::from_str::<Value>(other).unwrap());
    let sid = standard["sid"].as_str().unwrap();
    assert_eq!(bench.post(&format!("/v1/Keys/{sid}"), &[("Policy", other)]).await.refusal(), (400, 70001));
}

#[tokio::test]
async fn what_can_not_be_a_policy_or_names_no_account_is_refused() {
    let bench = bench().await;
    let hundred: Vec<_> = (0..100).map(|n| format!("/twilio/p/r{n}/read")).collect();
    let hundred_and_one: Vec<_> = (0..101).map(|n| format!("/twilio/p/r{n}/read")).collect();
    assert_eq!(bench.restricted(&json!({ "allow": hundred }).to_string()).await.status.as_u16(), 201);
    for (policy, code) in [
        ("", 70001),
        ("no", 70001),
        (r#"{"allow":[]}"#, 70001),
        (&json!({ "allow": hundred_and_one }).to_string(), 70001),
        (r#"{"allow":["/twilio/fakepermission/doesnotexist/read"]}"#, 70002),
        (r#"{"allow":["messages"]}"#, 70002),
    ] {
        assert_eq!(bench.restricted(policy).await.refusal(), (400, code), "{policy}");
    }
    assert_eq!(bench.get(&bench.main, "/v1/Keys").await.refusal(), (400, 20001));
    assert_eq!(bench.post("/v1/Keys", &[("FriendlyName", "x")]).await.refusal(), (400, 20001));
}

#[tokio::test]
async fn a_restricted_key_may_do_what_its_policy_says_and_is_told_what_is_missing() {
    let bench = bench().await;
    let body = bench.restricted(POLICY).await.body();
    let pair = Pair(body["sid"].as_str().unwrap().into(), body["secret"].as_str().unwrap().into());
    assert_eq!(bench.get(&pair, &messages()).await.status.as_u16(), 200);
    let denied = bench.get(&pair, &keys()).await;
    assert_eq!(denied.refusal(), (401, 70051));
    let words = "Authorization Error: required permission twilio/iam/api-keys/list is missing";
    assert_eq!(denied.body()["message"], words);
    let manager = bench.restricted(r#"{"allow":["/twilio/iam/api-keys/*"]}"#).await.body();
    let manager = Pair(manager["sid"].as_str().unwrap().into(), manager["secret"].as_str().unwrap().into());
    assert_eq!(bench.get(&manager, &keys()).await.status.as_u16(), 200);
    assert_eq!(bench.get(&manager, &messages()).await.refusal(), (401, 70051));
    let elsewhere = format!("/2010-04-01/Accounts/{CHILD}/Messages.json");
    assert_eq!(bench.get(&pair, &elsewhere).await.refusal(), (401, 70051));
}

#[tokio::test]
async fn what_a_restricted_key_may_do_to_others_is_a_matter_of_two_switches() {
    for (may_not_delete, may_not_exceed) in [(false, false), (true, false), (false, true)] {
        let (restricted_may_not_delete, restricted_may_not_exceed) = (may_not_delete, may_not_exceed);
        let faults = Faults { restricted_may_not_delete, restricted_may_not_exceed, ..Faults::default() };
        let bench = Bench::new(faults).await;
        let manager = bench.restricted(r#"{"allow":["/twilio/iam/api-keys/*"]}"#).await.body();
        let manager = Pair(manager["sid"].as_str().unwrap().into(), manager["secret"].as_str().unwrap().into());
        let made = read(bench.request(Method::POST, &manager, &keys()).form(&[("FriendlyName", "x")])).await;
        assert_eq!(made.status.as_u16(), if may_not_exceed { 400 } else { 201 });
        if may_not_exceed {
            assert_eq!(made.refusal(), (400, 70152));
        }
        let other = bench.create("other").await;
        let gone = read(bench.request(Method::DELETE, &manager, &key(&other.0))).await;
        assert_eq!(gone.status.as_u16(), if may_not_delete { 401 } else { 204 });
    }
}

#[tokio::test]
async fn a_public_key_is_made_shown_renamed_listed_and_deleted() {
    let bench = bench().await;
    let path = "/v1/Credentials/PublicKeys";
    let bare: String = pem().lines().filter(|line| !line.starts_with("---")).collect();
    let mut sids = Vec::new();
    for form in [pem(), pem().replace('\n', ""), bare] {
        let made = bench.post(path, &[("PublicKey", form.as_str()), ("FriendlyName", "ours")]).await;
        let body = made.body();
        assert_eq!((made.status.as_u16(), &body["account_sid"]), (201, &json!(PARENT)), "{form}");
        assert_eq!(body["date_created"], "2023-11-14T22:13:20Z", "ISO 8601 here");
        assert!(!made.text.contains("BEGIN") && body["sid"].as_str().unwrap().starts_with("CR"));
        sids.push(body["sid"].as_str().unwrap().to_owned());
    }
    let listed = bench.get(&bench.main, path).await.body();
    assert_eq!((listed["credentials"].as_array().unwrap().len(), &listed["meta"]["key"]), (3, &json!("credentials")));
    let one = format!("{path}/{}", sids[0]);
    assert_eq!(bench.post(&one, &[("FriendlyName", "renamed")]).await.body()["friendly_name"], "renamed");
    assert_eq!(bench.get(&bench.main, &one).await.body()["friendly_name"], "renamed");
    assert_eq!(bench.get(&bench.main, &one).await.body()["url"], format!("{}{one}", bench.sandbox.url()));
    assert_eq!(bench.delete(&one).await.status.as_u16(), 204);
    assert_eq!(bench.get(&bench.main, &one).await.refusal(), (404, 20404));
    assert_eq!(bench.delete(&one).await.refusal(), (404, 20404));
    let for_child = bench.post(path, &[("PublicKey", pem().as_str()), ("AccountSid", CHILD)]).await.body();
    assert_eq!(for_child["account_sid"], CHILD);
    let standard = bench.by_hand(PARENT, KeyKind::Standard);
    assert_eq!(bench.get(&standard, path).await.refusal(), (401, 20003));
}

#[tokio::test]
async fn public_keys_that_will_not_do_are_told_apart() {
    let bench = bench().await;
    let made = |name: &str| {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
        std::fs::read_to_string(file).unwrap()
    };
    for (pem, code) in [
        (made("p256.pem"), 70101),
        (made("rsa1024.pem"), 70102),
        (made("rsa4096.pem"), 70102),
        (made("rsa2048_e3.pem"), 70103),
        ("-----BEGIN PUBLIC KEY-----\nno\n-----END PUBLIC KEY-----\n".to_owned(), 70104),
        (String::new(), 70104),
    ] {
        let got = bench.post("/v1/Credentials/PublicKeys", &[("PublicKey", pem.as_str())]).await;
        assert_eq!(got.refusal(), (400, code), "{pem}");
    }
    assert_eq!(bench.post("/v1/Credentials/PublicKeys", &[]).await.refusal(), (400, 70001), "no key at all");
}

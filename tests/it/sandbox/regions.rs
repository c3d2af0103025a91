//! Regions: the accounts are the same, keys and public keys are not.

use super::{Bench, PARENT, Pair, account, key, keys, messages, read};
use rekeyd::model::home::{Home, Region};
use rekeyd::sandbox::{Denial, Faults, Options};
use reqwest::Method;
use serde_json::Value;
use std::sync::Arc;

struct Ireland {
    bench: Bench,
    url: String,
    main: Pair,
}

impl Ireland {
    async fn new() -> Self {
        let regions = [(ie1(), "127.0.0.1:0".parse().unwrap())].into();
        let options =
            Options { account_sid: Some(account(PARENT)), faults: Faults::default(), regions, ..Options::default() };
        let bench = Bench::with(options, Arc::default()).await;
        let (region, url, (sid, secret)) = bench.sandbox.regions().next().unwrap();
        assert_eq!(*region, ie1());
        let main = Pair(sid.to_string(), secret.expose().to_owned());
        Self { url, main, bench }
    }

    async fn ask(&self, method: Method, pair: &Pair, path: &str) -> (u16, Value) {
        let request = self.bench.http.request(method, format!("{}{path}", self.url)).basic_auth(&pair.0, Some(&pair.1));
        let got = read(request).await;
        (got.status.as_u16(), serde_json::from_str(&got.text).unwrap_or_default())
    }
}

fn ie1() -> Region {
    Region::new("ie1").unwrap()
}

#[tokio::test]
async fn a_key_of_one_region_is_no_key_in_another() {
    let there = Ireland::new().await;
    let here = &there.bench;
    let (status, made) = there.ask(Method::POST, &there.main, &keys()).await;
    assert_eq!(status, 201);
    let pair = |made: &Value| Pair(made["sid"].as_str().unwrap().into(), made["secret"].as_str().unwrap().into());
    let (theirs, ours) = (pair(&made), here.create("ours").await);
    let listed = |page: &Value| -> Vec<String> {
        page["keys"].as_array().unwrap().iter().map(|key| key["sid"].as_str().unwrap().to_owned()).collect()
    };
    let (_, page) = there.ask(Method::GET, &there.main, &keys()).await;
    assert_eq!(listed(&page), [theirs.0.clone(), there.main.0.clone()]);
    assert_eq!(listed(&here.get(&here.main, &keys()).await.body()), [ours.0.clone(), here.main.0.clone()]);

    assert_eq!(there.ask(Method::GET, &theirs, &messages()).await.0, 200);
    for (pair, path) in [(&ours, messages()), (&here.main, keys()), (&here.token(PARENT), keys())] {
        let (status, told) = there.ask(Method::GET, pair, &path).await;
        assert_eq!((status, &told["code"]), (401, &Value::from(20003)));
    }
    assert_eq!(here.get(&theirs, &messages()).await.refusal(), (401, 20003));
    assert_eq!(here.get(&there.main, &keys()).await.refusal(), (401, 20003));
    let denied = |entry: &&rekeyd::sandbox::Entry| entry.denied == Some(Denial::OtherRegion);
    assert_eq!(here.sandbox.world().lock().audit().entries().filter(denied).count(), 5);

    assert_eq!(there.ask(Method::GET, &there.main, &key(&ours.0)).await.0, 404);
    assert_eq!(there.ask(Method::DELETE, &there.main, &key(&ours.0)).await.0, 404);
    assert_eq!(here.get(&ours, &messages()).await.status, 200, "nobody has deleted it");
    assert_eq!(there.ask(Method::DELETE, &there.main, &key(&theirs.0)).await.0, 204);
}

#[tokio::test]
async fn a_public_key_of_one_region_is_unknown_in_another() {
    let there = Ireland::new().await;
    let vectors: Value = serde_json::from_str(include_str!("../../vectors/pkcv.json")).unwrap();
    let (now, pem) = (there.bench.sandbox.world().now(), vectors["rsa_public_key_spki_pem"].as_str().unwrap());
    let home = Home { account: account(PARENT), region: ie1() };
    let sid = there.bench.sandbox.world().lock().register_in(now, &home, None, pem).unwrap();
    let path = format!("/v1/Credentials/PublicKeys/{sid}");
    assert_eq!(there.ask(Method::GET, &there.main, &path).await.0, 200);
    assert_eq!(there.bench.get(&there.bench.main, &path).await.status, 404);
    let list = there.bench.get(&there.bench.main, "/v1/Credentials/PublicKeys").await.body();
    assert_eq!(list["credentials"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn a_person_makes_keys_in_the_region_of_the_door() {
    let there = Ireland::new().await;
    let body = serde_json::json!({"account": PARENT, "type": "standard"});
    let made = read(there.bench.http.post(format!("{}/_sandbox/keys", there.url)).json(&body)).await.body();
    let pair = Pair(made["sid"].as_str().unwrap().into(), made["secret"].as_str().unwrap().into());
    assert_eq!(there.ask(Method::GET, &pair, &messages()).await.0, 200);
    assert_eq!(there.bench.get(&pair, &messages()).await.refusal(), (401, 20003));
    let state = read(there.bench.http.get(format!("{}/_sandbox/state", there.bench.sandbox.url()))).await.body();
    let shown = state["accounts"][0]["keys"].as_array().unwrap();
    let regions: Vec<_> = shown.iter().map(|key| key["region"].as_str().unwrap()).collect();
    assert_eq!(regions, ["us1", "ie1", "ie1"]);
}

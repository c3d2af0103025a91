//! Auth tokens: a second one is made, used, promoted or deleted, and whoever owns the account is told by mail or not.

use super::{Bench, CHILD, Got, PARENT, Pair, account, messages, read};
use rekeyd::sandbox::{Faults, KeyKind};
use reqwest::Method;
use serde_json::{Value, json};

const SECONDARY: &str = "/v1/AuthTokens/Secondary";
const PROMOTE: &str = "/v1/AuthTokens/Promote";

async fn bench() -> Bench {
    Bench::new(Faults::default()).await
}

impl Bench {
    async fn change(&self, method: Method, pair: &Pair, path: &str, form: &[(&str, &str)]) -> Got {
        read(self.request(method, pair, path).form(form)).await
    }

    async fn make_secondary(&self, pair: &Pair) -> Pair {
        let body = self.change(Method::POST, pair, SECONDARY, &[]).await.body();
        Pair(pair.0.clone(), body["secondary_auth_token"].as_str().unwrap().to_owned())
    }

    async fn opens(&self, pair: &Pair) -> bool {
        self.get(pair, &format!("/2010-04-01/Accounts/{}.json", pair.0)).await.status.as_u16() == 200
    }

    fn mails(&self, owner: &str) -> u64 {
        let world = self.sandbox.world().lock();
        let found = world.accounts().find(|found| found.sid == account(owner));
        found.unwrap().mails
    }
}

#[tokio::test]
async fn a_second_token_works_beside_the_first_and_its_promotion_ends_the_first_at_once() {
    let bench = bench().await;
    let old = bench.token(PARENT);
    let made = bench.change(Method::POST, &old, SECONDARY, &[]).await;
    let body = made.body();
    let members: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["account_sid", "date_created", "date_updated", "secondary_auth_token", "url"]);
    assert_eq!((made.status.as_u16(), &body["account_sid"]), (201, &json!(PARENT)));
    assert_eq!(body["date_created"], "2023-11-14T22:13:20Z", "ISO 8601 here");
    assert_eq!(body["url"], format!("{}{SECONDARY}", bench.sandbox.url()));
    let new = Pair(PARENT.into(), body["secondary_auth_token"].as_str().unwrap().into());
    assert!(new.1.len() == 32 && new.1 != old.1 && bench.opens(&old).await && bench.opens(&new).await);
    assert_eq!(bench.change(Method::POST, &new, SECONDARY, &[]).await.refusal(), (400, 70002), "there is one already");
    bench.pass(1_000);
    let promoted = bench.change(Method::POST, &new, PROMOTE, &[]).await;
    let body = promoted.body();
    assert_eq!((promoted.status.as_u16(), &body["auth_token"]), (200, &json!(new.1)));
    assert_eq!(
        (&body["date_created"], &body["date_updated"]),
        (&json!("2023-11-14T22:13:20Z"), &json!("2023-11-14T22:13:21Z"))
    );
    assert!(!bench.opens(&old).await && bench.opens(&new).await);
    assert_eq!(bench.token(PARENT).1, new.1);
    assert_eq!(bench.get(&bench.main, &messages()).await.status.as_u16(), 200, "keys live on");
}

#[tokio::test]
async fn a_second_token_that_is_deleted_opens_nothing_and_the_first_lives_on() {
    let bench = bench().await;
    let old = bench.token(PARENT);
    let new = bench.make_secondary(&old).await;
    let gone = bench.change(Method::DELETE, &new, SECONDARY, &[]).await;
    assert_eq!((gone.status.as_u16(), gone.text.as_str()), (204, ""));
    assert!(bench.opens(&old).await && !bench.opens(&new).await);
    for (method, path) in [(Method::DELETE, SECONDARY), (Method::POST, PROMOTE)] {
        let refused = bench.change(method, &old, path, &[]).await;
        assert_eq!(refused.refusal(), (404, 20404));
        let told = format!("The requested resource {} was not found", path.strip_prefix("/v1").unwrap());
        assert_eq!(refused.body()["message"], told, "without the version, as recorded");
    }
}

#[tokio::test]
async fn everybody_is_told_by_mail_unless_it_is_suppressed() {
    let bench = bench().await;
    let token = bench.token(PARENT);
    for (word, mails) in [("true", 0), ("false", 1)] {
        let told = [("SuppressEmailNotification", word)];
        assert_eq!(bench.change(Method::POST, &token, SECONDARY, &told).await.status.as_u16(), 201);
        assert_eq!(bench.mails(PARENT), mails, "{word}");
        let path = format!("{SECONDARY}?SuppressEmailNotification=true");
        assert_eq!(bench.change(Method::DELETE, &token, &path, &[]).await.status.as_u16(), 204);
        assert_eq!(bench.mails(PARENT), mails, "{word}");
    }
    let odd = [("SuppressEmailNotification", "yes")];
    assert_eq!(bench.change(Method::POST, &token, SECONDARY, &odd).await.refusal(), (400, 70001));
    let new = bench.make_secondary(&token).await;
    assert_eq!(bench.change(Method::POST, &new, PROMOTE, &[]).await.status.as_u16(), 200);
    bench.make_secondary(&new).await;
    assert_eq!(bench.change(Method::DELETE, &new, SECONDARY, &[]).await.status.as_u16(), 204);
    assert_eq!((bench.mails(PARENT), bench.mails(CHILD)), (5, 0));
    let state: Value = bench.get(&token, "/_sandbox/state").await.body();
    assert_eq!(state["accounts"].as_array().unwrap().iter().find(|found| found["sid"] == PARENT).unwrap()["mails"], 5);
}

#[tokio::test]
async fn a_token_is_changed_by_its_own_account_and_by_a_main_key_only_where_the_switch_says_so() {
    for may in [false, true] {
        let bench = Bench::new(Faults { main_key_on_auth_tokens: may, ..Faults::default() }).await;
        let main = bench.change(Method::POST, &bench.main.clone(), SECONDARY, &[]).await;
        assert_eq!(main.status.as_u16(), if may { 201 } else { 401 });
        let standard = bench.by_hand(PARENT, KeyKind::Standard);
        assert_eq!(bench.change(Method::POST, &standard, SECONDARY, &[]).await.refusal(), (401, 20003));
        let child = bench.token(CHILD);
        let new = bench.make_secondary(&child).await;
        assert!(bench.opens(&new).await, "a subaccount with its own token");
        assert!(bench.opens(&bench.token(PARENT)).await);
    }
}

#[tokio::test]
async fn a_promotion_ends_every_key_of_the_account_where_the_switch_says_so() {
    let bench = Bench::new(Faults { promotion_ends_keys: true, ..Faults::default() }).await;
    let childs = bench.by_hand(CHILD, KeyKind::Standard);
    let new = bench.make_secondary(&bench.token(PARENT)).await;
    assert_eq!(bench.get(&bench.main, &messages()).await.status.as_u16(), 200);
    assert_eq!(bench.change(Method::POST, &new, PROMOTE, &[]).await.status.as_u16(), 200);
    assert_eq!(bench.get(&bench.main, &messages()).await.refusal(), (401, 20003));
    let path = format!("/2010-04-01/Accounts/{CHILD}/Messages.json");
    assert_eq!(bench.get(&childs, &path).await.status.as_u16(), 200, "another account");
}

#[tokio::test]
async fn an_account_without_the_api_is_told_404() {
    let bench = Bench::new(Faults { auth_token_api_off: true, ..Faults::default() }).await;
    let token = bench.token(PARENT);
    for (method, path) in [(Method::POST, SECONDARY), (Method::DELETE, SECONDARY), (Method::POST, PROMOTE)] {
        assert_eq!(bench.change(method, &token, path, &[]).await.refusal(), (404, 20404));
    }
    assert_eq!(bench.mails(PARENT), 0);
}

#[tokio::test]
async fn where_signatures_are_enforced_neither_token_is_taken() {
    let bench = bench().await;
    let old = bench.token(PARENT);
    let new = bench.make_secondary(&old).await;
    assert!(bench.sandbox.world().lock().enforce_signatures(&account(PARENT), true));
    for pair in [&old, &new] {
        assert_eq!(bench.change(Method::POST, pair, PROMOTE, &[]).await.refusal(), (401, 70052));
    }
}

//! Each check is seen to fail: by a daemon with a rule of safety switched off (`without:` in `REKEYD_ORDEAL`), or by what a
//! person does behind its back.

use super::clocks::in_grace_the_clock_becomes;
use super::consumer::Caller;
use super::fleets::{CHANGED, settled, until_changed};
use super::ground::{CALM, Ground, HASTY, Keys, Ledger, Store, Terms};
use super::subaccounts::Office;
use crate::support::counted::counted;
use rekeyd::sandbox::{KeyKind, NewKey};
use serde_json::Value;
use std::time::Duration;

/// With a grace that is longer than the daemon needs to notice the end of it.
const LENIENT: Terms = Terms { rotate_every: "8s", grace: Duration::from_secs(4), ..HASTY };

/// What the records tell of a daemon that works so for a while.
async fn told_of(keys: Keys, ordeal: &str, terms: &Terms) -> Vec<String> {
    let ground = Ground::of(Ledger::Sqlite, Store::Vault, keys).await;
    let mut daemon = ground.start(terms, ordeal);
    if ordeal.contains("crash") {
        daemon.until_killed(ordeal).await;
        // The consumer reads what it left behind.
        tokio::time::sleep(Duration::from_millis(500)).await;
    } else {
        daemon.until("two rotations", |daemon| daemon.events("completed") == 2).await;
    }
    ground.faults(terms).await
}

fn expect(faults: &[String], letters: &str) {
    assert!(faults.iter().any(|fault| fault.starts_with(letters)), "{letters} was not noticed: {faults:#?}");
}

async fn each_rule_is_missed(keys: Keys) {
    expect(&told_of(keys, "without:Grace", &LENIENT).await, "S3");
    // Right after the first publication, before what is served there is tried.
    expect(&told_of(keys, "without:VerifyFirst crash:1:after-publish", &HASTY).await, "S4");
    // Right after the first create, which was not written down before.
    expect(&told_of(keys, "without:DecisionFirst crash:1:after-create", &HASTY).await, "S13");
    counted("torture defects", 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_that_is_switched_off_is_noticed() {
    each_rule_is_missed(Keys::Standard).await;
    expect(&in_grace_the_clock_becomes("+3650d", false, "without:Clocks").await, "S3");
    counted("torture defects", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_that_is_switched_off_for_key_pairs_is_noticed() {
    each_rule_is_missed(Keys::Pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_dies_while_it_is_served_is_noticed() {
    let ground = Ground::new(Ledger::Sqlite, Store::Vault).await;
    let mut daemon = ground.start(&CALM, "");
    ground.until_at_rest(&mut daemon).await;
    drop(daemon);
    let served = ground.served().await.unwrap();
    let url = format!("{}/_sandbox/keys/{served}", ground.sandbox.url());
    assert!(reqwest::Client::new().delete(url).send().await.unwrap().status().is_success());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let faults = ground.faults(&CALM).await;
    for letters in ["S1", "S2", "S3"] {
        expect(&faults, letters);
    }
    counted("torture defects", 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_pair_whose_public_half_dies_while_it_is_served_is_noticed() {
    let ground = Ground::of(Ledger::Sqlite, Store::Vault, Keys::Pair).await;
    let mut daemon = ground.start(&CALM, "");
    ground.until_at_rest(&mut daemon).await;
    drop(daemon);
    let (main, secret) = ground.sandbox.main_key();
    let beside = Some((main.to_string(), secret.expose().to_owned()));
    let (url, account) = (ground.sandbox.url(), ground.sandbox.account_sid().clone());
    let person = Caller { url, account, beside, pause: Duration::ZERO };
    let own = ground.foreign.iter().find(|sid| sid.is_public_key()).unwrap();
    let private = std::fs::read_to_string(ground.path("pkcv")).unwrap();
    let path = format!("/v1/Credentials/PublicKeys/{}", ground.served().await.unwrap());
    let delete = person.signed(&reqwest::Client::new(), (own.as_str(), &private), ("DELETE", &path, ""));
    assert!(delete.send().await.unwrap().status().is_success());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let faults = ground.faults(&CALM).await;
    for letters in ["S1", "S3", "S13"] {
        expect(&faults, letters);
    }
    counted("torture defects", 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_keeps_no_order_or_no_grace_is_noticed() {
    let hasty = Terms { waves: "{ canary = 0, hold = \"0s\", batch = 9 }", ..CHANGED };
    let lenient = Terms { grace: Duration::from_secs(4), ..CHANGED };
    for (terms, ordeal, letters) in [(hasty, "", "waves"), (lenient, "without:Grace", "S3")] {
        let ground = settled().await;
        let mut daemon = ground.start(&terms, ordeal);
        until_changed(&ground, &mut daemon).await;
        drop(daemon);
        expect(&ground.faults(&terms).await, letters);
    }
    counted("torture defects", 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subaccount_with_a_key_too_many_or_a_place_that_is_wrong_is_noticed() {
    let office = Office::new(Ledger::Sqlite).await;
    let made = office.create("").await;
    assert!(made.status.success(), "{made:?}");
    let mut held: Vec<Value> = office.held().await.into_iter().flatten().collect();
    assert_eq!((held.len(), office.site.faults(&held)), (2, Vec::new()));
    held[1]["apiKeySecret"] = "another".into();
    assert_eq!(office.site.faults(&held), ["a place holds another apiKeySecret"]);
    let world = office.site.sandbox.world();
    let new = NewKey { account: office.site.child().unwrap(), kind: KeyKind::Standard, name: None, pair: None };
    world.lock().make_by_hand(world.now(), new);
    assert_eq!(office.site.faults(&held), ["2 API keys and 1 public keys live"]);
    counted("torture defects", 2);
}

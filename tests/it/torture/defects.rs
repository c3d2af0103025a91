//! Each check is seen to fail: by a daemon with a rule of safety switched off (`without:` in `REKEYD_ORDEAL`), or by what a
//! person does behind its back.

use super::clocks::in_grace_the_clock_becomes;
use super::ground::{CALM, Ground, HASTY, Ledger, Store, Terms};
use crate::support::counted::counted;
use std::time::Duration;

/// With a grace that is longer than the daemon needs to notice the end of it.
const LENIENT: Terms = Terms { rotate_every: "8s", grace: Duration::from_secs(4), ..HASTY };

/// What the records tell of a daemon that works so for a while.
async fn told_of(ordeal: &str, terms: &Terms) -> Vec<String> {
    let ground = Ground::new(Ledger::Sqlite, Store::Vault).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_that_is_switched_off_is_noticed() {
    expect(&told_of("without:Grace", &LENIENT).await, "S3");
    // Right after the first publication, before what is served there is tried.
    expect(&told_of("without:VerifyFirst crash:12", &HASTY).await, "S4");
    // Right after the first create, which was not written down before.
    expect(&told_of("without:DecisionFirst crash:2", &HASTY).await, "S13");
    expect(&in_grace_the_clock_becomes("+3650d", false, "without:Clocks").await, "S3");
    counted("torture defects", 4);
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

//! `kill -9` in each phase, and again and again: the next start recovers, and no consumer notices.

use super::rig::{Figures, QUICK, Rig, kill9};
use rekeyd::sandbox::call::Operation;
use rekeyd::sandbox::{Fault, Line};
use std::time::Duration;

/// A rotation is brought into a phase and killed there, with a call under way where the phase has one.
async fn killed_in(phase: &str, slow: Option<Operation>) {
    let rig = Rig::new(&["billing-sms", "alerts"], QUICK).await;
    let daemon = rig.start();
    rig.until_settled(1).await;
    let consumers = rig.consumers();
    if let Some(operation) = slow {
        let line = Line { times: 30, ..Line::next(operation, Fault::SlowAnswer { ms: 1500 }) };
        rig.sandbox.world().lock().script.add([line]);
    }
    rig.run(&["rotate", "billing-sms"]);
    rig.run(&["rotate", "alerts"]);
    rig.until(phase, || rig.credential("billing-sms").is_some_and(|line| line["phase"] == phase)).await;
    kill9(daemon);
    let daemon = rig.start();
    rig.until_settled(2).await;
    assert_eq!(rig.agreed().await, rig.live(), "a stray is left, or a key is missing");
    consumers.stop(50);
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_key_is_created() {
    killed_in("issuing", Some(Operation::CreateKey)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_key_is_verified() {
    killed_in("verifying", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_sinks_are_confirmed() {
    killed_in("confirming", Some(Operation::ListNumbers)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_grace() {
    killed_in("grace", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_old_key_is_deleted() {
    killed_in("revoking", Some(Operation::DeleteKey)).await;
}

/// Publishing takes milliseconds, so the moment is looked for in the journal instead of waited for.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_sinks_are_written() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let mut daemon = rig.start();
    rig.until_settled(1).await;
    let consumers = rig.consumers();
    let mut hits = 0;
    for round in 0..40 {
        if hits >= 2 {
            break;
        }
        rig.run(&["rotate", "billing-sms"]);
        let before = events(&rig).len();
        rig.until("a sink is being written", || events(&rig)[before..].iter().any(|event| event == "publishing")).await;
        kill9(daemon);
        let last = events(&rig).pop().unwrap_or_default();
        hits += u32::from(last == "publishing" || last == "written");
        daemon = rig.start();
        rig.until_settled(2 + round).await;
        assert_eq!(rig.agreed().await, rig.live());
    }
    assert!(hits >= 2, "the moment was never hit");
    consumers.stop(50);
    drop(daemon);
}

fn events(rig: &Rig) -> Vec<String> {
    let history = rig.run(&["history", "billing-sms", "--json"]).stdout;
    let lines = String::from_utf8(history).unwrap();
    let event =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].as_str().unwrap().to_owned();
    lines.lines().map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_from_the_very_first_rotation() {
    let figures = Figures { rotate_every: "10s", ..QUICK };
    let rig = Rig::new(&["billing-sms", "alerts", "voice"], figures).await;
    let foreign = rig.foreign("not ours");
    let consumers = rig.consumers();
    // Pauses without a common measure, so that the kills fall everywhere.
    for round in 0..12_u64 {
        let daemon = rig.start();
        tokio::time::sleep(Duration::from_millis(900 + 700 * (round * 7 % 12))).await;
        kill9(daemon);
    }
    // However often keys were replaced meanwhile, the old ones may go now.
    let policy = rig.policy(&QUICK, "").replace("[limits]", "[limits]\naccount_deletes_per_hour = 1000");
    std::fs::write(rig.path("policy.toml"), policy).unwrap();
    let daemon = rig.start();
    rig.until_settled(1).await;
    let mut expected = rig.agreed().await;
    expected.insert(foreign);
    assert_eq!(rig.live(), expected);
    consumers.stop(100);
    drop(daemon);
}

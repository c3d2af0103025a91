//! The main job: policy in, rotated keys on OpenBao, Secrets Manager and a directory at once, metrics out.

use super::rig::{Figures, Process, QUICK, Rig, by_hand, kill9, private, signal};
use crate::support::openbao::{self, Root};
use rekeyd::sandbox::call::Operation;
use rekeyd::sandbox::{Fault, Line};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_on_all_sinks_at_once_and_no_consumer_ever_holds_a_dead_one() {
    let rig = Rig::new(&["billing-sms", "alerts"], QUICK).await;
    let foreign = ["Studio API Key", "rekeyd:test:billing-sms:x"].map(|label| rig.foreign(label));
    let daemon = rig.start();
    rig.until_settled(1).await;
    let first = rig.agreed().await;
    let consumers = rig.consumers();
    for name in ["billing-sms", "alerts"] {
        assert!(rig.run(&["rotate", name]).status.success());
    }
    rig.until_settled(2).await;
    let second = rig.agreed().await;
    assert!(first.is_disjoint(&second));
    consumers.stop(50);
    assert!(rig.judge.judged() > 10, "hardly anything was held against Twilio's documents");
    let expected: BTreeSet<_> = second.iter().chain(&foreign).cloned().collect();
    assert_eq!(rig.live(), expected, "the old keys are gone, the foreign ones are not");
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_status_and_history_tell_what_happened_and_survive_a_restart() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let daemon = rig.start();
    rig.until_settled(1).await;
    rig.run(&["rotate", "billing-sms"]);
    rig.until_settled(2).await;
    let metrics = rig.metrics().await;
    for line in [
        "rekeyd_rotations_total{outcome=\"completed\"} 2",
        "rekeyd_credential_phase{credential=\"billing-sms\",phase=\"serving\"} 1",
        "rekeyd_strays{credential=\"billing-sms\"} 0",
        "rekeyd_calls_total{operation=\"create\",outcome=\"done\",peer=\"twilio\"} 2",
        "rekeyd_calls_total{operation=\"publish\",outcome=\"done\",peer=\"vault\"} 2",
        "rekeyd_calls_total{operation=\"publish\",outcome=\"done\",peer=\"aws\"} 2",
        "rekeyd_stage_duration_seconds_count{phase=\"grace\"}",
        "rekeyd_key_age_seconds{credential=\"billing-sms\"}",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    assert_eq!((rig.probe("/livez").await, rig.probe("/readyz").await), (Some(200), Some(200)));
    let state = |text: &str| {
        let names = ["rekeyd_last_success_timestamp_seconds{", "rekeyd_next_rotation_timestamp_seconds{"];
        let lines = text.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    kill9(daemon);
    let daemon = rig.start();
    rig.until("ready again", || std::net::TcpStream::connect(("127.0.0.1", rig.port)).is_ok()).await;
    let mut after = rig.metrics().await;
    while state(&after).len() < 2 {
        after = rig.metrics().await;
    }
    assert_eq!(state(&after), state(&metrics), "what describes a state is as it was before the restart");
    let history = String::from_utf8(rig.run(&["history", "billing-sms"]).stdout).unwrap();
    for word in ["intended", "created", "verified", "publishing", "written", "published", "condemned", "revoked"] {
        assert!(history.contains(word), "{word}\n{history}");
    }
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_made_key_is_adopted_replaced_and_deleted() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let by_person = rig.foreign("made by hand");
    let more = format!("adopt = \"{by_person}\"");
    std::fs::write(rig.path("policy.toml"), rig.policy(&QUICK, &more)).unwrap();
    let secret = rig.sandbox.world().lock().key(&by_person).unwrap().secret.expose().to_owned();
    let value = by_hand(&by_person, &secret);
    private(&rig.path("secrets").join("billing-sms.json"), &value.to_string());
    let prefix = rig.dir.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_owned();
    let body = serde_json::json!({ "data": value });
    Root::new(openbao::shared()).call("POST", &format!("secret/data/{prefix}/billing-sms"), body).await;
    let consumers = rig.consumers();
    let daemon = rig.start();
    rig.until_settled(1).await;
    assert!(!rig.live().contains(&by_person));
    rig.agreed().await;
    let served = rig.served("billing-sms").await;
    assert_eq!(served["vault"].as_ref().unwrap()["note"], "made by hand", "what people added stays");
    consumers.stop(20);
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_the_call_in_hand_and_leaves_within_ten_seconds() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let daemon = rig.start();
    rig.until_settled(1).await;
    let slow = Line::next(Operation::CreateKey, Fault::SlowAnswer { ms: 3000 });
    rig.sandbox.world().lock().script.add([slow]);
    rig.run(&["rotate", "billing-sms"]);
    rig.until("the create is under way", || rig.live().len() == 2).await;
    let start = Instant::now();
    signal(&daemon, Signal::TERM);
    let status = wait(daemon).await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(start.elapsed() > Duration::from_secs(1), "the call in hand was not waited for");
    assert_eq!((status.code(), status.signal()), (Some(0), None), "{}", rig.log());
    let history = String::from_utf8(rig.run(&["history", "billing-sms"]).stdout).unwrap();
    assert!(history.lines().last().unwrap().contains("created"), "the answer was kept: {history}");
    let daemon = rig.start();
    rig.until_settled(2).await;
    assert_eq!(rig.agreed().await, rig.live());
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_log_that_stands_still_stops_nothing() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let (daemon, reader) = rig.start_unread();
    rig.until_settled(1).await;
    rig.run(&["rotate", "billing-sms"]);
    rig.until_settled(2).await;
    let metrics = rig.metrics().await;
    let lost = metrics.lines().find_map(|line| line.strip_prefix("rekeyd_log_lines_lost "));
    assert!(lost.is_some(), "{metrics}");
    signal(&daemon, Signal::TERM);
    let start = Instant::now();
    assert_eq!(wait(daemon).await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    drop(reader);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_does_not_hold_up_the_end() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let daemon = rig.start();
    rig.until_settled(1).await;
    let stuck = Line::next(Operation::CreateKey, Fault::SlowAnswer { ms: 60_000 });
    rig.sandbox.world().lock().script.add([stuck]);
    rig.run(&["rotate", "billing-sms"]);
    rig.until("the create is under way", || rig.live().len() == 2).await;
    let start = Instant::now();
    signal(&daemon, Signal::INT);
    let status = wait(daemon).await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(status.code(), Some(0));
    let daemon = rig.start();
    rig.until_settled(2).await;
    assert_eq!(rig.agreed().await, rig.live());
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_of_seconds_goes_on_by_itself() {
    let figures = Figures { rotate_every: "8s", ..QUICK };
    let rig = Rig::new(&["billing-sms"], figures).await;
    let consumers = rig.consumers();
    let daemon = rig.start();
    rig.until("three rotations", || {
        rig.credential("billing-sms").is_some_and(|line| line["rotations_completed"].as_u64() >= Some(3))
    })
    .await;
    consumers.stop(100);
    assert!(rig.live().len() <= 2, "{:?}", rig.live());
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_comes_in_well_under_a_second() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let start = Instant::now();
    let daemon = rig.start();
    while rig.probe("/readyz").await != Some(200) {
        assert!(start.elapsed() < Duration::from_secs(30), "{}", rig.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("ready after {:?}", start.elapsed());
    drop(daemon);
}

async fn wait(mut process: Process) -> std::process::ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = process.child.try_wait().unwrap() {
            return status;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

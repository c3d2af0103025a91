//! A wall clock that jumps ten years, or runs twice as fast, in the middle of a grace period (libfaketime under the real
//! binary): the old key lives through its true grace.

use super::ground::{CALM, Ground, Ledger, NAME, Store, Terms};
use super::kills::many;
use crate::support::counted::counted;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Long enough to tell it from no grace at all, on a busy machine too.
const GRACE: Duration = Duration::from_secs(6);

fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.exists()).expect("libfaketime is missing: run tests/run, or tests/peers/install")
}

/// In the grace period of a second rotation the clock becomes this. One that jumped becomes right again after the true
/// grace; one that runs too fast goes on doing so. What is wrong then, by the records.
pub async fn in_grace_the_clock_becomes(clock: &str, monotonic: bool, ordeal: &'static str) -> Vec<String> {
    let terms = Terms { grace: GRACE, lying: true, ..CALM };
    let mut ground = Ground::new(Ledger::Sqlite, Store::Vault).await;
    let file = ground.path("clock");
    fs::write(&file, "+0").unwrap();
    ground.environment = vec![
        ("LD_PRELOAD", library().display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", u8::from(!monotonic).to_string()),
    ];
    let mut daemon = ground.start(&terms, ordeal);
    ground.until_at_rest(&mut daemon).await;
    assert!(ground.run(&["rotate", NAME]).status.success());
    daemon.until("grace", |daemon| daemon.events("published") == 2).await;
    fs::write(&file, clock).unwrap();
    let wall = daemon.lines("timestamp").pop().unwrap()["timestamp"].to_string();
    tokio::time::sleep(GRACE + Duration::from_secs(1)).await;
    let lied = daemon.lines("timestamp").pop().unwrap()["timestamp"].to_string();
    assert!(clock.contains('x') || wall[..5] != lied[..5], "the clock did not change: {wall}, {lied}");
    if !clock.contains('x') {
        fs::write(&file, "+0").unwrap();
    }
    // One that believes a lie need not come to rest any more.
    if ordeal.is_empty() {
        ground.until_at_rest(&mut daemon).await;
    }
    drop(daemon);
    ground.faults(&terms).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_goes_before_its_true_grace_whatever_the_clocks_say() {
    // A monotonic clock does not jump, but it may run too fast.
    let lives = vec![("+3650d", false), ("-3650d", false), ("+0 x2", false), ("+0 x2", true)];
    let lives = many(lives, |(clock, monotonic)| async move {
        let faults = in_grace_the_clock_becomes(clock, monotonic, "").await;
        assert!(faults.is_empty(), "{clock}, monotonic too: {monotonic}: {faults:#?}");
        1
    });
    let lives = lives.await;
    counted("torture runs", lives);
}

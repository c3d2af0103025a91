//! The watch on what is served, by the real binary: what consumers of each sink have, in `/metrics` and in the log.

use super::rig::{QUICK, Rig, private};
use serde_json::json;

const VALID: &str = "rekeyd_served_pair_valid";
const CHECKED: &str = "rekeyd_served_pair_checked_timestamp_seconds";

fn value(metrics: &str, family: &str, sink: &str) -> Option<f64> {
    let start = format!("{family}{{credential=\"billing-sms\",sink=\"{sink}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&start)).map(|value| value.parse().unwrap())
}

/// Waits until the metrics say so of Vault, Secrets Manager and the directory.
async fn until_valid(rig: &Rig, expected: [f64; 3]) -> String {
    let start = std::time::Instant::now();
    loop {
        let metrics = rig.metrics().await;
        if ["vault", "aws", "files"].map(|sink| value(&metrics, VALID, sink)) == expected.map(Some) {
            return metrics;
        }
        assert!(start.elapsed().as_secs() < 60, "{expected:?} expected\n{metrics}\n{}", rig.log());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sink_serves_is_told_in_the_metrics_and_each_change_once_in_the_log() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let policy = rig.policy(&QUICK, "").replace("reconcile = \"5s\"", "reconcile = \"1h\"\nwatch = \"1s\"");
    std::fs::write(rig.path("policy.toml"), policy).unwrap();
    let daemon = rig.start();
    rig.until_settled(1).await;
    let before = until_valid(&rig, [1.0, 1.0, 1.0]).await;

    // The right key with another secret: nothing but a trial can tell.
    let mut pair = rig.served("billing-sms").await["files"].clone().unwrap();
    pair["apiKeySecret"] = json!("wrongSecretCanary0123456789abcde");
    private(&rig.path("secrets").join("billing-sms.json"), &pair.to_string());
    let after = until_valid(&rig, [1.0, 1.0, 0.0]).await;
    for sink in ["vault", "aws", "files"] {
        let (then, now) = (value(&before, CHECKED, sink).unwrap(), value(&after, CHECKED, sink).unwrap());
        assert!(then > 1.7e9 && now >= then, "{sink}: {then} and then {now}");
    }
    let (broken, mended) = ("what consumers read does not work", "what consumers read works again");
    let more = value(&after, CHECKED, "files").unwrap() + 3.0;
    rig.until_told(broken, 1).await;
    while value(&rig.metrics().await, CHECKED, "files").unwrap() < more {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(rig.log().matches(broken).count(), 1, "it is told once");

    rig.run(&["rotate", "billing-sms"]);
    rig.until_settled(2).await;
    until_valid(&rig, [1.0, 1.0, 1.0]).await;
    rig.until_told(mended, 1).await;
    let log = rig.log();
    assert_eq!((log.matches(broken).count(), log.matches(mended).count()), (1, 1));
    assert!(!log.contains("wrongSecretCanary"));
    drop(daemon);
}

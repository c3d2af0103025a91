//! A secret of AWS's type `TwilioApiKey`: taken over from AWS's own rotation, rotated here, and handed back.

use super::rig::{Process, QUICK, Rig, signal};
use crate::support::emulator;
use crate::support::peers::peers;
use aws_sdk_secretsmanager::Client;
use rekeyd::model::key::KeySid;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

fn hand() -> Client {
    Client::new(&emulator::config(&emulator::shared().url(), "GOOD"))
}

impl Rig {
    /// What AWS's managed rotation keeps for such a key (user guide, "Twilio API key").
    fn as_aws_keeps_it(&self, sid: &KeySid) -> Value {
        let account = self.sandbox.account_sid();
        let secret = self.sandbox.world().lock().key(sid).unwrap().secret.expose().to_owned();
        let url = format!("https://api.twilio.com/2010-04-01/Accounts/{account}/Messages.json?PageSize=1");
        json!({ "accountSid": account.as_str(), "apiKeySid": sid.as_str(), "apiKeySecret": secret, "validationUrl": url })
    }

    fn secret_name(&self, name: &str) -> String {
        let folder = self.dir.path().file_name().unwrap().to_str().unwrap();
        format!("{}/{name}", folder.trim_start_matches('.'))
    }

    /// AWS's steps of a rotation, as a program that is not ours.
    fn rotate_as_aws_does(&self, name: &str) {
        let (sid, secret) = self.sandbox.main_key();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/rotation.py");
        let arguments = [&emulator::shared().url(), name, &self.sandbox.url(), sid.as_str(), secret.expose()];
        let python = Command::new(peers().join("venv/bin/python")).arg(script).args(arguments).output().unwrap();
        assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    }
}

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

async fn stopped(mut daemon: Process) {
    signal(&daemon, Signal::TERM);
    tokio::task::spawn_blocking(move || daemon.child.wait().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_awss_own_type_is_taken_over_rotated_twice_and_handed_back() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let old = rig.foreign("aws-sm-api-key-0");
    let (made, name) = (rig.as_aws_keeps_it(&old), rig.secret_name("billing-sms"));
    rig.write("billing-sms", &made).await;
    let on = hand().rotate_secret().secret_id(&name).rotate_immediately(false);
    on.send().await.unwrap();
    let policy = rig.policy(&QUICK, &format!("adopt = \"{old}\""));
    std::fs::write(rig.path("policy.toml"), policy).unwrap();

    // Two rotators: nothing is made and nothing is written, and what ends that is told.
    let checked = rig.run(&["check", "--online"]);
    let told = String::from_utf8(checked.stderr).unwrap();
    assert_eq!(checked.status.code(), Some(6), "{told}");
    assert!(told.contains("aws secretsmanager cancel-rotate-secret --secret-id"), "{told}");
    let daemon = rig.start();
    rig.until_told("AWS rotates this secret itself", 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.live(), BTreeSet::from([old.clone()]));
    assert_eq!(rig.served("billing-sms").await["aws"].as_ref(), Some(&made));
    hand().cancel_rotate_secret().secret_id(&name).send().await.unwrap();

    rig.until_settled(1).await;
    assert_eq!(rig.run(&["rotate", "billing-sms"]).status.code(), Some(0));
    rig.until_settled(2).await;
    stopped(daemon).await;
    let served = rig.served("billing-sms").await["aws"].clone().unwrap();
    assert_eq!(
        members(&served),
        BTreeSet::from(["accountSid", "apiKeySid", "apiKeySecret", "rekeyd", "validationUrl"])
    );
    assert_eq!(served["validationUrl"], made["validationUrl"]);
    assert!(!rig.live().contains(&old) && rig.live().len() == 1);
    let labels = hand().describe_secret().secret_id(&name).send().await.unwrap().version_ids_to_stages.unwrap();
    let mut labels: Vec<_> = labels.into_values().flatten().collect();
    labels.sort();
    assert_eq!(labels, ["AWSCURRENT", "AWSPREVIOUS"]);

    // Handed back, as config/policy.example.toml tells it.
    let mut back = served.clone();
    back.as_object_mut().unwrap().remove("rekeyd");
    assert_eq!(members(&back), members(&made));
    hand().put_secret_value().secret_id(&name).secret_string(back.to_string()).send().await.unwrap();
    rig.rotate_as_aws_does(&name);
    let rotated = rig.served("billing-sms").await["aws"].clone().unwrap();
    assert_eq!(members(&rotated), members(&made));
    assert_ne!(rotated["apiKeySid"], served["apiKeySid"]);
    let live: BTreeSet<_> = rig.live().iter().map(ToString::to_string).collect();
    assert_eq!(live, BTreeSet::from([rotated["apiKeySid"].as_str().unwrap().to_owned()]));
}

//! Main keys that lie in the store of a sink, and not in a file.

use super::rig::{Process, QUICK, Rig, signal};
use crate::support::proxy::{Fate, Proxy};
use crate::support::{emulator, openbao};
use openbao::Root;
use rekeyd::model::key::KeySid;
use rekeyd::sandbox::{KeyKind, NewKey};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The end of the path; the proxy knows requests by it.
const NAME: &str = "stored-main-key";

impl Rig {
    fn place_of_main_key(&self) -> String {
        format!("{}/{NAME}", self.dir.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.'))
    }

    /// The policy, with the Main key at a place of this sink.
    fn with_stored(&self, sink: &str, key: &str) -> String {
        let sid = self.sandbox.main_key().0;
        let file = self.path("main_key").display().to_string();
        let own = format!("main_key_sid = \"{sid}\"\nmain_key_secret_file = \"{file}\"\n");
        let policy = self.policy(&QUICK, "");
        assert!(policy.contains(&own), "{policy}");
        let place = self.place_of_main_key();
        policy.replace(&own, &format!("main_key_at = {{ sink = \"{sink}\", {key} = \"{place}\" }}\n"))
    }

    fn admin(&self, sid: &KeySid, secret: &str) -> Value {
        json!({ "accountSid": self.sandbox.account_sid().as_str(), "adminKeySid": sid.as_str(), "adminKeySecret": secret })
    }

    /// The Main key of the sandbox, as the store keeps it.
    fn present(&self) -> Value {
        let (sid, secret) = self.sandbox.main_key();
        self.admin(&sid, secret.expose())
    }

    fn next_main_key(&self) -> (KeySid, Value) {
        let (now, account) = (self.sandbox.world().now(), self.sandbox.account_sid().clone());
        let mut world = self.sandbox.world().lock();
        let sid = world.make_by_hand(now, NewKey { account, kind: KeyKind::Main, name: None, pair: None });
        let secret = world.key(&sid).unwrap().secret.expose().to_owned();
        drop(world);
        let admin = self.admin(&sid, &secret);
        (sid, admin)
    }

    async fn put_into_vault(&self, value: &Value) {
        let path = format!("secret/data/{}", self.place_of_main_key());
        Root::new(openbao::shared()).call("POST", &path, json!({ "data": value })).await;
    }

    async fn put_into_aws(&self, value: &Value) {
        let client = aws_sdk_secretsmanager::Client::new(&emulator::config(&emulator::shared().url(), "GOOD"));
        let (name, text) = (self.place_of_main_key(), value.to_string());
        let put = client.put_secret_value().secret_id(&name).secret_string(&text).send().await;
        if put.is_err() {
            client.create_secret().name(&name).secret_string(&text).send().await.unwrap();
        }
    }

    /// The old Main key is deleted, and the daemon goes on with the one that it has found.
    async fn goes_on_with(&self, sid: &KeySid, mut daemon: Process) {
        self.until_told("rekeyd has started", 2).await;
        let (now, old) = (self.sandbox.world().now(), self.sandbox.main_key().0);
        assert!(self.sandbox.world().lock().delete_by_hand(now, &old));
        self.run(&["rotate", "billing-sms"]);
        self.until_settled(2).await;
        assert!(daemon.child.try_wait().unwrap().is_none(), "it is the same process");
        let world = self.sandbox.world().lock();
        assert!(world.keys().any(|key| key.made_by == sid.as_str()), "the new one was never used");
    }

    /// The policy with another door to the same OpenBao, in which nothing but the Main key lies.
    fn behind(&self, proxy: &Proxy) -> String {
        let token = self.path("token").display().to_string();
        let auth = format!("{{ method = \"token\", token_file = \"{token}\" }}");
        let sink = format!(
            "[sinks.store]\nkind = \"vault\"\naddress = \"{}\"\nmount = \"secret\"\nauth = {auth}\n",
            proxy.url
        );
        self.with_stored("store", "path").replace("[sinks.vault]\n", &format!("{sink}\n[sinks.vault]\n"))
    }
}

fn vaults_port() -> u16 {
    openbao::shared().port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_main_key_in_vault_is_read_there_and_followed() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    rig.put_into_vault(&rig.present()).await;
    std::fs::write(rig.path("policy.toml"), rig.with_stored("vault", "path")).unwrap();
    assert_eq!(rig.run(&["check", "--online"]).status.code(), Some(0));
    let daemon = rig.start();
    rig.until_settled(1).await;
    let (sid, next) = rig.next_main_key();
    super::rig::private(&rig.path("next.json"), &next.to_string());
    let switched = rig.run(&["main-key", "switch", rig.path("next.json").to_str().unwrap()]);
    let said = String::from_utf8(switched.stdout).unwrap();
    assert_eq!(switched.status.code(), Some(5), "{said}");
    assert!(said.contains(&format!("vault kv put -mount=secret {}", rig.place_of_main_key())), "{said}");
    rig.put_into_vault(&next).await;
    rig.goes_on_with(&sid, daemon).await;
    assert!(!rig.log().contains(next["adminKeySecret"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_main_key_in_secrets_manager_is_read_there_and_followed() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    rig.put_into_aws(&rig.present()).await;
    std::fs::write(rig.path("policy.toml"), rig.with_stored("aws", "name")).unwrap();
    let daemon = rig.start();
    rig.until_settled(1).await;
    let (sid, next) = rig.next_main_key();
    rig.put_into_aws(&next).await;
    rig.goes_on_with(&sid, daemon).await;
    assert!(!rig.log().contains(next["adminKeySecret"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_answer_is_waited_for_at_the_start() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    rig.put_into_vault(&rig.present()).await;
    let proxy = Proxy::for_the_first(3, vaults_port(), NAME, Fate::Lost).await;
    std::fs::write(rig.path("policy.toml"), rig.behind(&proxy)).unwrap();
    let checked = rig.run(&["check", "--online"]);
    assert_eq!(checked.status.code(), Some(6), "{checked:?}");
    let _daemon = rig.start();
    rig.until_told("it can not begin yet: the Main key at store:", 1).await;
    rig.until_settled(1).await;
    assert_eq!(proxy.chosen(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_gone_later_changes_nothing() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    rig.put_into_vault(&rig.present()).await;
    let proxy = Proxy::start(vaults_port(), "no such text", Fate::Lost).await;
    std::fs::write(rig.path("policy.toml"), rig.behind(&proxy)).unwrap();
    let daemon = rig.start();
    rig.until_settled(1).await;
    drop(proxy);
    rig.until_told("whether the Main key there was replaced can not be told", 1).await;
    signal(&daemon, Signal::HUP);
    rig.until_told("going on with what was read before: the Main key at store:", 1).await;
    rig.run(&["rotate", "billing-sms"]);
    rig.until_settled(2).await;
    assert_eq!(rig.log().matches("rekeyd has started").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_holds_no_main_key_is_told_and_nothing_begins() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    std::fs::write(rig.path("policy.toml"), rig.with_stored("vault", "path")).unwrap();
    let refused = |words: &str| {
        let ended = rig.run(&["run"]);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.code() == Some(1) && said.contains(words), "{words}: {said}");
        assert!(!said.contains("Canary"), "{said}");
    };
    refused(&format!("nothing lies at vault:{}", rig.place_of_main_key()));
    rig.put_into_vault(&json!({ "adminKeySecret": "Canary0123456789" })).await;
    refused("does not say what manages the keys");
    let mut other = rig.present();
    other["accountSid"] = json!("AC00000000000000000000000000000009");
    rig.put_into_vault(&other).await;
    refused("it is of another account than the policy names");
    assert!(!rig.path("journal.db").exists(), "it made a journal");
}

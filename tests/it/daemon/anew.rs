//! The policy read again, and what manages the keys replaced, while the daemon works.

use super::rig::{Process, QUICK, Rig, private, signal};
use rekeyd::model::key::KeySid;
use rekeyd::sandbox::call::Operation;
use rekeyd::sandbox::{Fault, KeyKind, Line, NewKey};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

impl Rig {
    /// A daemon that serves one credential and has its Main key from such a file.
    pub(super) async fn with_admin() -> (Self, Process) {
        let rig = Self::new(&["billing-sms"], QUICK).await;
        std::fs::write(rig.path("policy.toml"), rig.with_admin_file()).unwrap();
        let daemon = rig.start();
        rig.until_settled(1).await;
        (rig, daemon)
    }

    /// The same, with the Main key in a file as AWS writes it.
    pub(super) fn with_admin_file(&self) -> String {
        let (sid, secret) = self.sandbox.main_key();
        self.write_admin(&sid, secret.expose());
        let policy = self.policy(&QUICK, "");
        let dir = self.path("main_key").display().to_string();
        let own = format!("main_key_sid = \"{sid}\"\nmain_key_secret_file = \"{dir}\"\n");
        assert!(policy.contains(&own), "{policy}");
        policy.replace(&own, &format!("main_key_file = \"{}\"\n", self.path("admin.json").display()))
    }

    /// Replaced as a whole, as every program that writes secrets does.
    fn write_admin(&self, sid: &KeySid, secret: &str) {
        let account = self.sandbox.account_sid();
        let text = format!(r#"{{"accountSid":"{account}","adminKeySid":"{sid}","adminKeySecret":"{secret}"}}"#);
        private(&self.path("admin.new"), &text);
        std::fs::rename(self.path("admin.new"), self.path("admin.json")).unwrap();
    }

    /// Another Main key, made by hand.
    fn another_main_key(&self) -> (KeySid, String) {
        let (now, account) = (self.sandbox.world().now(), self.sandbox.account_sid().clone());
        let mut world = self.sandbox.world().lock();
        let sid = world.make_by_hand(now, NewKey { account, kind: KeyKind::Main, name: None, pair: None });
        let secret = world.key(&sid).unwrap().secret.expose().to_owned();
        (sid, secret)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_main_key_that_is_replaced_in_its_file_is_taken_up_and_the_old_one_can_go() {
    let (rig, mut daemon) = Rig::with_admin().await;
    let (sid, secret) = rig.another_main_key();
    rig.write_admin(&sid, &secret);
    rig.until_told("rekeyd has started", 2).await;
    let (now, old) = (rig.sandbox.world().now(), rig.sandbox.main_key().0);
    assert!(rig.sandbox.world().lock().delete_by_hand(now, &old));
    rig.run(&["rotate", "billing-sms"]);
    rig.until_settled(2).await;
    assert!(daemon.child.try_wait().unwrap().is_none(), "it is the same process");
    let world = rig.sandbox.world().lock();
    let made_by: Vec<_> = world.keys().filter(|key| key.made_by != "console").map(|key| key.made_by.clone()).collect();
    assert_eq!(BTreeSet::from_iter(made_by), BTreeSet::from([old.to_string(), sid.to_string()]));
    assert!(world.key(&sid).unwrap().deleted.is_none());
    drop(world);
    assert!(!rig.log().contains(&secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_main_key_file_that_says_nothing_usable_changes_nothing() {
    let (rig, _daemon) = Rig::with_admin().await;
    private(&rig.path("admin.new"), "{\"accountSid\": \"Canary0123456789");
    std::fs::rename(rig.path("admin.new"), rig.path("admin.json")).unwrap();
    rig.until_told("going on with what was read before", 1).await;
    rig.run(&["rotate", "billing-sms"]);
    rig.until_settled(2).await;
    assert!(!rig.log().contains("Canary0123456789"));
    assert_eq!(rig.log().matches("rekeyd has started").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_has_the_policy_read_again_and_a_wrong_one_is_told_and_left() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let policy = std::fs::read_to_string(rig.path("policy.toml")).unwrap();
    let daemon = rig.start();
    rig.until_settled(1).await;
    std::fs::write(rig.path("policy.toml"), policy.replace("grace", "graec")).unwrap();
    signal(&daemon, Signal::HUP);
    rig.until_told("going on with what was read before", 1).await;
    let second = policy[policy.find("[[credentials]]").unwrap()..].replace("billing-sms", "alerts");
    std::fs::write(rig.path("policy.toml"), format!("{policy}\n{second}")).unwrap();
    signal(&daemon, Signal::HUP);
    rig.until("the second credential is served", || {
        rig.credential("alerts").is_some_and(|line| line["phase"] == "serving")
    })
    .await;
    assert_eq!(rig.log().matches("rekeyd has started").count(), 2);
    assert_eq!(rig.live().len(), 2, "nothing was made twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_whose_secret_is_in_memory_only_is_not_lost_when_the_policy_is_read_again() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    rig.sandbox.world().lock().faults.key_delay_ms = 3_000;
    let daemon = rig.start();
    rig.until("a key is being verified", || {
        rig.credential("billing-sms").is_some_and(|line| line["phase"] == "verifying")
    })
    .await;
    signal(&daemon, Signal::HUP);
    rig.until_told("rekeyd has started", 2).await;
    rig.until_settled(1).await;
    let history = String::from_utf8(rig.run(&["history", "billing-sms"]).stdout).unwrap();
    assert!(!history.contains("abandoned"), "{history}");
    assert_eq!(rig.live().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_file_that_others_could_read_is_taken_up_once_that_is_mended() {
    let (rig, _daemon) = Rig::with_admin().await;
    let (sid, secret) = rig.another_main_key();
    let mode = |mode| std::fs::set_permissions(rig.path("admin.json"), std::fs::Permissions::from_mode(mode)).unwrap();
    rig.write_admin(&sid, &secret);
    mode(0o644);
    rig.until_told("chmod 0400", 1).await;
    mode(0o400);
    rig.until_told("rekeyd has started", 2).await;
    assert_eq!(rig.log().matches("going on with what was read before").count(), 1, "told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_told_and_left() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let policy = std::fs::read_to_string(rig.path("policy.toml")).unwrap();
    let daemon = rig.start();
    rig.until_settled(1).await;
    let other = [("instance = \"test\"", "instance = \"other\""), ("/journal.db\"", "/other.db\"")];
    for (times, (now, then)) in other.into_iter().enumerate() {
        std::fs::write(rig.path("policy.toml"), policy.replace(now, then)).unwrap();
        signal(&daemon, Signal::HUP);
        rig.until_told("which needs a restart", times + 1).await;
    }
    std::fs::write(rig.path("policy.toml"), &policy).unwrap();
    rig.run(&["rotate", "billing-sms"]);
    rig.until_settled(2).await;
    assert_eq!(rig.log().matches("rekeyd has started").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_hangs_does_not_stand_in_the_way_of_beginning_anew() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let daemon = rig.start();
    rig.until_settled(1).await;
    let hang = Fault::SlowStart { ms: 25_000 };
    rig.sandbox.world().lock().script.add([Line { times: 1, ..Line::next(Operation::ListKeys, hang) }]);
    rig.until("a sweep hangs", || rig.sandbox.world().lock().script.lines().next().is_none()).await;
    signal(&daemon, Signal::HUP);
    rig.until_told("rekeyd has started", 2).await;
    rig.run(&["rotate", "billing-sms"]);
    rig.until_settled(2).await;
}

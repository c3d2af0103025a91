//! The Main key grows old, and is replaced: its age as a metric, and the walk through the swap.

use super::rig::{QUICK, Rig, private, signal};
use rekeyd::metrics::signs_in_with;
use rekeyd::model::home::Home;
use rekeyd::model::key::{AccountSid, KeySid};
use rekeyd::sandbox::call::Operation;
use rekeyd::sandbox::{Faults, Form, KeyKind, Latency, NewKey, Reach};
use rustix::process::Signal;
use serde_json::Value;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

const CREATED: &str = "rekeyd_main_key_created_timestamp_seconds{";

impl Rig {
    /// A key of that kind, made by hand.
    fn made(&self, kind: KeyKind, account: &AccountSid) -> (KeySid, String) {
        let now = self.sandbox.world().now();
        let new = NewKey { account: account.clone(), kind, name: Some("the next one".to_owned()), pair: None };
        let mut world = self.sandbox.world().lock();
        let sid = world.make_by_hand(now, new);
        let secret = world.key(&sid).unwrap().secret.expose().to_owned();
        (sid, secret)
    }

    /// A file that says which key it holds.
    fn candidate(&self, account: &AccountSid, (sid, secret): &(KeySid, String)) -> PathBuf {
        let path = self.path("candidate.json");
        let text = format!(r#"{{"accountSid":"{account}","adminKeySid":"{sid}","adminKeySecret":"{secret}"}}"#);
        private(&path, &text);
        path
    }

    /// A step of `main-key`: its exit code, and all that it said.
    fn step(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(&[&["main-key"], args].concat());
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    /// The same with a file, for the account of the policy.
    fn try_out(&self, step: &str, file: &Path, more: &[&str]) -> (i32, String) {
        self.step(&[&[step, file.to_str().unwrap()], more].concat())
    }

    /// The lines of a metric, once there is one.
    async fn series(&self, start: &str) -> Vec<String> {
        for _ in 0..600 {
            let metrics = self.metrics().await;
            let lines: Vec<_> = metrics.lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect();
            if !lines.is_empty() {
                return lines;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("no metric {start}\n{}", self.log());
    }

    fn created(&self, sid: &KeySid) -> i64 {
        self.sandbox.world().lock().key(sid).unwrap().created.as_second()
    }

    fn calls(&self, operation: Operation) -> usize {
        self.sandbox.world().lock().audit().entries().filter(|entry| entry.operation == operation).count()
    }
}

fn value(series: &[String]) -> i64 {
    let [line] = series else { panic!("{series:?}") };
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_age_of_the_main_key_is_told_by_the_list_that_is_made_anyway() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let _daemon = rig.start();
    rig.until_settled(1).await;
    let main = rig.sandbox.main_key().0;
    assert_eq!(value(&rig.series(CREATED).await), rig.created(&main));
    assert!(signs_in_with(&rig.metrics().await, &Home::us1(rig.sandbox.account_sid().clone()), &main));
    assert_eq!(rig.calls(Operation::FetchKey), 0, "nobody had to ask");
    assert!(!rig.metrics().await.contains(main.as_str()), "its SID is nobody's business");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_main_key_that_twilio_does_not_show_has_no_age_and_that_is_told_once() {
    let faults = Faults { hide_main_keys: true, latency_ms: Latency::Fixed(2), ..Faults::default() };
    let rig = Rig::with_faults(&["billing-sms"], QUICK, faults).await;
    let _daemon = rig.start();
    rig.until_settled(1).await;
    let before = rig.calls(Operation::ListKeys);
    rig.until("three more sweeps", || rig.calls(Operation::ListKeys) >= before + 3).await;
    assert_eq!(rig.log().matches("Twilio does not tell how old the Main key is").count(), 1);
    assert_eq!(rig.calls(Operation::FetchKey), 1, "it is asked for once");
    let metrics = rig.metrics().await;
    assert!(!metrics.contains(CREATED), "{metrics}");
    assert!(signs_in_with(&metrics, &Home::us1(rig.sandbox.account_sid().clone()), &rig.sandbox.main_key().0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_key_of_an_account_that_nobody_sweeps_is_asked_for_by_its_sid() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let (now, parent) = (rig.sandbox.world().now(), rig.sandbox.account_sid().clone());
    let child = rig.sandbox.world().lock().open_account(now, None, Some(parent));
    std::fs::write(rig.path("policy.toml"), rig.policy(&QUICK, &format!("account_sid = \"{child}\"\n"))).unwrap();
    let _daemon = rig.start();
    rig.until_settled(1).await;
    assert_eq!(value(&rig.series(CREATED).await), rig.created(&rig.sandbox.main_key().0));
    assert_eq!(rig.calls(Operation::FetchKey), 1, "it is asked for once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_walk_from_an_old_main_key_to_a_new_one() {
    let (rig, mut daemon) = Rig::with_admin().await;
    let (old, account) = (rig.sandbox.main_key().0, rig.sandbox.account_sid().clone());
    std::fs::set_permissions(rig.path("admin.json"), std::fs::Permissions::from_mode(0o400)).unwrap();
    let new = rig.made(KeyKind::Main, &account);
    let file = rig.candidate(&account, &new);

    let (code, proven) = rig.try_out("prove", &file, &[]);
    assert!(code == 0 && proven.contains("can take the place of the Main key"), "{proven}");
    assert!(proven.contains("(the next one, made 20") && proven.contains("next: rekeyd main-key switch"), "{proven}");
    let (code, early) = rig.step(&["verify", old.as_str()]);
    assert!(code == 5 && early.contains("`rekeyd main-key switch` comes first"), "{early}");

    let (code, switched) = rig.try_out("switch", &file, &[]);
    assert_eq!(code, 0, "{switched}");
    assert!(switched.contains(&format!("1. delete {old} (Main key, made 20")), "{switched}");
    assert!(switched.contains(&format!("2. rekeyd main-key verify {old}")), "{switched}");
    let facts = std::fs::metadata(rig.path("admin.json")).unwrap();
    assert_eq!(facts.mode() & 0o777, 0o400);
    let (code, again) = rig.try_out("switch", &file, &[]);
    assert!(code == 0 && again.contains("already; nothing was changed"), "{again}");

    rig.until_told("rekeyd has started", 2).await;
    rig.until_settled(1).await;
    assert_eq!(value(&rig.series(CREATED).await), rig.created(&new.0));
    let (code, alive) = rig.step(&["verify", old.as_str()]);
    assert!(code == 5 && alive.contains("still exists: delete it in Twilio's Console"), "{alive}");
    assert!(alive.contains("does not sign in with"), "{alive}");
    let now = rig.sandbox.world().now();
    assert!(rig.sandbox.world().lock().delete_by_hand(now, &old));
    let (code, gone) = rig.step(&["verify", old.as_str()]);
    assert!(code == 0 && gone.contains(&format!("{old} is gone")), "{gone}");
    let (code, status) = rig.step(&["status"]);
    assert!(code == 0 && status.contains(new.0.as_str()) && status.contains("the next one"), "{status}");
    let (_, json) = rig.step(&["status", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["daemon_uses_it"], Value::Bool(true), "{json}");

    assert!(daemon.child.try_wait().unwrap().is_none(), "it is the same process");
    for said in [proven, early, switched, again, alive, gone, status, rig.log()] {
        assert!(!said.contains(&new.1), "the secret is told");
    }
    assert_eq!(rig.calls(Operation::DeleteKey), 0, "no program deletes a Main key");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_what_can_not_be_read_says_only_what_the_policy_says() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let (own, key) = (rig.policy(&QUICK, ""), rig.sandbox.main_key().0);
    let (sid, file) = (format!("main_key_sid = \"{key}\"\n"), "main_key_secret_file");
    assert!(own.contains(&sid) && own.contains(file), "{own}");
    std::fs::remove_file(rig.path("main_key")).unwrap();
    for (policy, shown) in [
        (own.clone(), key.as_str()),
        (own.replace(&sid, "").replace(file, "main_key_file"), "-"),
        (own.replace(&sid, "").replace(file, "auth_token_file"), "an auth token"),
    ] {
        std::fs::write(rig.path("policy.toml"), policy).unwrap();
        let (code, said) = rig.step(&["status"]);
        assert!(code == 6 && said.contains("can not be read"), "{code} {said}");
        let row: Vec<_> = said.lines().nth(1).unwrap().split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
        assert_eq!(row[2], shown, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_will_not_do_is_told_from_another_and_changes_nothing() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    std::fs::write(rig.path("policy.toml"), rig.with_admin_file()).unwrap();
    let before = std::fs::read_to_string(rig.path("admin.json")).unwrap();
    let (now, own) = (rig.sandbox.world().now(), rig.sandbox.account_sid().clone());
    let stranger = rig.sandbox.world().lock().open_account(now, None, None);
    let (sid, secret) = rig.sandbox.main_key();
    let foreign = rig.made(KeyKind::Main, &stranger);
    let wrong = (rig.made(KeyKind::Main, &own).0, "Canary".repeat(5));
    let cases = [
        (&own, rig.made(KeyKind::Standard, &own), "works in AC", 1),
        (&own, foreign.clone(), "is a key of another account", 1),
        (&stranger, foreign, "it is of another account than the policy names", 1),
        (&own, wrong, "its secret is wrong", 1),
        (&own, (sid, secret.expose().to_owned()), "names already", 1),
    ];
    for (account, pair, words, expected) in cases {
        let file = rig.candidate(account, &pair);
        let (code, said) = rig.try_out("prove", &file, &[]);
        assert!(code == expected && said.contains(words), "{words}: {code} {said}");
        assert!(!said.contains(&pair.1), "{words}: the secret is told");
        rig.try_out("switch", &file, &[]);
        assert_eq!(std::fs::read_to_string(rig.path("admin.json")).unwrap(), before, "{words}");
    }
    let token = format!(r#"{{"accountSid":"{own}","authToken":"Canary0123456789"}}"#);
    for (text, words) in [
        ("{\"accountSid\": \"Canary0123456789", "does not say what manages the keys"),
        ("Canary0123456789", "does not say what manages the keys"),
        (&token, "holds an auth token"),
        ("", "is empty"),
    ] {
        private(&rig.path("candidate.json"), text);
        for step in ["prove", "switch"] {
            let (code, said) = rig.try_out(step, &rig.path("candidate.json"), &[]);
            assert!(code == 1 && said.contains(words) && !said.contains("Canary"), "{words}: {code} {said}");
        }
    }
    std::fs::set_permissions(rig.path("candidate.json"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(rig.try_out("prove", &rig.path("candidate.json"), &[]).1.contains("chmod 0400"));
    assert_eq!(std::fs::read_to_string(rig.path("admin.json")).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_a_new_key_does_not_reach_keeps_it_from_being_put_in_place() {
    let faults = Faults { parent_main_key_on_subaccount: Reach::AccountsOnly, ..Faults::default() };
    let rig = Rig::with_faults(&["billing-sms"], QUICK, faults).await;
    let (now, parent) = (rig.sandbox.world().now(), rig.sandbox.account_sid().clone());
    let child = rig.sandbox.world().lock().open_account(now, None, Some(parent.clone()));
    let text = rig.with_admin_file();
    let before = std::fs::read_to_string(rig.path("admin.json")).unwrap();
    let name = "name = \"billing-sms\"\n";
    std::fs::write(rig.path("policy.toml"), text.replace(name, &format!("{name}account_sid = \"{child}\"\n"))).unwrap();
    let file = rig.candidate(&parent, &rig.made(KeyKind::Main, &parent));
    let (code, said) = rig.try_out("switch", &file, &[]);
    assert!(code == 1 && said.contains(&format!("does not list the keys of {child}")), "{code} {said}");
    assert_eq!(std::fs::read_to_string(rig.path("admin.json")).unwrap(), before);

    // With a Main key of its own in the subaccount, each is replaced for itself.
    let its_own = rig.made(KeyKind::Main, &child);
    let path = rig.path("child.json");
    private(&path, &std::fs::read_to_string(rig.candidate(&child, &its_own)).unwrap());
    let own = format!("\n[accounts.\"{child}\"]\nmain_key_file = \"{}\"\n", path.display());
    let text = std::fs::read_to_string(rig.path("policy.toml")).unwrap() + &own;
    std::fs::write(rig.path("policy.toml"), text).unwrap();
    let next = rig.made(KeyKind::Main, &child);
    let (code, said) = rig.try_out("switch", &rig.candidate(&child, &next), &["--account", child.as_str()]);
    assert!(code == 0 && said.contains(&format!("verify {} --account {child}", its_own.0)), "{code} {said}");
    assert!(std::fs::read_to_string(&path).unwrap().contains(next.0.as_str()));
    assert_eq!(std::fs::read_to_string(rig.path("admin.json")).unwrap(), before, "the other is untouched");
    let (_, json) = rig.step(&["status", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json[0]["serves"].as_u64(), json[1]["serves"].as_u64()), (Some(1), Some(1)), "{json}");
    let (code, said) = rig.step(&["verify", next.0.as_str(), "--account", "AC00000000000000000000000000000009"]);
    assert!(code == 1 && said.contains("the policy says nothing of"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_and_its_secret_in_two_places_are_left_to_the_operator_with_the_order_of_steps() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let (old, account) = (rig.sandbox.main_key().0, rig.sandbox.account_sid().clone());
    let new = rig.made(KeyKind::Main, &account);
    let policy = std::fs::read_to_string(rig.path("policy.toml")).unwrap();
    let secret = rig.path("new_secret");
    private(&secret, &new.1);
    let (code, said) = rig.try_out("switch", &secret, &["--sid", new.0.as_str()]);
    assert_eq!(code, 5, "{said}");
    let sid = format!("main_key_sid = \"{}\"", new.0);
    for words in
        ["1. put the new secret", &sid, "3. rekeyd check --online", &format!("5. delete {old}"), "nothing was changed"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(std::fs::read_to_string(rig.path("policy.toml")).unwrap(), policy);
    assert_eq!(std::fs::read_to_string(rig.path("main_key")).unwrap(), rig.sandbox.main_key().1.expose());

    // Those steps lead there, and a daemon that has not taken them yet is not left behind unseen.
    let daemon = rig.start();
    rig.until_settled(1).await;
    let named = format!("main_key_secret_file = \"{}\"", rig.path("main_key").display());
    let next = policy.replace(old.as_str(), new.0.as_str());
    assert!(next.contains(&named), "{next}");
    std::fs::write(rig.path("policy.toml"), next.replace(&named, &named.replace("main_key\"", "new_secret\"")))
        .unwrap();
    assert_eq!(rig.run(&["check", "--online"]).status.code(), Some(0));
    let (code, said) = rig.step(&["verify", old.as_str()]);
    assert!(code == 5 && said.contains("still signs in with") && said.contains("do not delete it yet"), "{said}");
    signal(&daemon, Signal::HUP);
    rig.until_told("rekeyd has started", 2).await;
    let (code, said) = rig.step(&["verify", old.as_str()]);
    assert!(code == 5 && said.contains("still exists"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_alone_takes_the_form_of_the_file_that_it_is_put_into() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    std::fs::write(rig.path("policy.toml"), rig.with_admin_file()).unwrap();
    let new = rig.made(KeyKind::Main, rig.sandbox.account_sid());
    private(&rig.path("new_secret"), &format!("{}\n", new.1));
    let (code, said) = rig.try_out("switch", &rig.path("new_secret"), &["--sid", new.0.as_str()]);
    assert_eq!(code, 0, "{said}");
    let written: Value = serde_json::from_slice(&std::fs::read(rig.path("admin.json")).unwrap()).unwrap();
    assert_eq!(
        (written["adminKeySid"].as_str(), written["adminKeySecret"].as_str()),
        (Some(new.0.as_str()), Some(&*new.1))
    );
    assert_eq!(rig.run(&["check", "--online"]).status.code(), Some(0));
    private(&rig.path("new_secret"), "two words");
    let (code, said) = rig.try_out("prove", &rig.path("new_secret"), &["--sid", new.0.as_str()]);
    assert!(code == 1 && !said.contains("two words"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_not_replaced_and_silence_about_main_keys_is_no_proof() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    std::fs::write(rig.path("policy.toml"), rig.with_admin_file()).unwrap();
    let account = rig.sandbox.account_sid().clone();
    let old = rig.made(KeyKind::Main, &account).0;
    std::fs::rename(rig.path("admin.json"), rig.path("real.json")).unwrap();
    std::os::unix::fs::symlink(rig.path("real.json"), rig.path("admin.json")).unwrap();
    let before = std::fs::read_to_string(rig.path("real.json")).unwrap();
    let file = rig.candidate(&account, &rig.made(KeyKind::Main, &account));
    let (code, said) = rig.try_out("switch", &file, &[]);
    assert!(code == 1 && said.contains("what made it has to replace it"), "{said}");
    assert_eq!(std::fs::read_to_string(rig.path("real.json")).unwrap(), before);

    let now = rig.sandbox.world().now();
    assert!(rig.sandbox.world().lock().delete_by_hand(now, &old));
    assert_eq!(rig.step(&["verify", old.as_str()]).0, 0);
    rig.sandbox.world().lock().faults.hide_main_keys = true;
    let (code, said) = rig.step(&["verify", old.as_str()]);
    assert!(code == 5 && said.contains("says nothing: look in the Console"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_signatures_are_enforced_the_walk_is_signed() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let pkcv = rig.enforce_signatures();
    let text = rig.with_admin_file().replace("[twilio]\n", &pkcv);
    std::fs::write(rig.path("policy.toml"), text).unwrap();
    let (old, account) = (rig.sandbox.main_key().0, rig.sandbox.account_sid().clone());
    let file = rig.candidate(&account, &rig.made(KeyKind::Main, &account));
    let (code, said) = rig.try_out("switch", &file, &[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(rig.step(&["verify", old.as_str()]).0, 5);
    let world = rig.sandbox.world().lock();
    assert!(world.audit().entries().count() >= 4);
    assert!(world.audit().entries().all(|entry| entry.signed == Some(Form::Strict)));
}

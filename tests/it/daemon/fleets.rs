//! A fleet of subaccounts, from the policy to the sinks.

use super::rig::{Figures, QUICK, Rig, signal};
use rekeyd::model::key::AccountSid;
use rekeyd::sandbox::call::Status;
use rekeyd::sandbox::{Fault, Faults, KeyKind, Latency, Random, Rate, Reach};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;

/// The beginning of the names of the fleet's credentials.
const PREFIX: &str = "customers-";

impl Rig {
    /// An installation with a fleet and nothing else.
    async fn with_fleet(fleet: &str, faults: Faults) -> Self {
        let rig = Self::with_faults(&[], QUICK, faults).await;
        rig.write_fleet(fleet);
        rig
    }

    fn write_fleet(&self, fleet: &str) {
        let place = "publish_to = [{ sink = \"files\", name = \"{account_name}.json\" }]";
        let text = self.policy(&Figures { rotate_every: "2h", ..QUICK }, "");
        let text = format!("{text}\n[[fleets]]\nname = \"customers\"\n{fleet}\n{place}\n");
        std::fs::write(self.path("policy.toml"), text).unwrap();
    }

    /// Opens a subaccount.
    fn subaccount(&self, name: &str) -> AccountSid {
        let (now, parent) = (self.sandbox.world().now(), self.sandbox.account_sid().clone());
        let mut world = self.sandbox.world().lock();
        let sid = world.open_account(now, None, Some(parent));
        world.name_account(&sid, name);
        sid
    }

    /// The credential of the fleet in that account, as `status` shows it.
    fn member(&self, account: &AccountSid) -> Option<Value> {
        let status = self.status()?;
        let of_it = |line: &&Value| line["account"] == account.as_str();
        status["credentials"].as_array()?.iter().find(of_it).cloned()
    }

    fn completed(&self, account: &AccountSid) -> u64 {
        self.member(account).and_then(|line| line["rotations_completed"].as_u64()).unwrap_or_default()
    }

    /// The file of an account serves a key that lives in that account, and no other lives there.
    fn is_right(&self, name: &str, account: &AccountSid) -> Result<(), String> {
        let file = std::fs::read_to_string(self.path("secrets").join(format!("{name}.json")));
        let served: Value = serde_json::from_str(&file.map_err(|e| format!("{name}: {e}"))?).unwrap();
        let world = self.sandbox.world().lock();
        let own = |key: &&rekeyd::sandbox::Key| key.account == *account && key.kind != KeyKind::Main;
        let live: Vec<_> = world.keys().filter(own).filter(|key| key.deleted.is_none()).collect();
        let [key] = live[..] else { return Err(format!("{name} has {} keys that live", live.len())) };
        let same = served["apiKeySid"] == key.sid.as_str() && served["apiKeySecret"] == key.secret.expose();
        if same && served["accountSid"] == account.as_str() {
            Ok(())
        } else {
            Err(format!("{name} serves another key"))
        }
    }

    /// When entries of a kind were written to a credential's journal.
    fn times(&self, account: &AccountSid, kind: &str) -> Vec<jiff::Timestamp> {
        let name = self.member(account).unwrap()["credential"].as_str().unwrap().to_owned();
        let history = String::from_utf8(self.run(&["history", &name, "--json"]).stdout).unwrap();
        let entries = history.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of_kind = entries.filter(|entry| entry["event"] == kind);
        of_kind.map(|entry| entry["at"]["wall"].as_str().unwrap().parse().unwrap()).collect()
    }
}

fn mild() -> Faults {
    Faults { key_delay_ms: 100, latency_ms: Latency::Fixed(2), ..Faults::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_follows_its_subaccounts() {
    let rig = Rig::with_fleet("accounts = { name = \"customer-*\" }", mild()).await;
    let (one, two, other) = (rig.subaccount("customer-1"), rig.subaccount("customer-2"), rig.subaccount("other"));
    let _daemon = rig.start();
    let right = |name: &str, account: &AccountSid| rig.is_right(name, account).is_ok();
    rig.until("two accounts have their keys", || right("customer-1", &one) && right("customer-2", &two)).await;

    let three = rig.subaccount("customer-3");
    rig.until("a new account gets its key", || right("customer-3", &three)).await;
    assert!(rig.member(&other).is_none());

    // By the name that `status` shows, whoever looks on knows it too.
    let name = rig.member(&three).unwrap()["credential"].as_str().unwrap().to_owned();
    assert!(name.starts_with(PREFIX));
    let asked = rig.run(&["rotate", &name, "--wait"]);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    assert!(right("customer-3", &three) && rig.completed(&three) == 2);
    assert_eq!(rig.run(&["plan"]).status.code(), Some(0));

    rig.sandbox.world().lock().set_status(&one, Status::Suspended);
    let waits = |line: Value| line["waiting_for"].as_str().is_some_and(|why| why.contains("suspended"));
    rig.until("the suspended account pauses", || rig.member(&one).is_some_and(waits)).await;
    rig.sandbox.world().lock().set_status(&two, Status::Closed);
    rig.until_told("others belong to the fleets now", 2).await;
    rig.sandbox.world().lock().set_status(&one, Status::Active);
    let name = rig.member(&one).unwrap()["credential"].as_str().unwrap().to_owned();
    rig.until("the account is taken up again", || {
        rig.run(&["rotate", &name]);
        rig.completed(&one) >= 2
    })
    .await;
    // What is closed ends without deletes.
    let world = rig.sandbox.world().lock();
    assert!(world.keys().filter(|key| key.account == two).all(|key| key.deleted.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_goes_in_waves() {
    let waves = "waves = { canary = 1, hold = \"3s\", batch = 1 }\nrotate_every = \"25s\"\ngrace = \"1s\"";
    let rig = Rig::with_fleet(&format!("accounts = {{ name = \"customer-*\" }}\n{waves}"), mild()).await;
    // The oldest goes first.
    let first = rig.subaccount("customer-x");
    let later = jiff::SignedDuration::from_secs(5);
    let others = ["a", "b"].map(|name| {
        let (now, parent) = (rig.sandbox.world().now() + later, rig.sandbox.account_sid().clone());
        let mut world = rig.sandbox.world().lock();
        let sid = world.open_account(now, None, Some(parent));
        world.name_account(&sid, &format!("customer-{name}"));
        sid
    });
    let mut daemon = rig.start();
    rig.until("the first has rotated", || rig.completed(&first) >= 2).await;
    rig.until("all have rotated", || others.iter().all(|account| rig.completed(account) >= 2)).await;
    daemon.child.kill().unwrap();
    let through = rig.times(&first, "published")[1];
    let mut windows = BTreeMap::new();
    for account in &others {
        let (begun, published) = (rig.times(account, "intended")[1], rig.times(account, "published")[1]);
        assert!(begun >= through + jiff::SignedDuration::from_secs(3), "{begun} is not 3 s after {through}");
        windows.insert(begun, published);
    }
    let ends: Vec<_> = windows.values().collect();
    for (begun, before) in windows.keys().skip(1).zip(ends) {
        assert!(begun >= before, "{begun} is before the end of the one before, {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_stands_still_while_one_of_it_is_halted() {
    let waves = "waves = { canary = 0, hold = \"0s\", batch = 9 }\nrotate_every = \"8s\"\ngrace = \"1s\"";
    let rig = Rig::with_fleet(&format!("accounts = {{ name = \"customer-*\" }}\n{waves}"), mild()).await;
    let (one, two) = (rig.subaccount("customer-1"), rig.subaccount("customer-2"));
    let _daemon = rig.start();
    rig.until("both serve", || rig.completed(&one) >= 1 && rig.completed(&two) >= 1).await;
    let file = rig.path("secrets").join("customer-1.json");
    std::fs::write(&file, "what somebody else wrote").unwrap();
    let waits = |line: Value| line["waiting_for"].as_str().is_some_and(|why| why.contains("stands still"));
    rig.until("the other waits", || rig.member(&two).is_some_and(waits)).await;
    let before = rig.completed(&two);
    let name = rig.member(&one).unwrap()["credential"].as_str().unwrap().to_owned();
    assert!(rig.member(&one).unwrap()["halted"].is_object());
    assert!(rig.run(&["resume", &name, "--overwrite"]).status.success());
    rig.until("both go on", || rig.completed(&two) > before && rig.is_right("customer-1", &one).is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_tenth_of_the_answers_lost_and_a_tenth_refused_a_fleet_ends_right_and_without_strays() {
    const MEMBERS: usize = 12;
    let tenth = |fault| Random { fault, operation: None, rate: Rate::new(0.1).unwrap() };
    let faults = Faults { random: vec![tenth(Fault::Lost), tenth(Fault::RateLimited)], ..mild() };
    let often =
        "accounts = {}\nwaves = { canary = 1, hold = \"1s\", batch = 5 }\nrotate_every = \"25s\"\ngrace = \"1s\"";
    let rig = Rig::with_fleet(often, faults).await;
    let names: Vec<String> = (0..MEMBERS).map(|n| format!("customer-{n}")).collect();
    let accounts: Vec<AccountSid> = names.iter().map(|name| rig.subaccount(name)).collect();
    let mut daemon = rig.start();
    rig.until("each has its key", || accounts.iter().all(|account| rig.completed(account) >= 1)).await;
    for share in [1, MEMBERS / 2, MEMBERS] {
        let rotated = || accounts.iter().filter(|account| rig.completed(account) >= 2).count() >= share;
        rig.until(&format!("{share} have rotated"), rotated).await;
    }
    // From now on nothing is due, and what is under way comes to its end, under the same faults.
    rig.write_fleet("accounts = {}\nwaves = { canary = 1, hold = \"1s\", batch = 5 }");
    signal(&daemon, Signal::HUP);
    let right = || names.iter().zip(&accounts).all(|(name, account)| rig.is_right(name, account).is_ok());
    let rests = |account: &AccountSid| rig.member(account).is_some_and(|line| line["phase"] == "serving");
    rig.until("everything is right", || right() && accounts.iter().all(rests)).await;
    let hit = |status| rig.sandbox.world().lock().audit().entries().filter(|entry| entry.status == status).count();
    assert!(hit(429) > 10, "too few calls were refused to show anything");
    assert!(daemon.child.try_wait().unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_online_tells_for_each_account_and_sink_what_is_out_of_reach() {
    let rig = Rig::with_fleet("accounts = {}", mild()).await;
    let accounts = [rig.subaccount("customer-1"), rig.subaccount("customer-2")];
    let check = || {
        let output = rig.run(&["check", "--online"]);
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code(), said)
    };
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2 accounts answer") && said.contains("sink `files`: 2 places can be read"), "{said}");
    rig.sandbox.world().lock().faults.parent_main_key_on_subaccount = Reach::AccountsOnly;
    let (code, said) = check();
    assert_eq!(code, Some(6), "{said}");
    for account in &accounts {
        assert!(said.contains(&format!("the keys of {account} can not be listed with")), "{said}");
        assert!(said.contains(&format!("[accounts.\"{account}\"]")), "{said}");
    }
    assert!(!said.contains(rig.sandbox.main_key().1.expose()));
    // It only looked.
    let world = rig.sandbox.world().lock();
    assert_eq!(world.keys().filter(|key| key.kind != KeyKind::Main).count(), 0);
}

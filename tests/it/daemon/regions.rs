//! The real binary with credentials of one account in two regions: the keys are two sets, and each is managed with what
//! belongs to its region.

use super::rig::{QUICK, Rig, private};
use rekeyd::model::home::Region;
use rekeyd::model::key::KeySid;
use rekeyd::sandbox::call::Operation;
use rekeyd::sandbox::{Denial, Faults, KeyKind, Latency, NewKey, Options};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

const AMERICA: &str = "billing-sms";
const IRELAND: &str = "sms-ireland";

fn ie1() -> Region {
    Region::new("ie1").unwrap()
}

impl Rig {
    /// A credential in the usual region, and one in Ireland.
    async fn in_two_regions() -> Self {
        let faults = Faults { key_delay_ms: 300, latency_ms: Latency::Fixed(5), ..Faults::default() };
        let regions = [(ie1(), "127.0.0.1:0".parse().unwrap())].into();
        let options = Options { faults, regions, ..Options::default() };
        let mut rig = Self::with_options(&[AMERICA, IRELAND], QUICK, options).await;
        let (url, (sid, secret)) = rig.ireland();
        private(&rig.path("main_key_ie1"), &secret);
        rig.elsewhere = [(IRELAND.to_owned(), url)].into();
        std::fs::write(rig.path("policy.toml"), rig.text(&sid, "main_key_ie1")).unwrap();
        rig
    }

    /// Where Ireland is, and its Main key.
    fn ireland(&self) -> (String, (KeySid, String)) {
        let (_, url, (sid, secret)) = self.sandbox.regions().next().unwrap();
        (url, (sid, secret.expose().to_owned()))
    }

    /// The policy, with this Main key for Ireland.
    fn text(&self, main_key: &KeySid, file: &str) -> String {
        let table = format!(
            "[twilio.regions.ie1]\nmain_key_sid = \"{main_key}\"\nmain_key_secret_file = \"{}\"\nbase_url = \"{}\"\n\n",
            self.path(file).display(),
            self.ireland().0
        );
        let (ours, theirs) = (format!("name = \"{IRELAND}\"\n"), format!("name = \"{IRELAND}\"\nregion = \"ie1\"\n"));
        self.policy(&QUICK, "").replacen("[sinks.vault]", &format!("{table}[sinks.vault]"), 1).replace(&ours, &theirs)
    }

    /// The keys that live in a region, other than Main keys.
    fn living_in(&self, region: &Region) -> BTreeSet<KeySid> {
        let world = self.sandbox.world().lock();
        let ours = world.keys().filter(|key| key.deleted.is_none() && key.kind != KeyKind::Main);
        ours.filter(|key| key.region == *region).map(|key| key.sid.clone()).collect()
    }

    /// The key that every place of a credential serves.
    async fn key_of(&self, name: &str) -> KeySid {
        let served = self.served(name).await;
        let sids: BTreeSet<_> =
            served.values().map(|value| value.as_ref().unwrap()["apiKeySid"].as_str().unwrap().to_owned()).collect();
        assert_eq!(sids.len(), 1, "{served:?}");
        KeySid::new(sids.first().unwrap()).unwrap()
    }

    /// A file with a new Main key that a person has made in a region.
    fn made_in(&self, region: Region) -> (PathBuf, KeySid) {
        let (now, account) = (self.sandbox.world().now(), self.sandbox.account_sid().clone());
        let mut world = self.sandbox.world().lock();
        let new = NewKey { account: account.clone(), kind: KeyKind::Main, name: None, pair: None };
        let path = self.path(&format!("next_{region}.json"));
        let sid = world.make_by_hand_in(now, region, new);
        let secret = world.key(&sid).unwrap().secret.expose();
        private(&path, &json!({"accountSid": account, "adminKeySid": sid, "adminKeySecret": secret}).to_string());
        (path, sid)
    }

    fn says(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_credential_is_rotated_in_its_own_region_with_the_main_key_of_that_region() {
    let rig = Rig::in_two_regions().await;
    let (code, told) = rig.says(&["check", "--online"]);
    assert!(code == 0 && told.contains("2 accounts answer to what manages their keys"), "{told}");
    let _daemon = rig.start();
    rig.until_settled(1).await;
    let (consumers, first) = (rig.consumers(), rig.agreed().await);
    for name in [AMERICA, IRELAND] {
        assert!(rig.run(&["rotate", name]).status.success());
    }
    rig.until_settled(2).await;
    consumers.stop(100);
    let second = rig.agreed().await;
    assert!(first.is_disjoint(&second));
    let main_keys = [rig.sandbox.main_key().0, rig.ireland().1.0];
    for ((name, region), main_key) in [(AMERICA, Region::us1()), (IRELAND, ie1())].into_iter().zip(main_keys) {
        assert_eq!(rig.living_in(&region), BTreeSet::from([rig.key_of(name).await]), "{name}: no stray, no mix-up");
        let world = rig.sandbox.world().lock();
        let made: Vec<_> = world.keys().filter(|key| key.region == region && key.kind != KeyKind::Main).collect();
        assert!(made.len() == 2 && made.iter().all(|key| key.made_by == main_key.as_str()), "{name}");
        let ended: Vec<_> = made.iter().filter_map(|key| key.deleted.as_ref()).collect();
        assert!(ended.len() == 1 && ended[0].by == main_key.as_str(), "{name}");
    }
    let world = rig.sandbox.world().lock();
    let of = |user: &str| world.key(&KeySid::new(user).unwrap()).unwrap().region.clone();
    let mut entries = world.audit().entries();
    assert!(entries.all(|entry| entry.user.as_deref().is_some_and(|user| of(user) == entry.region)));
    assert_eq!(world.audit().entries().filter(|entry| entry.denied == Some(Denial::OtherRegion)).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_says_in_which_region() {
    let rig = Rig::in_two_regions().await;
    let _daemon = rig.start();
    rig.until_settled(1).await;
    let account = rig.sandbox.account_sid().clone();
    let line = rig.credential(IRELAND).unwrap();
    assert_eq!((&line["account"], &line["region"]), (&json!(account), &json!("ie1")));
    assert_eq!(rig.credential(AMERICA).unwrap()["region"], "us1");
    let (_, shown) = rig.says(&["status"]);
    let (ours, theirs) = (rig.key_of(IRELAND).await, rig.key_of(AMERICA).await);
    assert!(shown.contains(&format!("{ours} in ie1")) && !shown.contains(&format!("{theirs} in")), "{shown}");
    let (_, plan) = rig.says(&["plan"]);
    for home in [format!("account {account}: "), format!("account {account}@ie1: ")] {
        assert!(plan.contains(&format!("{home}2 keys, 1 ours, 1 not ours")), "{plan}");
    }
    let metrics = rig.metrics().await;
    for name in ["rekeyd_main_key_info{", "rekeyd_unexplained_keys{", "rekeyd_breaker_open{"] {
        let mut regions = ["region=\"us1\"", "region=\"ie1\""].into_iter();
        assert!(
            regions.all(|region| metrics.lines().any(|line| line.starts_with(name) && line.contains(region))),
            "{name}: {metrics}"
        );
    }
    let (_, json) = rig.says(&["main-key", "status", "--json"]);
    let lines: Value = serde_json::from_str(&json).unwrap();
    let facts = |line: &Value| json!([line["policy"], line["key"], line["region"], line["daemon_uses_it"]]);
    assert_eq!(facts(&lines[0]), json!(["[twilio]", rig.sandbox.main_key().0, "us1", true]));
    assert_eq!(facts(&lines[1]), json!(["[twilio.regions.ie1]", rig.ireland().1.0, "ie1", true]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_key_of_another_region_is_told_of_and_makes_nothing() {
    let rig = Rig::in_two_regions().await;
    std::fs::write(rig.path("policy.toml"), rig.text(&rig.sandbox.main_key().0, "main_key")).unwrap();
    let (code, told) = rig.says(&["check", "--online"]);
    assert!(code == 6 && told.contains("or it is of another region than ie1"), "{code} {told}");
    assert!(told.contains(&format!("the keys of {}@ie1 can not be listed", rig.sandbox.account_sid())), "{told}");
    let _daemon = rig.start();
    let serves = |name: &str| rig.credential(name).is_some_and(|line| line["phase"] == "serving");
    rig.until("the other region goes on", || serves(AMERICA)).await;
    let refused = |line: &Value| line["region"] == "ie1" && line["breaker"] == "main_key_refused";
    rig.until("the breaker is open", || {
        rig.status().is_some_and(|status| status["breakers"].as_array().unwrap().iter().any(refused))
    })
    .await;
    assert!(rig.living_in(&ie1()).is_empty() && !serves(IRELAND));
    assert!(rig.served(IRELAND).await.values().all(Option::is_none));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_moves_to_another_region_halts_until_it_moves_back() {
    let rig = Rig::in_two_regions().await;
    let daemon = rig.start();
    rig.until_settled(1).await;
    let (old, written) = (rig.key_of(IRELAND).await, std::fs::read_to_string(rig.path("policy.toml")).unwrap());
    drop(daemon);
    std::fs::write(rig.path("policy.toml"), written.replace("\nregion = \"ie1\"\n", "\n")).unwrap();
    let calls = rig.sandbox.world().lock().audit().count(Operation::CreateKey, 201);
    let daemon = rig.start();
    let halted = || rig.credential(IRELAND).is_some_and(|line| line["halted"]["reason"] == "account_changed");
    rig.run(&["rotate", IRELAND]);
    rig.until("it halts", halted).await;
    let detail = rig.credential(IRELAND).unwrap()["halted"]["detail"].as_str().unwrap().to_owned();
    let account = rig.sandbox.account_sid();
    assert_eq!(detail, format!("its keys belong to {account}@ie1, and the policy says {account}"));
    drop(daemon);
    assert_eq!(rig.sandbox.world().lock().audit().count(Operation::CreateKey, 201), calls);
    assert_eq!((rig.key_of(IRELAND).await, rig.living_in(&ie1())), (old.clone(), [old.clone()].into()));
    std::fs::write(rig.path("policy.toml"), written).unwrap();
    let _daemon = rig.start();
    assert!(rig.run(&["resume", IRELAND]).status.success());
    rig.until_settled(1).await;
    rig.until("it is rotated as was asked", || rig.credential(IRELAND).unwrap()["rotations_completed"] == 2).await;
    assert!(!rig.living_in(&ie1()).contains(&old) && rig.living_in(&ie1()).len() == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_key_of_a_region_is_replaced_by_one_of_that_region_only() {
    let rig = Rig::in_two_regions().await;
    let ((ours, next), (foreign, theirs)) = (rig.made_in(ie1()), rig.made_in(Region::us1()));
    let (ours, foreign) = (ours.to_str().unwrap(), foreign.to_str().unwrap());
    let (code, told) = rig.says(&["main-key", "prove", ours, "--region", "ie1"]);
    let account = rig.sandbox.account_sid();
    assert!(code == 0 && told.contains(&format!("{next} lists the keys of {account}@ie1: 2")), "{code} {told}");
    assert!(told.contains(&format!("next: rekeyd main-key switch {ours} --region ie1")), "{told}");
    let (code, told) = rig.says(&["main-key", "prove", foreign, "--region", "ie1"]);
    assert!(code == 1 && told.contains(&format!("{theirs} is not accepted in {account}@ie1")), "{code} {told}");
    let (code, told) = rig.says(&["main-key", "prove", ours]);
    assert!(code == 1 && told.contains(&format!("{next} is not accepted in {account} (")), "{code} {told}");
    let (code, told) = rig.says(&["main-key", "prove", ours, "--region", "au1"]);
    assert!(code == 1 && told.contains(&format!("the policy says nothing of {account}@au1")), "{code} {told}");
    let old = rig.ireland().1.0;
    assert!(rig.sandbox.world().lock().delete_by_hand(rig.sandbox.world().now(), &next));
    let (code, told) = rig.says(&["main-key", "verify", next.as_str(), "--region", "ie1"]);
    assert!(code == 0 && told.contains(&format!("{next} is gone")), "{code} {told}");
    let (code, told) = rig.says(&["main-key", "verify", old.as_str(), "--region", "ie1"]);
    assert!(code == 5 && told.contains("is the key that [twilio.regions.ie1] names now"), "{code} {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_has_its_keys_in_the_region_that_it_names() {
    let regions = [(ie1(), "127.0.0.1:0".parse().unwrap())].into();
    let options = Options { regions, customers: 3, ..Options::default() };
    let rig = Rig::with_options(&[], QUICK, options).await;
    let (sid, secret) = rig.ireland().1;
    private(&rig.path("main_key_ie1"), &secret);
    let fleet = "[[fleets]]\nname = \"customers\"\nregion = \"ie1\"\naccounts = { status = \"active\" }\nwaves = { hold = \"1s\" }\n\
                 publish_to = [{ sink = \"files\", name = \"{account_name}.json\" }]\n";
    std::fs::write(rig.path("policy.toml"), format!("{}\n{fleet}", rig.text(&sid, "main_key_ie1"))).unwrap();
    let _daemon = rig.start();
    let served = |number: usize| {
        let file = rig.path("secrets").join(format!("customer-000{number}.json"));
        let pair: Option<Value> = std::fs::read(file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        pair.and_then(|pair| KeySid::new(pair["apiKeySid"].as_str()?).ok())
    };
    rig.until("every account has its key", || (1..=3).all(|number| served(number).is_some())).await;
    let keys: BTreeSet<_> = (1..=3).filter_map(served).collect();
    assert_eq!((keys.len(), rig.living_in(&ie1()), rig.living_in(&Region::us1())), (3, keys, BTreeSet::new()));
    let status = rig.status().unwrap();
    let lines = status["credentials"].as_array().unwrap();
    assert!(lines.len() == 3 && lines.iter().all(|line| line["region"] == "ie1"), "{status}");
    let (code, told) = rig.says(&["check", "--online"]);
    assert!(code == 0 && told.contains("3 accounts answer to what manages their keys"), "{told}");
}

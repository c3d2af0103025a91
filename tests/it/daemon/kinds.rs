//! The real binary with other keys than ordinary ones, in accounts that want more than a Main key.

use super::rig::{QUICK, Rig, private};
use rekeyd::model::key::KeySid;
use rekeyd::sandbox::call::Operation;
use rekeyd::sandbox::{Denial, Faults, Form, KeyKind};
use serde_json::Value;
use std::collections::BTreeSet;

const READ: &str = "/twilio/messaging/messages/read";
const LIST: &str = "/twilio/messaging/messages/list";

impl Rig {
    /// What the key that is served may do, by the sandbox's own books.
    async fn may(&self) -> (KeySid, Vec<String>) {
        let sid = self.agreed().await.into_iter().next().unwrap();
        let world = self.sandbox.world().lock();
        let key = world.key(&sid).unwrap();
        assert_eq!(key.kind, KeyKind::Restricted);
        (sid.clone(), key.allow.clone())
    }

    /// Enforces signed requests in the account; answers the beginning of `[twilio]` for that.
    pub(super) fn enforce_signatures(&self) -> String {
        let vectors: Value = serde_json::from_str(include_str!("../../vectors/pkcv.json")).unwrap();
        let text = |name: &str| vectors[name].as_str().unwrap();
        private(&self.path("pkcv"), text("rsa_private_key_pkcs8_pem"));
        let (now, account) = (self.sandbox.world().now(), self.sandbox.account_sid().clone());
        let mut world = self.sandbox.world().lock();
        world.enforce_signatures(&account, true);
        let public_key = world.register(now, &account, None, text("rsa_public_key_spki_pem")).unwrap();
        format!(
            "[twilio]\npkcv = {{ public_key_sid = \"{public_key}\", private_key_file = \"{}\", alg = \"PS256\" }}\n",
            self.path("pkcv").display()
        )
    }

    fn history(&self) -> String {
        String::from_utf8(self.run(&["history", "billing-sms"]).stdout).unwrap()
    }
}

fn restricted(allow: &[&str]) -> String {
    format!("type = \"restricted\"\nallow = {allow:?}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_key_is_rotated_and_a_changed_list_is_a_reason() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    std::fs::write(rig.path("policy.toml"), rig.policy(&QUICK, &restricted(&[READ, LIST]))).unwrap();
    let daemon = rig.start();
    rig.until_settled(1).await;
    let (first, may) = rig.may().await;
    assert_eq!(may, [LIST, READ]);
    drop(daemon);
    std::fs::write(rig.path("policy.toml"), rig.policy(&QUICK, &restricted(&[LIST]))).unwrap();
    let planned: Value = serde_json::from_slice(&rig.run(&["plan", "--json"]).stdout).unwrap();
    assert!(planned.to_string().contains("its permissions were changed in the policy"), "{planned}");
    let told = format!("create a Restricted key that may no longer do {READ} and prove it");
    assert!(planned.to_string().contains(&told), "{planned}");
    let _daemon = rig.start();
    rig.until_settled(2).await;
    let (second, may) = rig.may().await;
    assert_eq!(may, [LIST]);
    assert!(first != second && rig.sandbox.world().lock().key(&first).unwrap().deleted.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_key_that_may_do_more_than_was_asked_for_is_never_served() {
    let faults = Faults { widen_policies: true, ..Faults::default() };
    let rig = Rig::with_faults(&["billing-sms"], QUICK, faults).await;
    std::fs::write(rig.path("policy.toml"), rig.policy(&QUICK, &restricted(&[READ]))).unwrap();
    let _daemon = rig.start();
    rig.until("a key is given up", || rig.history().contains("it may do something else than was asked for")).await;
    assert!(rig.served("billing-sms").await.values().all(Option::is_none), "it was served");
    rig.sandbox.world().lock().faults.widen_policies = false;
    rig.until_settled(1).await;
    assert_eq!(rig.may().await.1, [READ]);
    assert_eq!(rig.live().len(), 1, "what was given up is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_key_is_made_like_another_one_and_not_like_an_ordinary_one() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let ordinary = rig.foreign("ordinary");
    let clone = |sid: &KeySid| format!("type = \"restricted\"\nclone_policy_of = \"{sid}\"\n");
    std::fs::write(rig.path("policy.toml"), rig.policy(&QUICK, &clone(&ordinary))).unwrap();
    let daemon = rig.start();
    rig.until("it halts", || rig.history().contains("is no Restricted key")).await;
    drop(daemon);
    let template = rig.template(&[LIST]).await;
    std::fs::write(rig.path("policy.toml"), rig.policy(&QUICK, &clone(&template))).unwrap();
    assert!(rig.run(&["resume", "billing-sms"]).status.success());
    let _daemon = rig.start();
    rig.until_settled(1).await;
    assert_eq!(rig.may().await.1, [LIST]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_twilio_does_not_know_halts_with_twilios_words() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let policy = rig.policy(&QUICK, &restricted(&["/twilio/fakepermission/doesnotexist/read"]));
    std::fs::write(rig.path("policy.toml"), policy).unwrap();
    let _daemon = rig.start();
    rig.until("it halts", || rig.history().contains("halted (create_refused)")).await;
    assert!(rig.history().contains("error 70002"), "{}", rig.history());
    assert!(rig.live().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_signatures_are_enforced_the_whole_life_of_a_key_is_signed() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    rig.sign("");
    let _daemon = rig.start();
    rig.until_settled(1).await;
    rig.run(&["rotate", "billing-sms"]);
    rig.until_settled(2).await;
    let world = rig.sandbox.world().lock();
    assert_eq!(
        (world.audit().count(Operation::CreateKey, 201), world.audit().count(Operation::DeleteKey, 204)),
        (2, 1)
    );
    // A new key that the edge did not know yet was refused before anybody looked at the signature.
    let met = world.audit().entries().filter(|entry| entry.denied != Some(Denial::TooNew));
    let unsigned: Vec<_> = met.filter(|entry| entry.signed != Some(Form::Strict)).collect();
    assert!(unsigned.is_empty(), "{unsigned:?}");
    drop(world);
    let log = rig.log();
    assert!(!log.contains("Twilio-Client-Validation") && !log.contains("eyJ"), "a token is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_pair_is_rotated_like_a_key_and_what_rekeyd_signs_with_stays() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let own = rig.sign("kind = \"key-pair\"\n");
    let _daemon = rig.start();
    rig.until_settled(1).await;
    let first = rig.served_pair().await;
    rig.run(&["rotate", "billing-sms"]);
    rig.until_settled(2).await;
    let second = rig.served_pair().await;
    assert!(first.0 != second.0 && first.1 != second.1, "both halves are new");
    let live: BTreeSet<String> = {
        let world = rig.sandbox.world().lock();
        world.public_keys().filter(|key| !key.deleted).map(|key| key.sid.to_string()).collect()
    };
    assert_eq!(live, BTreeSet::from([own, second.0]), "the old one is gone, and nothing else");
    assert!(rig.live().is_empty(), "no API key was made");
    let (log, history) = (rig.log(), rig.history());
    let line = second.1.lines().nth(1).unwrap();
    assert!(![&log, &history].into_iter().any(|text| text.contains(line) || text.contains("PRIVATE")), "it is told");
}

impl Rig {
    /// Makes the account take signed requests only, and the policy sign them; what else it says of each credential.
    fn sign(&self, more: &str) -> String {
        let pkcv = self.enforce_signatures();
        std::fs::write(self.path("policy.toml"), self.policy(&QUICK, more).replace("[twilio]\n", &pkcv)).unwrap();
        pkcv.split('"').nth(1).unwrap().to_owned()
    }

    /// The key pair that every place serves.
    async fn served_pair(&self) -> (String, String) {
        let served = self.served("billing-sms").await;
        let halves = |value: &Option<Value>| {
            let text = |member: &str| value.as_ref().unwrap()[member].as_str().unwrap().to_owned();
            (text("publicKeySid"), text("privateKey"))
        };
        let pairs: BTreeSet<_> = served.values().map(halves).collect();
        assert_eq!(pairs.len(), 1, "it is served differently");
        pairs.into_iter().next().unwrap()
    }
    /// A Restricted key that a person made.
    async fn template(&self, allow: &[&str]) -> KeySid {
        let (sid, secret) = self.sandbox.main_key();
        let policy = serde_json::json!({ "allow": allow }).to_string();
        let form = [
            ("AccountSid", self.sandbox.account_sid().as_str()),
            ("FriendlyName", "by hand"),
            ("KeyType", "restricted"),
            ("Policy", &policy),
        ];
        let request = reqwest::Client::new().post(format!("{}/v1/Keys", self.sandbox.url())).form(&form);
        let answer = request.basic_auth(sid.as_str(), Some(secret.expose())).send().await.unwrap();
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        KeySid::new(body["sid"].as_str().unwrap()).unwrap()
    }
}

impl Rig {
    /// The token that every place serves, and the one before it.
    async fn served_token(&self) -> (String, Option<String>) {
        let served = self.served("billing-sms").await;
        let tokens = |value: &Option<Value>| {
            let text = |member: &str| value.as_ref().unwrap()[member].as_str().map(str::to_owned);
            (text("authToken").unwrap(), text("previousAuthToken"))
        };
        let all: BTreeSet<_> = served.values().map(tokens).collect();
        assert_eq!(all.len(), 1, "it is served differently");
        all.into_iter().next().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auth_token_is_rotated_by_itself_and_the_old_one_stands_beside_it_until_it_ends() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let more = "kind = \"auth-token\"\nsuppress_email_notification = true\n";
    let policy = rig.policy(&QUICK, more).replace("[twilio]\n", "[twilio]\nallow_auth_tokens = true\n");
    std::fs::write(rig.path("policy.toml"), policy).unwrap();
    let account = rig.sandbox.account_sid().clone();
    let token = || rig.sandbox.account_token(&account).unwrap().expose().to_owned();
    let before = token();
    rig.write("billing-sms", &serde_json::json!({ "accountSid": account.as_str(), "authToken": before })).await;
    let planned = String::from_utf8(rig.run(&["plan"]).stdout).unwrap();
    assert!(planned.contains("a secondary auth token") && planned.contains("promote the new token"), "{planned}");
    let _daemon = rig.start();
    rig.until_settled(1).await;
    let (first, beside) = rig.served_token().await;
    assert_eq!((&first, beside.as_ref()), (&token(), Some(&before)));
    rig.run(&["rotate", "billing-sms"]);
    rig.until_settled(2).await;
    let (second, beside) = rig.served_token().await;
    assert_eq!((&second, beside.as_ref()), (&token(), Some(&first)));
    assert!(rig.live().is_empty(), "no API key was made");
    let (log, history) = (rig.log(), rig.history());
    for secret in [before, first, second] {
        assert!(![&log, &history].into_iter().any(|text| text.contains(&secret)), "a token is told");
    }
    let world = rig.sandbox.world().lock();
    let by_key = |entry: &&rekeyd::sandbox::Entry| {
        entry.operation == Operation::PromoteToken && entry.user != Some(account.to_string())
    };
    assert_eq!(world.audit().entries().filter(by_key).count(), 0, "each token was promoted by itself");
    assert_eq!(world.audit().count(Operation::PromoteToken, 200), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_key_with_the_permissions_of_keys_can_take_the_place_of_the_main_key() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let (main, secret) = rig.sandbox.main_key();
    let account = rig.sandbox.account_sid().to_string();
    let policy = r#"{"allow":["/twilio/iam/api-keys/*"]}"#;
    let form = [("AccountSid", account.as_str()), ("KeyType", "restricted"), ("Policy", policy)];
    let made = reqwest::Client::new().post(format!("{}/v1/Keys", rig.sandbox.url()));
    let made: Value =
        made.basic_auth(&main, Some(secret.expose())).form(&form).send().await.unwrap().json().await.unwrap();
    let sid = made["sid"].as_str().unwrap();
    let text = rig.policy(&QUICK, &restricted(&[LIST])).replace(main.as_str(), sid);
    std::fs::write(rig.path("policy.toml"), text).unwrap();
    private(&rig.path("main_key"), made["secret"].as_str().unwrap());
    let _daemon = rig.start();
    rig.until_settled(1).await;
    rig.run(&["rotate", "billing-sms"]);
    rig.until_settled(2).await;
    let world = rig.sandbox.world().lock();
    let by_it = |entry: &&rekeyd::sandbox::Entry| entry.user.as_deref() == Some(sid) && entry.denied.is_none();
    let did: std::collections::BTreeSet<_> =
        world.audit().entries().filter(by_it).map(|entry| entry.operation).collect();
    assert!(did.contains(&Operation::CreateKey) && did.contains(&Operation::DeleteKey), "{did:?}");
    assert!(world.key(&KeySid::new(sid).unwrap()).unwrap().deleted.is_none());
}

//! The adapter against the sandbox, in accounts that are managed in other ways than with a Main key alone: signed
//! requests, auth tokens, subaccounts with something of their own.

use super::{label, words};
use crate::support::openapi::Judge;
use rekeyd::adapters::clock::SystemClock;
use rekeyd::adapters::secrets;
use rekeyd::adapters::twilio::TwilioClient;
use rekeyd::config;
use rekeyd::model::fault::Outcome;
use rekeyd::model::home::Home;
use rekeyd::model::key::{AccountSid, KeySid};
use rekeyd::model::policy::TwilioPolicy;
use rekeyd::model::secret::Secret;
use rekeyd::ports::{Issuer as _, Make};
use rekeyd::sandbox::call::Operation;
use rekeyd::sandbox::{Faults, Form, KeyKind, NewKey, Options, Reach, Sandbox};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

const VECTORS: &str = include_str!("../../vectors/pkcv.json");
const CHILD: &str = "AC00000000000000000000000000000002";

fn account(sid: &str) -> AccountSid {
    AccountSid::new(sid).unwrap()
}

/// A sandbox, and a folder with what a policy names.
pub(super) struct Ground {
    pub(super) sandbox: Sandbox,
    pub(super) dir: tempfile::TempDir,
    pub(super) parent: AccountSid,
    _judge: Judge,
}

fn vectors(name: &str) -> String {
    let all: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
    all[name].as_str().unwrap().to_owned()
}

fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

impl Ground {
    pub(super) async fn new(faults: Faults) -> Self {
        let judge = Judge::default();
        let (subaccounts, witness) = (vec![account(CHILD)], judge.witness());
        let options = Options { seed: Some(1), subaccounts, faults, witness, ..Options::default() };
        let sandbox = Sandbox::start(options).await.unwrap();
        let (dir, parent) = (tempfile::tempdir().unwrap(), sandbox.account_sid().clone());
        private(&dir.path().join("main"), sandbox.main_key().1.expose());
        private(&dir.path().join("pkcv"), &vectors("rsa_private_key_pkcs8_pem"));
        private(&dir.path().join("other"), "Canary");
        private(&dir.path().join("token"), sandbox.account_token(&parent).unwrap().expose());
        private(&dir.path().join("child_token"), sandbox.account_token(&account(CHILD)).unwrap().expose());
        Self { sandbox, dir, parent, _judge: judge }
    }

    /// Twilio knows the public key, and wants requests to these accounts signed with it.
    fn enforce(&self, owner: &AccountSid, accounts: &[&AccountSid]) -> String {
        let now = self.sandbox.world().now();
        let mut world = self.sandbox.world().lock();
        for account in accounts {
            assert!(world.enforce_signatures(account, true));
        }
        world.register(now, owner, Some("ours"), &vectors("rsa_public_key_spki_pem")).unwrap().to_string()
    }

    /// Where the parent's keys live.
    pub(super) fn home(&self) -> Home {
        Home::us1(self.parent.clone())
    }

    pub(super) fn main_key(&self) -> String {
        let dir = self.dir.path().display();
        format!("main_key_sid = \"{}\"\nmain_key_secret_file = \"{dir}/main\"\n", self.sandbox.main_key().0)
    }

    fn pkcv(&self, public_key: &str, algorithm: &str) -> String {
        let dir = self.dir.path().display();
        format!(
            "pkcv = {{ public_key_sid = \"{public_key}\", private_key_file = \"{dir}/pkcv\", alg = \"{algorithm}\" }}\n"
        )
    }

    fn policy(&self, twilio: &str, child: &str) -> TwilioPolicy {
        let child = if child.is_empty() { String::new() } else { format!("[accounts.{CHILD}]\n{child}") };
        let text = format!(
            "[daemon]\ninstance = \"test\"\n[twilio]\naccount_sid = \"{}\"\nbase_url = \"{}\"\n{twilio}\n{child}\n\
             [sinks.files]\nkind = \"directory\"\npath = \"/nowhere\"\n",
            self.parent,
            self.sandbox.url()
        );
        config::parse(&text, "policy").unwrap_or_else(|errors| panic!("{errors}\n{text}")).policy.twilio
    }

    /// Key pairs are rotated in these accounts.
    fn client_of_pairs(&self, twilio: &str, child: &str, accounts: &[&AccountSid]) -> TwilioClient {
        let mut policy = self.policy(twilio, child);
        policy.key_pairs = accounts.iter().map(|account| Home::us1((*account).clone())).collect();
        TwilioClient::new(&policy, &secrets::read, Arc::new(SystemClock::new())).unwrap()
    }

    pub(super) fn client(&self, twilio: &str, child: &str) -> TwilioClient {
        let policy = self.policy(twilio, child);
        TwilioClient::new(&policy, &secrets::read, Arc::new(SystemClock::new())).unwrap()
    }

    /// Every reading by which a call was signed, in the order of the calls.
    fn signed(&self) -> Vec<Option<Form>> {
        self.sandbox.world().lock().audit().entries().map(|entry| entry.signed).collect()
    }
}

/// Makes, proves, lists, fetches and deletes a key; each outcome in a word.
async fn life(client: &TwilioClient, account: &AccountSid) -> Vec<String> {
    life_of(Make::Standard, client, account).await
}

async fn life_of(make: Make<'_>, client: &TwilioClient, account: &AccountSid) -> Vec<String> {
    let short = |text: String| text.split([':', ',']).next().unwrap().to_owned();
    let home = &Home::us1(account.clone());
    let made = client.create(home, &label(), make).await;
    let mut told = Vec::new();
    if let Outcome::Done(new) = &made {
        told.push("made".to_owned());
        told.push(words(client.probe(home, &new.facts.sid, &new.secret, None).await, |verdict| format!("{verdict:?}")));
        told.push(words(client.list(home).await, |keys| keys.iter().any(|key| key.sid == new.facts.sid).to_string()));
        told.push(words(client.fetch(home, &new.facts.sid).await, |key| key.is_some().to_string()));
        told.push(words(client.delete(home, &new.facts.sid).await, |()| "deleted".to_owned()));
    } else {
        told.push(short(words(made, |_| String::new())));
    }
    told
}

const WHOLE: [&str; 5] = ["made", "done: Works", "done: true", "done: true", "done: deleted"];

#[tokio::test]
async fn where_signatures_are_enforced_every_call_is_signed_as_the_docs_say() {
    for algorithm in ["RS256", "PS256"] {
        let ground = Ground::new(Faults::default()).await;
        let public_key = ground.enforce(&ground.parent, &[&ground.parent]);
        let client = ground.client(&(ground.main_key() + &ground.pkcv(&public_key, algorithm)), "");
        assert_eq!(life(&client, &ground.parent).await, WHOLE, "{algorithm}");
        assert!(matches!(client.standing(&ground.home()).await, Outcome::Done(_)));
        let signed = ground.signed();
        assert!(signed.len() >= 6 && signed.iter().all(|form| *form == Some(Form::Strict)), "{signed:?}");
    }
}

#[tokio::test]
async fn pages_after_the_first_are_signed_too() {
    let ground = Ground::new(Faults::default()).await;
    let now = ground.sandbox.world().now();
    for _ in 0..1_500 {
        let new = NewKey { account: ground.parent.clone(), kind: KeyKind::Standard, name: None, pair: None };
        ground.sandbox.world().lock().make_by_hand(now, new);
    }
    let public_key = ground.enforce(&ground.parent, &[&ground.parent]);
    let client = ground.client(&(ground.main_key() + &ground.pkcv(&public_key, "RS256")), "");
    let keys = client.list(&ground.home()).await;
    assert_eq!(words(keys, |keys| keys.len().to_string()), "done: 1501");
    assert_eq!(ground.signed(), [Some(Form::Strict), Some(Form::Strict)]);
}

#[tokio::test]
async fn unsigned_requests_and_auth_tokens_are_refused_there_and_the_refusal_says_why() {
    let ground = Ground::new(Faults::default()).await;
    _ = ground.enforce(&ground.parent, &[&ground.parent]);
    let token = format!("auth_token_file = \"{}/token\"", ground.dir.path().display());
    for twilio in [ground.main_key(), token] {
        let made = ground.client(&twilio, "").create(&ground.home(), &label(), Make::Standard).await;
        let told = words(made, |_| String::new());
        assert!(told.starts_with("not done: unauthorized") && told.contains("error 70052"), "{told}");
    }
}

#[tokio::test]
async fn a_signature_to_an_account_that_knows_of_none_and_one_by_a_stranger_are_refused() {
    let ground = Ground::new(Faults::default()).await;
    let stranger = "CR00000000000000000000000000000009";
    let client = ground.client(&(ground.main_key() + &ground.pkcv(stranger, "RS256")), "");
    let told = words(client.create(&ground.home(), &label(), Make::Standard).await, |_| String::new());
    assert!(told.contains("error 70053"), "{told}");
    _ = ground.enforce(&ground.parent, &[&ground.parent]);
    let told = words(client.create(&ground.home(), &label(), Make::Standard).await, |_| String::new());
    assert!(told.contains("error 70153"), "{told}");
}

#[tokio::test]
async fn a_file_that_is_no_private_key_is_told_at_the_start_and_not_shown() {
    let ground = Ground::new(Faults::default()).await;
    let pkcv = ground.pkcv("CR00000000000000000000000000000009", "RS256").replace("/pkcv\"", "/other\"");
    let policy = ground.policy(&(ground.main_key() + &pkcv), "");
    let error = TwilioClient::new(&policy, &secrets::read, Arc::new(SystemClock::new())).err().unwrap();
    assert!(error.to_string().ends_with("/other can not sign requests"), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "it does not hold an RSA private key in PEM form");
}

#[tokio::test]
async fn an_auth_token_manages_keys_in_its_account_and_below() {
    let ground = Ground::new(Faults { parent_main_key_on_subaccount: Reach::AccountsOnly, ..Faults::default() }).await;
    let token = format!("auth_token_file = \"{}/token\"", ground.dir.path().display());
    let client = ground.client(&token, "");
    assert_eq!(life(&client, &ground.parent).await, WHOLE);
    assert_eq!(life(&client, &account(CHILD)).await, WHOLE);
}

#[tokio::test]
async fn a_subaccount_that_the_parents_main_key_does_not_reach_is_managed_with_its_own() {
    let ground = Ground::new(Faults { parent_main_key_on_subaccount: Reach::AccountsOnly, ..Faults::default() }).await;
    let alone = ground.client(&ground.main_key(), "");
    assert_eq!(life(&alone, &account(CHILD)).await, ["not done"]);
    let dir = ground.dir.path().display();
    let with_token = ground.client(&ground.main_key(), &format!("auth_token_file = \"{dir}/child_token\""));
    assert_eq!(life(&with_token, &account(CHILD)).await, WHOLE);
    let (now, sid) = (ground.sandbox.world().now(), KeySid::new("SK0000000000000000000000000000000c").unwrap());
    let pair = Some((sid.clone(), Secret::new("ofthechild".to_owned())));
    let new = NewKey { account: account(CHILD), kind: KeyKind::Main, name: None, pair };
    ground.sandbox.world().lock().make_by_hand(now, new);
    private(&ground.dir.path().join("child"), "ofthechild");
    let own = format!("main_key_sid = \"{sid}\"\nmain_key_secret_file = \"{dir}/child\"");
    let with_key = ground.client(&ground.main_key(), &own);
    assert_eq!(life(&with_key, &account(CHILD)).await, WHOLE);
    assert_eq!(life(&with_key, &ground.parent).await, WHOLE);
    let told = words(with_key.delete(&Home::us1(account(CHILD)), &sid).await, |()| String::new());
    assert!(told.contains("this is the Main key"), "{told}");
}

#[tokio::test]
async fn a_subaccount_below_one_that_enforces_signatures_proves_new_keys_with_its_own_public_key() {
    let ground = Ground::new(Faults::default()).await;
    let child = account(CHILD);
    let ours = ground.enforce(&ground.parent, &[&ground.parent, &child]);
    let theirs = ground.enforce(&child, &[]);
    let client = ground.client(&(ground.main_key() + &ground.pkcv(&ours, "RS256")), &ground.pkcv(&theirs, "RS256"));
    assert_eq!(life(&client, &child).await, WHOLE);
    let world = ground.sandbox.world().lock();
    assert_eq!(world.audit().count(Operation::CreateKey, 201), 1);
    assert!(world.audit().entries().all(|entry| entry.signed == Some(Form::Strict)));
}

#[tokio::test]
async fn a_key_pair_is_made_proven_found_and_deleted_and_every_call_is_signed() {
    for algorithm in ["RS256", "PS256"] {
        let ground = Ground::new(Faults::default()).await;
        let ours = ground.enforce(&ground.parent, &[&ground.parent]);
        let twilio = ground.main_key() + &ground.pkcv(&ours, algorithm);
        let client = ground.client_of_pairs(&twilio, "", &[&ground.parent]);
        assert_eq!(life_of(Make::KeyPair, &client, &ground.parent).await, WHOLE, "{algorithm}");
        assert!(ground.signed().iter().all(|form| *form == Some(Form::Strict)), "{:?}", ground.signed());
        let ours = KeySid::new(&ours).unwrap();
        let keys = client.list(&ground.home()).await;
        let told = words(keys, |keys| keys.iter().any(|key| key.sid == ours).to_string());
        assert_eq!(told, "done: true", "what signs the calls is still there");
        let theirs = KeySid::new(&ground.enforce(&account(CHILD), &[])).unwrap();
        let keys = client.list(&ground.home()).await;
        let told = words(keys, |keys| keys.iter().any(|key| key.sid == theirs).to_string());
        assert_eq!(told, "done: false", "a key of a subaccount is none of its parent");
        let told = words(client.delete(&ground.home(), &ours).await, |()| String::new());
        assert!(told.starts_with("not done: refused") && told.contains("what signs its calls"), "{told}");
        let without = words(ground.client(&twilio, "").list(&ground.home()).await, |keys| keys.len().to_string());
        assert_eq!(without, "done: 1", "public keys are listed only where some are rotated");
    }
}

#[tokio::test]
async fn a_key_pair_whose_halves_do_not_belong_together_is_refused_and_so_is_a_deleted_one() {
    let ground = Ground::new(Faults::default()).await;
    let ours = ground.enforce(&ground.parent, &[&ground.parent]);
    let client = ground.client_of_pairs(&(ground.main_key() + &ground.pkcv(&ours, "RS256")), "", &[&ground.parent]);
    let Outcome::Done(new) = client.create(&ground.home(), &label(), Make::KeyPair).await else { panic!("no pair") };
    let probe = async |secret: &Secret| {
        words(client.probe(&ground.home(), &new.facts.sid, secret, None).await, |verdict| format!("{verdict:?}"))
    };
    let other = rekeyd::adapters::twilio::key_pair().unwrap().private;
    assert_eq!(probe(&new.secret).await, "done: Works");
    assert_eq!(probe(&other).await, "done: Refused");
    assert_eq!(probe(&Secret::new("no private key".to_owned())).await, "done: Refused");
    assert!(matches!(client.delete(&ground.home(), &new.facts.sid).await, Outcome::Done(())));
    assert_eq!(probe(&new.secret).await, "done: Refused");
    let again = client.delete(&ground.home(), &new.facts.sid).await;
    assert!(matches!(again, Outcome::Done(())), "what is gone counts as deleted");
    assert_eq!(
        words(client.fetch(&ground.home(), &new.facts.sid).await, |key| key.is_some().to_string()),
        "done: false"
    );
}

#[tokio::test]
async fn no_key_pair_is_made_where_it_could_not_be_proven_or_would_be_another_accounts() {
    let ground = Ground::new(Faults::default()).await;
    let client = ground.client(&ground.main_key(), "");
    let Outcome::Done(new) = client.create(&ground.home(), &label(), Make::KeyPair).await else { panic!("no pair") };
    let unsigned = client.probe(&ground.home(), &new.facts.sid, &new.secret, None).await;
    let told = words(unsigned, |verdict| format!("{verdict:?}"));
    assert!(told.starts_with("not done: refused") && told.contains("does not take signed requests"), "{told}");
    let told = words(client.create(&Home::us1(account(CHILD)), &label(), Make::KeyPair).await, |_| String::new());
    assert!(told.contains("an API key of their own account"), "{told}");
    let token = format!("auth_token_file = \"{}/token\"", ground.dir.path().display());
    let told =
        words(ground.client(&token, "").create(&ground.home(), &label(), Make::KeyPair).await, |_| String::new());
    assert!(told.contains("an API key of their own account"), "{told}");
}

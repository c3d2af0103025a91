//! The making of a subaccount: whatever is lost on the way and whenever the process dies, the same command ends with one
//! account, one API key, one public key, and every sink right.

mod commands;
mod deaths;
mod losses;

use crate::support::openapi::Judge;
use async_trait::async_trait;
use deaths::{Death, Mortal};
use jiff::Timestamp;
use rekeyd::adapters::clock::SystemClock;
use rekeyd::adapters::directory::Directory;
use rekeyd::adapters::journal::{Access, AnyJournal, transfer};
use rekeyd::adapters::secrets;
use rekeyd::adapters::twilio::TwilioClient;
use rekeyd::config;
use rekeyd::engine::subaccount::{Foundation, Founded, Order, Stopped};
use rekeyd::model::key::{AccountSid, AttemptId};
use rekeyd::model::names::SinkName;
use rekeyd::model::policy::{Policy, StateUrl};
use rekeyd::model::subaccount::SubaccountName;
use rekeyd::model::time::later;
use rekeyd::ports::{Clock, Sink};
use rekeyd::sandbox::{Faults, Options, Sandbox};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

const NAME: &str = "customer-7";

/// A clock whose waits are over at once: it goes forward by what was waited for.
struct Quick {
    real: SystemClock,
    waited: Mutex<Duration>,
}

#[async_trait]
impl Clock for Quick {
    fn wall(&self) -> Timestamp {
        later(self.real.wall(), *self.waited.lock().unwrap())
    }

    fn running(&self) -> Duration {
        self.real.running() + *self.waited.lock().unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        *self.waited.lock().unwrap() += duration;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    fn attempt(&self) -> AttemptId {
        self.real.attempt()
    }
}

/// An installation with two directories to publish to.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) sandbox: Sandbox,
    clock: Arc<Quick>,
    _judge: Judge,
}

impl Site {
    pub(crate) async fn new(faults: Faults) -> Self {
        Self::seeded(1, faults).await
    }

    async fn seeded(seed: u64, faults: Faults) -> Self {
        let (dir, judge) = (tempfile::tempdir().unwrap(), Judge::default());
        let sandbox =
            Sandbox::start(Options { seed: Some(seed), faults, witness: judge.witness(), ..Options::default() })
                .await
                .unwrap();
        for folder in ["one", "two"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
            std::fs::set_permissions(dir.path().join(folder), PermissionsExt::from_mode(0o700)).unwrap();
        }
        let key = dir.path().join("main_key");
        std::fs::write(&key, sandbox.main_key().1.expose()).unwrap();
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
        let clock = Arc::new(Quick { real: SystemClock::new(), waited: Mutex::default() });
        let site = Self { dir, sandbox, clock, _judge: judge };
        std::fs::write(site.path("policy.toml"), site.text("")).unwrap();
        site
    }

    /// The same, where the parent and its new subaccounts enforce signed requests.
    pub(crate) async fn enforcing(faults: Faults) -> Self {
        Self::enforcing_seeded(1, faults).await
    }

    pub(crate) async fn enforcing_seeded(seed: u64, faults: Faults) -> Self {
        let site = Self::seeded(seed, Faults { subaccounts_inherit_pkcv: true, ..faults }).await;
        let vectors: Value = serde_json::from_str(include_str!("../vectors/pkcv.json")).unwrap();
        let text = |name: &str| vectors[name].as_str().unwrap().to_owned();
        let (now, parent) = (site.sandbox.world().now(), site.sandbox.account_sid().clone());
        let kid = {
            let mut world = site.sandbox.world().lock();
            assert!(world.enforce_signatures(&parent, true));
            world.register(now, &parent, Some("the parent's"), &text("rsa_public_key_spki_pem")).unwrap()
        };
        std::fs::write(site.path("private.pem"), text("rsa_private_key_pkcs8_pem")).unwrap();
        std::fs::set_permissions(site.path("private.pem"), PermissionsExt::from_mode(0o600)).unwrap();
        let file = site.path("private.pem");
        let pkcv = format!("pkcv = {{ public_key_sid = \"{kid}\", private_key_file = \"{}\" }}", file.display());
        std::fs::write(site.path("policy.toml"), site.text(&pkcv)).unwrap();
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, pkcv: &str) -> String {
        let (dir, url) = (self.dir.path().display(), self.sandbox.url());
        let (account, key) = (self.sandbox.account_sid(), self.sandbox.main_key().0);
        format!(
            r#"
[daemon]
instance = "test"
state = "sqlite://{dir}/journal.db"

[twilio]
account_sid = "{account}"
main_key_sid = "{key}"
main_key_secret_file = "{dir}/main_key"
base_url = "{url}"
{pkcv}

[sinks.one]
kind = "directory"
path = "{dir}/one"

[sinks.two]
kind = "directory"
path = "{dir}/two"

[timing]
settle = "1s"
allow_short = true

[subaccounts]
publish_to = [{{ sink = "one", name = "{{account_sid}}.json" }}, {{ sink = "two", name = "{{account_name}}.json" }}]
"#
        )
    }

    pub(crate) fn policy(&self) -> Policy {
        let text = std::fs::read_to_string(self.path("policy.toml")).unwrap();
        config::parse(&text, "policy.toml").map_err(|errors| errors.to_string()).unwrap().policy
    }

    /// Runs the making as the command does, until it ends or dies.
    pub(crate) async fn make(&self, death: &Death) -> Option<Result<Founded, Stopped>> {
        let policy = self.policy();
        let clock: Arc<dyn Clock> = self.clock.clone();
        let journal = AnyJournal::open(&policy.state, &policy.instance, Access::Daemon, clock.clone(), None);
        let journal = journal.await.unwrap();
        let twilio = TwilioClient::new(&policy.twilio, &secrets::read, Arc::new(SystemClock::new())).unwrap();
        let sink = |name: &str| -> (SinkName, Arc<dyn Sink>) {
            let door: Arc<dyn Sink> = Arc::new(Directory::new(self.path(name)));
            (SinkName::new(name).unwrap(), Arc::new(Mortal { inner: door, death: death.clone() }))
        };
        let sinks = BTreeMap::from([sink("one"), sink("two")]);
        let ledger = Mortal { inner: journal.ledger(), death: death.clone() };
        let landlord = Mortal { inner: Arc::new(twilio), death: death.clone() };
        let order = Order {
            name: SubaccountName::new(NAME).unwrap(),
            parent: policy.twilio.account.clone(),
            instance: policy.instance.clone(),
            places: policy.subaccounts.clone(),
            settle: policy.timing.settle,
            patience: Duration::from_secs(60),
        };
        let quiet = |_: &str| ();
        let work = async {
            let made = Foundation::new(&order, &ledger, &landlord, &sinks, &*clock, &quiet).await;
            match made {
                Ok(made) => made.run().await,
                Err(stopped) => Err(stopped),
            }
        };
        let ended = tokio::select! {
            biased;
            ended = work => Some(ended),
            () = death.came() => None,
        };
        drop((ledger, landlord, sinks));
        journal.close().await;
        ended
    }

    /// The same without a death.
    pub(crate) async fn finish(&self) -> Result<Founded, Stopped> {
        self.make(&Death::never()).await.unwrap()
    }

    /// The subaccount, if there is one.
    pub(crate) fn child(&self) -> Option<AccountSid> {
        let world = self.sandbox.world().lock();
        world.accounts().find(|account| account.parent.is_some()).map(|account| account.sid.clone())
    }

    /// Exactly one subaccount, called as it should be, with one API key and one public key, and both files hold them.
    pub(crate) fn check(&self, what: &str) {
        let child = self.child().unwrap();
        let files = [format!("one/{child}.json"), format!("two/{NAME}.json")];
        let held = files.map(|file| std::fs::read_to_string(self.path(&file)).unwrap());
        self.check_held(&held.map(|text| serde_json::from_str(&text).unwrap()), what);
        for folder in ["one", "two"] {
            let files = std::fs::read_dir(self.path(folder)).unwrap().map(|entry| entry.unwrap().file_name());
            let files: Vec<_> = files.filter(|name| !name.to_string_lossy().starts_with('.')).collect();
            assert_eq!(files.len(), 1, "{what}: {files:?}");
        }
    }

    /// The same of places that hold this.
    pub(crate) fn check_held(&self, held: &[Value], what: &str) {
        let faults = self.faults(held);
        assert!(faults.is_empty(), "{what}: {faults:#?}");
    }

    /// What is not as it should be, in words.
    pub(crate) fn faults(&self, held: &[Value]) -> Vec<String> {
        let parent = self.sandbox.account_sid();
        let world = self.sandbox.world().lock();
        let made: Vec<_> = world.accounts().filter(|account| account.parent.as_ref() == Some(parent)).collect();
        let names: Vec<_> = made.iter().map(|account| account.name.as_str()).collect();
        if names != [NAME] {
            return vec![format!("there are the subaccounts {names:?}")];
        }
        let child = &made[0].sid;
        let keys: Vec<_> = world.keys().filter(|key| key.account == *child && key.deleted.is_none()).collect();
        let public: Vec<_> = world.public_keys().filter(|key| key.account == *child && !key.deleted).collect();
        let ([key], [public]) = (&keys[..], &public[..]) else {
            return vec![format!("{} API keys and {} public keys live", keys.len(), public.len())];
        };
        let (mut faults, expected) = (
            Vec::new(),
            [
                ("accountSid", child.as_str()),
                ("apiKeySid", key.sid.as_str()),
                ("apiKeySecret", key.secret.expose()),
                ("publicKeySid", public.sid.as_str()),
            ],
        );
        for held in held {
            for (name, _) in expected.iter().filter(|(name, value)| held[*name] != *value) {
                faults.push(format!("a place holds another {name}"));
            }
            if held["privateKey"].as_str().map(public_half).as_ref() != Some(&public.der) {
                faults.push("the private key is that of another public key".to_owned());
            }
        }
        faults
    }
}

/// The public half of a private key in PEM, as X.509.
fn public_half(pem: &str) -> Vec<u8> {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::signature::KeyPair as _;
    use base64::Engine as _;
    let bare: String = pem.lines().filter(|line| !line.starts_with("---")).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(bare).unwrap();
    let pair = aws_lc_rs::rsa::KeyPair::from_pkcs8(&der).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    public.as_ref().to_vec()
}

#[tokio::test]
async fn a_subaccount_is_made_with_an_api_key_and_a_public_key_and_both_are_published() {
    let site = Site::enforcing(Faults { key_delay_ms: 50, ..Faults::default() }).await;
    let made = site.finish().await.unwrap();
    assert!(!made.before && made.remarks.is_empty(), "{made:?}");
    site.check("made");
    let again = site.finish().await.unwrap();
    assert_eq!((again.before, again.account), (true, made.account));
    site.check("asked for again");
}

#[tokio::test]
async fn where_signatures_are_not_enforced_the_public_key_can_not_be_proven_and_that_is_told() {
    let site = Site::new(Faults::default()).await;
    let made = site.finish().await.unwrap();
    site.check("made");
    let account = &made.account;
    let expected =
        format!("{account} does not enforce signed requests, so the API key is proven and the public key is not");
    assert_eq!(made.remarks, [expected]);
}

#[tokio::test]
async fn a_journal_that_is_moved_still_knows_its_subaccounts() {
    let site = Site::enforcing(Faults::default()).await;
    site.finish().await.unwrap();
    let (policy, clock) = (site.policy(), site.clock.clone());
    let open = |state: StateUrl, key| {
        let (instance, clock) = (policy.instance.clone(), clock.clone());
        async move { AnyJournal::open(&state, &instance, Access::Daemon, clock, key).await.unwrap() }
    };
    let journal = open(policy.state.clone(), None).await;
    let mut text = Vec::new();
    assert_eq!(transfer::export(&journal, &policy.instance, &mut text).await.unwrap().subaccounts, 1);
    let read = transfer::Text::read(&text[..], &policy.instance).unwrap();
    let other = open(StateUrl::Sqlite(site.path("other.db")), Some(read.label_key())).await;
    assert_eq!(read.import(&other).await.unwrap().subaccounts, 1);
    let (here, there) = (journal.ledger().makings().await.unwrap(), other.ledger().makings().await.unwrap());
    assert_eq!(here, there);
    assert_eq!(there[0].0.as_str(), NAME);
}

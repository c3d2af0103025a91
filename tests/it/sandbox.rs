//! The sandbox as its callers see it: over HTTP, and by Twilio's own SDKs.

mod control;
mod events;
mod faults;
mod refusals;
mod regions;
mod resources;
mod sdk;
mod tokens;
mod v1;

use crate::support::openapi::Judge;
use jiff::Timestamp;
use rekeyd::model::key::{AccountSid, KeySid};
use rekeyd::model::secret::Secret;
use rekeyd::sandbox::call::Operation;
use rekeyd::sandbox::{Fault, Faults, KeyKind, Line, NewKey, Options, Sandbox};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const PARENT: &str = "AC00000000000000000000000000000001";
const CHILD: &str = "AC00000000000000000000000000000002";

/// A running sandbox with a subaccount, a clock that stands still, and a client.
struct Bench {
    sandbox: Sandbox,
    http: Client,
    millis: Arc<AtomicI64>,
    main: Pair,
    pub(crate) judge: Judge,
}

/// What a caller authenticates with.
#[derive(Clone)]
struct Pair(String, String);

/// An answer that was read to its end.
struct Got {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Got {
    fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name}")).to_str().unwrap()
    }

    /// HTTP status and Twilio's code.
    fn refusal(&self) -> (u16, u64) {
        (self.status.as_u16(), self.body()["code"].as_u64().unwrap())
    }
}

impl Bench {
    /// In real time.
    async fn live(faults: Faults) -> Self {
        let options = Options {
            account_sid: Some(account(PARENT)),
            subaccounts: vec![account(CHILD)],
            faults,
            ..Options::default()
        };
        Self::with(options, Arc::default()).await
    }

    async fn new(faults: Faults) -> Self {
        let millis = Arc::new(AtomicI64::new(1_700_000_000_000));
        let hand = millis.clone();
        let options = Options {
            seed: Some(1),
            account_sid: Some(account(PARENT)),
            subaccounts: vec![account(CHILD)],
            faults,
            clock: Some(Arc::new(move || Timestamp::from_millisecond(hand.load(Ordering::SeqCst)).unwrap())),
            ..Options::default()
        };
        Self::with(options, millis).await
    }

    async fn with(options: Options, millis: Arc<AtomicI64>) -> Self {
        let judge = Judge::default();
        let options = Options { witness: judge.witness(), ..options };
        let sandbox = Sandbox::start(options).await.unwrap();
        let (sid, secret) = sandbox.main_key();
        let main = Pair(sid.to_string(), secret.expose().to_owned());
        Self { sandbox, http: client(), millis, main, judge }
    }

    fn pass(&self, millis: i64) {
        self.millis.fetch_add(millis, Ordering::SeqCst);
    }

    fn request(&self, method: Method, pair: &Pair, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.sandbox.url())).basic_auth(&pair.0, Some(&pair.1))
    }

    async fn get(&self, pair: &Pair, path: &str) -> Got {
        read(self.request(Method::GET, pair, path)).await
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Got {
        read(self.request(Method::POST, &self.main, path).form(form)).await
    }

    async fn delete(&self, path: &str) -> Got {
        read(self.request(Method::DELETE, &self.main, path)).await
    }

    /// A new key by API, as SID and secret.
    async fn create(&self, name: &str) -> Pair {
        let body = self.post(&keys(), &[("FriendlyName", name)]).await.body();
        Pair(body["sid"].as_str().unwrap().to_owned(), body["secret"].as_str().unwrap().to_owned())
    }

    fn by_hand(&self, owner: &str, kind: KeyKind) -> Pair {
        let now = self.sandbox.world().now();
        let mut world = self.sandbox.world().lock();
        let sid = world.make_by_hand(now, NewKey { account: account(owner), kind, name: None, pair: None });
        Pair(sid.to_string(), world.key(&sid).unwrap().secret.expose().to_owned())
    }

    fn token(&self, owner: &str) -> Pair {
        let token: Secret = self.sandbox.account_token(&account(owner)).unwrap();
        Pair(owner.to_owned(), token.expose().to_owned())
    }

    /// How many keys by API are alive.
    fn alive(&self) -> usize {
        let now = self.sandbox.world().now();
        let mut world = self.sandbox.world().lock();
        world.settle(now);
        world.keys().filter(|key| key.deleted.is_none() && key.made_by != "console").count()
    }
}

fn client() -> Client {
    Client::builder().no_proxy().retry(reqwest::retry::never()).build().unwrap()
}

async fn read(request: RequestBuilder) -> Got {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Got { status, headers, text: response.text().await.unwrap() }
}

fn account(sid: &str) -> AccountSid {
    AccountSid::new(sid).unwrap()
}

fn keys() -> String {
    format!("/2010-04-01/Accounts/{PARENT}/Keys.json")
}

fn key(sid: &str) -> String {
    format!("/2010-04-01/Accounts/{PARENT}/Keys/{sid}.json")
}

fn messages() -> String {
    format!("/2010-04-01/Accounts/{PARENT}/Messages.json?PageSize=1")
}

#[tokio::test]
async fn it_listens_on_loopback_and_nowhere_else() {
    for address in ["0.0.0.0:0", "192.0.2.1:9700", "[::]:0", "[::ffff:192.0.2.1]:0"] {
        let options = Options { listen: address.parse().unwrap(), ..Options::default() };
        let error = Sandbox::start(options).await.err().unwrap().to_string();
        assert!(error.starts_with("the sandbox listens on loopback only"), "{error}");
    }
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    assert!(sandbox.url().starts_with("http://127.0.0.1:"));
    let taken = Options { listen: sandbox.url()["http://".len()..].parse().unwrap(), ..Options::default() };
    assert!(Sandbox::start(taken).await.err().unwrap().to_string().starts_with("the sandbox cannot listen on"));
}

#[tokio::test]
async fn what_is_given_is_used_and_the_seed_decides_the_rest() {
    let sid = KeySid::new("SK00000000000000000000000000000009").unwrap();
    let given = || Options {
        seed: Some(7),
        account_sid: Some(account(PARENT)),
        main_key: Some((sid.clone(), Secret::new("chosen".into()))),
        subaccounts: vec![account(CHILD)],
        ..Options::default()
    };
    let (one, other) = (Sandbox::start(given()).await.unwrap(), Sandbox::start(given()).await.unwrap());
    assert_eq!((one.account_sid().as_str(), one.main_key().0, one.seed()), (PARENT, sid.clone(), 7));
    assert_eq!(one.main_key().1.expose(), "chosen");
    let token = |sandbox: &Sandbox| sandbox.account_token(&account(CHILD)).unwrap().expose().to_owned();
    assert_eq!(token(&one), token(&other));
    let (free, also_free) = (Sandbox::start(Options::default()).await.unwrap(), Sandbox::start(Options::default()));
    assert_ne!(free.account_sid(), also_free.await.unwrap().account_sid());
    let twice = Options { subaccounts: vec![account(PARENT)], ..given() };
    assert_eq!(Sandbox::start(twice).await.err().unwrap().to_string(), format!("the account {PARENT} is given twice"));
}

#[tokio::test]
async fn it_stops_at_once_when_idle_and_soon_when_a_call_hangs() {
    for (hangs, longest) in [(false, Duration::from_secs(1)), (true, Duration::from_secs(3))] {
        let bench = Bench::new(Faults::default()).await;
        let url = format!("{}{}", bench.sandbox.url(), keys());
        assert_eq!(bench.get(&bench.main, &keys()).await.status, StatusCode::OK);
        let hanging = bench.request(Method::GET, &bench.main, &keys());
        if hangs {
            bench
                .sandbox
                .world()
                .lock()
                .script
                .add([Line::next(Operation::ListKeys, Fault::SlowAnswer { ms: 60_000 })]);
            tokio::spawn(hanging.send());
            while bench.sandbox.world().lock().audit().count(Operation::ListKeys, 200) < 2 {
                tokio::task::yield_now().await;
            }
        }
        tokio::time::timeout(longest, bench.sandbox.stop()).await.unwrap();
        assert!(client().get(url).send().await.unwrap_err().is_connect());
    }
}

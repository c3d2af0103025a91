//! A consumer: reads the sink and calls Twilio with what it finds there, all the time, and remembers both.

use super::ground::Store;
use crate::support::emulator;
use crate::support::openbao::{self, Root};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rekeyd::model::document::{self, Members, Names};
use rekeyd::model::key::{AccountSid, KeySid};
use rekeyd::model::secret::Secret;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// A key that was read in the sink: from when to when the reading took.
#[derive(Debug, Clone)]
pub struct Read {
    pub sid: KeySid,
    pub from: Timestamp,
    pub to: Timestamp,
}

/// Where a consumer calls, and what with.
#[derive(Clone)]
pub struct Caller {
    /// Where the sandbox is.
    pub url: String,
    pub account: AccountSid,
    /// An API key and its secret, for who reads a key pair: that only signs.
    pub beside: Option<(String, String)>,
    /// How long it does nothing between two calls.
    pub pause: Duration,
}

/// What a consumer saw.
pub struct Watch {
    reads: Arc<Mutex<Vec<Read>>>,
    refusals: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Watch {
    pub fn start(caller: Caller, source: Source) -> Self {
        let (reads, refusals) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let task = tokio::spawn(consume(source, caller, reads.clone(), refusals.clone()));
        Self { reads, refusals, task }
    }

    pub fn reads(&self) -> Vec<Read> {
        self.reads.lock().unwrap().clone()
    }

    pub fn refusals(&self) -> Vec<String> {
        self.refusals.lock().unwrap().clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a place serves, by its name, and its secret, whichever kind that is.
pub fn served(value: &Value) -> Option<(KeySid, Secret)> {
    let before = vec![Members::of_key_pairs(), Members::of_tokens()];
    let (content, secret) = document::read(value.as_object()?, &Names { now: Members::default(), before });
    content.sid().cloned().zip(secret)
}

async fn consume(source: Source, caller: Caller, reads: Arc<Mutex<Vec<Read>>>, refusals: Arc<Mutex<Vec<String>>>) {
    let client = reqwest::Client::new();
    loop {
        tokio::time::sleep(caller.pause).await;
        let from = Timestamp::now();
        let Some(value) = source.read().await else { continue };
        let to = Timestamp::now();
        let Some((sid, secret)) = served(&value) else {
            // A place may be fenced before it ever served anything (docs/decisions/0005).
            if !reads.lock().unwrap().is_empty() {
                refusals.lock().unwrap().push("the sink serves no pair".to_owned());
            }
            continue;
        };
        reads.lock().unwrap().push(Read { sid: sid.clone(), from, to });
        let user = if sid.is_auth_token() { caller.account.as_str() } else { sid.as_str() };
        if let Ok(answer) = caller.call(&client, user, secret.expose()).send().await
            && answer.status() == 401
        {
            let said = answer.text().await.unwrap_or_default();
            refusals.lock().unwrap().push(format!("{sid} was refused: {said}"));
        }
    }
}

impl Caller {
    /// A request with a pair that was read: as user and password, or as what signs it.
    fn call(&self, client: &reqwest::Client, sid: &str, secret: &str) -> reqwest::RequestBuilder {
        let path = format!("/2010-04-01/Accounts/{}/Messages.json", self.account);
        if self.beside.is_some() {
            return self.signed(client, (sid, secret), ("GET", &path, "PageSize=1"));
        }
        client.get(format!("{}{path}?PageSize=1", self.url)).basic_auth(sid, Some(secret))
    }

    /// A request of the key that is beside, signed with this pair.
    pub fn signed(
        &self,
        client: &reqwest::Client,
        pair: (&str, &str),
        (method, path, query): (&str, &str, &str),
    ) -> reqwest::RequestBuilder {
        let (user, password) = self.beside.as_ref().unwrap();
        let authorization = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let host = self.url.trim_start_matches("http://");
        let signed =
            format!("{method}\n{path}\n{query}\nauthorization:{authorization}\nhost:{host}\n\nauthorization;host\n");
        let question = if query.is_empty() { "" } else { "?" };
        let request = client.request(method.parse().unwrap(), format!("{}{path}{question}{query}", self.url));
        let request = request.header("authorization", authorization).header("host", host);
        request.header("twilio-client-validation", self.token(pair, &signed))
    }

    /// The token beside such a request, made without anything of the daemon's (Twilio docs, "Public Key Client Validation").
    fn token(&self, (sid, private_key): (&str, &str), signed: &str) -> String {
        let (user, _) = self.beside.as_ref().unwrap();
        let hash: String = digest(&SHA256, signed.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
        let now = Timestamp::now().as_second();
        let claims = json!({ "iss": user, "sub": self.account.as_str(), "nbf": now - 10, "exp": now + 200,
            "hrh": "authorization;host", "rqh": hash });
        let mut header = Header::new(Algorithm::RS256);
        (header.cty, header.kid) = (Some("twilio-pkrv;v=1".to_owned()), Some(sid.to_owned()));
        let key = EncodingKey::from_rsa_pem(private_key.as_bytes());
        // What can not be read can not sign, and is refused for that.
        key.and_then(|key| jsonwebtoken::encode(&header, &claims, &key)).unwrap_or_default()
    }
}

/// Where a consumer reads.
pub enum Source {
    Vault(Root, String),
    Aws(Box<aws_sdk_secretsmanager::Client>, String),
}

impl Source {
    pub fn new(store: Store, at: &str) -> Self {
        match store {
            Store::Vault => Source::Vault(Root::new(openbao::shared()), format!("secret/data/{at}")),
            Store::Aws => {
                let config = emulator::config(&emulator::shared().url(), "GOOD");
                Source::Aws(Box::new(aws_sdk_secretsmanager::Client::new(&config)), at.to_owned())
            }
        }
    }

    /// Writes a value that was not there, as a person would.
    pub async fn write(&self, value: &Value) {
        match self {
            Source::Vault(root, path) => drop(root.call("POST", path, json!({ "data": value })).await),
            Source::Aws(client, name) => {
                drop(client.create_secret().name(name).secret_string(value.to_string()).send().await.unwrap());
            }
        }
    }

    /// What is served now.
    pub async fn read(&self) -> Option<Value> {
        match self {
            Source::Vault(root, path) => {
                let (status, text) = root.send("GET", path, String::new()).await;
                let answer: Value = serde_json::from_str(&text).ok()?;
                (status == 200).then(|| answer["data"]["data"].clone())
            }
            Source::Aws(client, name) => {
                let answer = client.get_secret_value().secret_id(name).version_stage("AWSCURRENT").send().await.ok()?;
                serde_json::from_str(&answer.secret_string?).ok()
            }
        }
    }
}

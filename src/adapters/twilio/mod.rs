//! Twilio's REST API 2010-04-01 behind the `Issuer` port.
//!
//! Every operation goes the same way: `call` sends one request, `answer` says what the answer means by one set of
//! rules, and `keys`, `accounts` and `probe` add what is special about their resource. Facts cited as "Twilio docs"
//! were read in Twilio's documentation and OpenAPI document in 2026; the rest is marked as observed or assumed.

mod accounts;
mod admin;
mod answer;
mod auth_tokens;
mod call;
mod key_pair;
mod keys;
mod pages;
mod pair;
mod pkcv;
mod probe;
mod public_keys;
mod reach;
mod restricted;
mod subaccounts;

use super::http::{self, Deadlines};
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::fleet::Listed;
use crate::model::home::Home;
use crate::model::key::{AccountSid, KeyFacts, KeySid, Label};
use crate::model::permission::Granted;
use crate::model::policy::TwilioPolicy;
use crate::model::secret::Secret;
use crate::ports::{Clock, Issuer, Make, NewKey, Standing, TokenPlace, Tokens, Verdict};
use async_trait::async_trait;
use jiff::Timestamp;
pub use key_pair::key_pair;
pub use pkcv::SignerError;
use reach::{Reach, Reaches};
pub use reach::{Read, TwilioError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use url::Url;

/// Twilio: each account, managed with what the policy says.
pub struct TwilioClient {
    reaches: Reaches,
    /// Where public keys are listed too.
    key_pairs: BTreeSet<Home>,
    /// The keys that manage others, what signs their calls, and where they live.
    roots: BTreeMap<KeySid, Home>,
    clock: Arc<dyn Clock>,
    date: Mutex<Option<(Timestamp, Duration)>>,
}

impl TwilioClient {
    /// Makes the client; nothing is sent yet.
    pub fn new(policy: &TwilioPolicy, read: Read<'_>, clock: Arc<dyn Clock>) -> Result<Self, TwilioError> {
        Self::with_deadlines(policy, read, clock, Deadlines::default())
    }

    /// The same with other deadlines, for tests that wait for one to pass.
    pub fn with_deadlines(
        policy: &TwilioPolicy,
        read: Read<'_>,
        clock: Arc<dyn Clock>,
        deadlines: Deadlines,
    ) -> Result<Self, TwilioError> {
        let reaches = Reaches::new(policy, read, deadlines)?;
        let (roots, key_pairs) = (reaches.roots(), policy.key_pairs.clone());
        Ok(Self { reaches, key_pairs, roots, clock, date: Mutex::default() })
    }

    /// Every account that the main one may see: itself, and its subaccounts.
    pub async fn accounts(&self) -> Outcome<Vec<Listed>> {
        http::outcome(self.list_accounts().await)
    }

    /// Every key that lives there; the public keys too, where some of them are rotated.
    async fn list_all(&self, home: &Home) -> Result<Vec<KeyFacts>, http::Miss> {
        let mut keys = self.list_keys(home).await?;
        if self.key_pairs.contains(home) {
            keys.extend(self.list_public_keys(home).await?);
        }
        Ok(keys)
    }

    /// Whether what manages the keys of an account works where any key does: one that may not manage keys is told from one
    /// that is wrong.
    pub async fn works(&self, home: &Home) -> Outcome<Verdict> {
        http::outcome(match self.reach(home) {
            Ok(reach) => self.probe_pair(home, reach.admin()).await,
            Err(miss) => Err(miss),
        })
    }

    /// The last door before the wire (protocol, S11): the decision was checked long before.
    fn spare_roots(&self, sid: &KeySid) -> Result<(), http::Miss> {
        let root = "this is the Main key, or what signs its calls, which is never deleted";
        match sid.may_be_among(self.roots.keys()) {
            true => Err(http::Miss::NotDone(Failure::new(Fault::Refused, root))),
            false => Ok(()),
        }
    }

    /// The way to the keys that live there. There is none by what belongs to another region: it would be refused there.
    fn reach(&self, home: &Home) -> Result<&Reach, http::Miss> {
        let unnamed = || Failure::new(Fault::Local, &format!("nothing is named that manages the keys of {home}"));
        self.reaches.to(home).ok_or_else(|| http::Miss::NotDone(unnamed()))
    }

    /// The way to the main account, where its keys live if nothing else is said.
    fn usual(&self) -> &Reach {
        self.reaches.usual()
    }

    /// The way to the keys of an account where they live if nothing else is said.
    fn usual_of(&self, account: &AccountSid) -> Result<&Reach, http::Miss> {
        self.reach(&self.reaches.home(account))
    }
}

#[async_trait]
impl Tokens for TwilioClient {
    async fn token_place(&self, home: &Home, token: &Secret) -> Outcome<TokenPlace> {
        http::outcome(self.place_of_token(home, token).await)
    }

    async fn promote(&self, home: &Home, token: &Secret, quiet: bool) -> Outcome<()> {
        http::outcome(self.promote_token(home, token, quiet).await)
    }

    async fn discard(&self, home: &Home, served: Option<&Secret>, quiet: bool) -> Outcome<()> {
        http::outcome(self.discard_token(home, served, quiet).await)
    }
}

#[async_trait]
impl Issuer for TwilioClient {
    async fn create(&self, home: &Home, label: &Label, make: Make<'_>) -> Outcome<NewKey> {
        let name = label.to_string();
        http::outcome(match make {
            Make::Standard => self.create_key(home, &name).await,
            Make::Restricted(permissions) => self.create_restricted_key(home, &name, permissions).await,
            Make::KeyPair => self.create_key_pair(home, &name).await,
            Make::AuthToken { served, quiet } => self.create_token(home, label, served, quiet).await,
        })
    }

    async fn permissions(&self, home: &Home, sid: &KeySid) -> Outcome<Granted> {
        http::outcome(self.fetch_permissions(home, sid).await)
    }

    async fn list(&self, home: &Home) -> Outcome<Vec<KeyFacts>> {
        http::outcome(self.list_all(home).await)
    }

    async fn fetch(&self, home: &Home, sid: &KeySid) -> Outcome<Option<KeyFacts>> {
        http::outcome(match sid.is_public_key() {
            _ if sid.is_auth_token() => Err(auth_tokens::nameless()),
            false => self.fetch_key(home, sid).await,
            true => self.fetch_public_key(home, sid).await,
        })
    }

    async fn delete(&self, home: &Home, sid: &KeySid) -> Outcome<()> {
        http::outcome(match sid.is_public_key() {
            _ if sid.is_auth_token() => Err(auth_tokens::nameless()),
            false => self.delete_key(home, sid).await,
            true => self.delete_public_key(home, sid).await,
        })
    }

    async fn probe(&self, home: &Home, sid: &KeySid, secret: &Secret, at: Option<&Url>) -> Outcome<Verdict> {
        if sid.is_public_key() {
            return http::outcome(self.probe_key_pair(home, sid, secret).await);
        }
        if sid.is_auth_token() {
            return http::outcome(self.probe_pair(home, auth_tokens::token_of(&home.account, secret)).await);
        }
        let pair = self.reach(home).map(|reach| reach.consumer(&home.account, sid, secret));
        http::outcome(match (pair, at) {
            (Err(miss), _) => Err(miss),
            (Ok(pair), None) => self.probe_pair(home, pair).await,
            (Ok(pair), Some(url)) => self.probe_at(home, pair, url).await,
        })
    }

    async fn standing(&self, home: &Home) -> Outcome<Standing> {
        http::outcome(self.fetch_standing(home).await)
    }

    fn roots(&self) -> BTreeMap<KeySid, Home> {
        self.roots.clone()
    }

    fn date(&self) -> Option<(Timestamp, Duration)> {
        *self.date.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

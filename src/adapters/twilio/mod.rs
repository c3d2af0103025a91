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
use crate::model::key::{AccountSid, KeyFacts, KeySid, Label};
use crate::model::permission::Granted;
use crate::model::policy::TwilioPolicy;
use crate::model::secret::Secret;
use crate::ports::{Clock, Issuer, Make, NewKey, Standing, TokenPlace, Tokens, Verdict};
use async_trait::async_trait;
use jiff::Timestamp;
pub use key_pair::key_pair;
pub use pkcv::SignerError;
use reach::Reach;
pub use reach::{Read, TwilioError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use url::Url;

/// Twilio: each account, managed with what the policy says.
pub struct TwilioClient {
    usual: Reach,
    accounts: BTreeMap<AccountSid, Reach>,
    /// Whose public keys are listed too.
    key_pairs: BTreeSet<AccountSid>,
    /// The keys that manage others, what signs their calls, and whose they are.
    roots: BTreeMap<KeySid, AccountSid>,
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
        let (usual, accounts) = reach::reaches(policy, read, deadlines)?;
        let roots = accounts.values().chain([&usual]).flat_map(Reach::roots).collect();
        let key_pairs = policy.key_pairs.clone();
        Ok(Self { usual, accounts, key_pairs, roots, clock, date: Mutex::default() })
    }

    /// Every account that the main one may see: itself, and its subaccounts.
    pub async fn accounts(&self) -> Outcome<Vec<Listed>> {
        http::outcome(self.list_accounts().await)
    }

    /// Every key of the account; its public keys too, where some of them are rotated.
    async fn list_all(&self, account: &AccountSid) -> Result<Vec<KeyFacts>, http::Miss> {
        let mut keys = self.list_keys(account).await?;
        if self.key_pairs.contains(account) {
            keys.extend(self.list_public_keys(account).await?);
        }
        Ok(keys)
    }

    /// Whether what manages the keys of an account works where any key does: one that may not manage keys is told from one
    /// that is wrong.
    pub async fn works(&self, account: &AccountSid) -> Outcome<Verdict> {
        http::outcome(self.probe_pair(account, self.reach(account).admin()).await)
    }

    /// The last door before the wire (protocol, S11): the decision was checked long before.
    fn spare_roots(&self, sid: &KeySid) -> Result<(), http::Miss> {
        let root = "this is the Main key, or what signs its calls, which is never deleted";
        match sid.may_be_among(self.roots.keys()) {
            true => Err(http::Miss::NotDone(Failure::new(Fault::Refused, root))),
            false => Ok(()),
        }
    }

    /// How an account is reached.
    fn reach(&self, account: &AccountSid) -> &Reach {
        self.accounts.get(account).unwrap_or(&self.usual)
    }
}

#[async_trait]
impl Tokens for TwilioClient {
    async fn token_place(&self, account: &AccountSid, token: &Secret) -> Outcome<TokenPlace> {
        http::outcome(self.place_of_token(account, token).await)
    }

    async fn promote(&self, account: &AccountSid, token: &Secret, quiet: bool) -> Outcome<()> {
        http::outcome(self.promote_token(account, token, quiet).await)
    }

    async fn discard(&self, account: &AccountSid, served: Option<&Secret>, quiet: bool) -> Outcome<()> {
        http::outcome(self.discard_token(account, served, quiet).await)
    }
}

#[async_trait]
impl Issuer for TwilioClient {
    async fn create(&self, account: &AccountSid, label: &Label, make: Make<'_>) -> Outcome<NewKey> {
        let name = label.to_string();
        http::outcome(match make {
            Make::Standard => self.create_key(account, &name).await,
            Make::Restricted(permissions) => self.create_restricted_key(account, &name, permissions).await,
            Make::KeyPair => self.create_key_pair(account, &name).await,
            Make::AuthToken { served, quiet } => self.create_token(account, label, served, quiet).await,
        })
    }

    async fn permissions(&self, account: &AccountSid, sid: &KeySid) -> Outcome<Granted> {
        http::outcome(self.fetch_permissions(account, sid).await)
    }

    async fn list(&self, account: &AccountSid) -> Outcome<Vec<KeyFacts>> {
        http::outcome(self.list_all(account).await)
    }

    async fn fetch(&self, account: &AccountSid, sid: &KeySid) -> Outcome<Option<KeyFacts>> {
        http::outcome(match sid.is_public_key() {
            _ if sid.is_auth_token() => Err(auth_tokens::nameless()),
            false => self.fetch_key(account, sid).await,
            true => self.fetch_public_key(account, sid).await,
        })
    }

    async fn delete(&self, account: &AccountSid, sid: &KeySid) -> Outcome<()> {
        http::outcome(match sid.is_public_key() {
            _ if sid.is_auth_token() => Err(auth_tokens::nameless()),
            false => self.delete_key(account, sid).await,
            true => self.delete_public_key(account, sid).await,
        })
    }

    async fn probe(&self, account: &AccountSid, sid: &KeySid, secret: &Secret, at: Option<&Url>) -> Outcome<Verdict> {
        if sid.is_public_key() {
            return http::outcome(self.probe_key_pair(account, sid, secret).await);
        }
        if sid.is_auth_token() {
            return http::outcome(self.probe_pair(account, auth_tokens::token_of(account, secret)).await);
        }
        let pair = self.reach(account).consumer(account, sid, secret);
        http::outcome(match at {
            None => self.probe_pair(account, pair).await,
            Some(url) => self.probe_at(account, pair, url).await,
        })
    }

    async fn standing(&self, account: &AccountSid) -> Outcome<Standing> {
        http::outcome(self.fetch_standing(account).await)
    }

    fn roots(&self) -> BTreeMap<KeySid, AccountSid> {
        self.roots.clone()
    }

    fn date(&self) -> Option<(Timestamp, Duration)> {
        *self.date.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

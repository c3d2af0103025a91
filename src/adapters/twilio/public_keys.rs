//! Key pairs: the public half at Twilio, the private half made here (Twilio docs, "CredentialPublicKey resource" and "Public
//! Key Client Validation").
//!
//! The resource belongs to the account that calls it, and has no account in its path. So it is called only with a key of
//! the very account that the pair is for.

use super::TwilioClient;
use super::answer::Answer;
use super::call::parse_date;
use super::key_pair::key_pair;
use super::pair::Pair;
use super::pkcv::Signer;
use super::probe::{RESOURCES, accepted};
use super::reach::Reach;
use crate::adapters::http::Miss;
use crate::adapters::json::Object;
use crate::model::fault::{Failure, Fault};
use crate::model::home::Home;
use crate::model::key::{AccountSid, KeyFacts, KeySid, PublicKeySid};
use crate::model::secret::Secret;
use crate::ports::{KeyPair, NewKey, Verdict};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};
use std::collections::BTreeMap;
use url::Url;

pub(super) const PRODUCT: &str = "accounts";
const PATH: [&str; 3] = ["v1", "Credentials", "PublicKeys"];

/// Twilio does not know the public key, or can not read it, or the signature is none of its (Twilio docs, errors 70153, 70154
/// and 20159).
const NOT_THIS_PAIR: [u32; 3] = [70_153, 70_154, 20_159];
/// A signature was sent, and the account does not ask for any (Twilio docs, error 70053).
pub(super) const NOT_SIGNED: u32 = 70_053;

/// A public key as Twilio shows it. It is never shown itself.
#[derive(Deserialize)]
pub(super) struct Shown {
    pub(super) sid: KeySid,
    pub(super) account_sid: Option<AccountSid>,
    pub(super) friendly_name: Option<String>,
    #[serde(deserialize_with = "date")]
    date_created: Timestamp,
}

/// One page of the list. The newer APIs tell of the next one beside it.
#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) credentials: Vec<Object<Shown>>,
    pub(super) meta: Object<Meta>,
}

#[derive(Deserialize)]
pub(super) struct Meta {
    pub(super) next_page_url: Option<String>,
}

/// Twilio's document says ISO 8601 by its form and RFC 2822 in words.
pub(super) fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().ok().or_else(|| parse_date(&text)).ok_or_else(|| de::Error::custom("not a date"))
}

impl From<Shown> for KeyFacts {
    fn from(key: Shown) -> Self {
        KeyFacts { sid: key.sid, label: key.friendly_name, created_at: key.date_created }
    }
}

impl TwilioClient {
    /// Makes a key pair and registers its public half, with exactly one POST.
    pub(super) async fn create_key_pair(&self, home: &Home, label: &str) -> Result<NewKey, Miss> {
        let reach = self.own_reach(home)?;
        // Looking for two large primes takes a good part of a second.
        let made = tokio::task::spawn_blocking(key_pair).await.ok().flatten();
        let unmade = || Miss::NotDone(Failure::new(Fault::Local, "no key pair could be made"));
        let KeyPair { public, private } = made.ok_or_else(unmade)?;
        let form = [("FriendlyName", label), ("PublicKey", &public)];
        let answer = self.call(reach, reach.fresh.post(address(reach, None)).form(&form), reach.admin()).await?;
        let key: Shown = answer.parse(&[201, 200], "a new public key")?;
        if key.friendly_name.as_deref() != Some(label) {
            return Err(answer.malformed("the new public key has another name than was asked for"));
        }
        if key.sid.may_be_among(self.roots.keys()) {
            return Err(answer.malformed("the new public key is said to be the one that signs requests"));
        }
        fits(&answer, &key, &home.account)?;
        Ok(NewKey { facts: key.into(), secret: private })
    }

    /// All pages, each key once.
    pub(super) async fn list_public_keys(&self, home: &Home) -> Result<Vec<KeyFacts>, Miss> {
        let reach = self.own_reach(home)?;
        let mut keys = BTreeMap::new();
        let read = |answer: &Answer<'_>| {
            let Page { credentials, meta: Object(meta) } = answer.parse(&[200], "a page of public keys")?;
            // A parent may be shown those of its subaccounts; Twilio's documents do not say.
            let own = |Object(key): &Object<Shown>| key.account_sid.as_ref().is_none_or(|told| *told == home.account);
            let credentials: Vec<_> = credentials.into_iter().filter(own).collect();
            credentials.iter().try_for_each(|Object(key)| fits(answer, key, &home.account))?;
            keys.extend(credentials.into_iter().map(|Object(key)| (key.sid.clone(), KeyFacts::from(key))));
            Ok(meta.next_page_url)
        };
        self.pages(reach, address(reach, None), read).await?;
        Ok(keys.into_values().collect())
    }

    /// Whether the public key exists now.
    pub(super) async fn fetch_public_key(&self, home: &Home, sid: &KeySid) -> Result<Option<KeyFacts>, Miss> {
        let reach = self.own_reach(home)?;
        let answer = self.call(reach, reach.kept.get(address(reach, Some(sid))), reach.admin()).await?;
        if answer.says_gone() {
            return Ok(None);
        }
        let key: Shown = answer.parse(&[200], "a public key")?;
        if key.sid != *sid {
            return Err(answer.malformed("it shows another key"));
        }
        fits(&answer, &key, &home.account)?;
        Ok(Some(key.into()))
    }

    /// Deletes a public key; one that does not exist counts as deleted.
    pub(super) async fn delete_public_key(&self, home: &Home, sid: &KeySid) -> Result<(), Miss> {
        let reach = self.own_reach(home)?;
        self.remove_public_key(reach, sid).await
    }

    /// As who registered it: the parent, for a subaccount that is being made.
    pub(super) async fn remove_public_key(&self, reach: &Reach, sid: &KeySid) -> Result<(), Miss> {
        self.spare_roots(sid)?;
        let answer = self.call(reach, reach.kept.delete(address(reach, Some(sid))), reach.admin()).await?;
        if answer.succeeded() || answer.says_gone() { Ok(()) } else { Err(answer.miss()) }
    }

    /// Sends an ordinary request that is signed with the pair, as a consumer would. The key beside it is the one that
    /// manages the account's keys: a refusal of that says nothing of the pair.
    pub(super) async fn probe_key_pair(&self, home: &Home, sid: &KeySid, private: &Secret) -> Result<Verdict, Miss> {
        let reach = self.own_reach(home)?;
        let signer = PublicKeySid::new(sid.as_str()).ok();
        let signer = signer.and_then(|public| Signer::new(&public, reach.algorithm, private).ok());
        let Some(signer) = &signer else { return Ok(Verdict::Refused) };
        let pair = Pair { signer: Some(signer), ..reach.admin() };
        verdict(&self.ask(home, RESOURCES[0], pair).await?)
    }

    /// The way there, if what manages it is an API key of its own.
    fn own_reach(&self, home: &Home) -> Result<&Reach, Miss> {
        let reach = self.reach(home)?;
        let foreign =
            "key pairs are managed with an API key of their own account, and here is another, or an auth token";
        reach
            .is_own_key_of(&home.account)
            .then_some(reach)
            .ok_or_else(|| Miss::NotDone(Failure::new(Fault::Refused, foreign)))
    }
}

fn verdict(answer: &Answer<'_>) -> Result<Verdict, Miss> {
    if answer.succeeded() {
        return accepted(answer).map(|()| Verdict::Works);
    }
    match answer.complaint() {
        Some(complaint) if NOT_THIS_PAIR.contains(&complaint.code) => Ok(Verdict::Refused),
        Some(complaint) if complaint.code == NOT_SIGNED => {
            let detail = "70053: the account does not take signed requests, so no key pair can be proven";
            Err(Miss::NotDone(Failure::new(Fault::Refused, detail)))
        }
        _ => Err(answer.miss()),
    }
}

/// It need not say whose it is; if it does, it must be who was asked about.
fn fits(answer: &Answer<'_>, key: &Shown, account: &AccountSid) -> Result<(), Miss> {
    match () {
        () if !key.sid.is_public_key() => Err(answer.malformed("it is no public key")),
        () if key.account_sid.as_ref().is_some_and(|told| told != account) => {
            Err(answer.malformed("a public key is said to be of another account"))
        }
        () => Ok(()),
    }
}

/// An address of `accounts.twilio.com`.
pub(super) fn address(reach: &Reach, sid: Option<&KeySid>) -> Url {
    let path: Vec<_> = PATH.into_iter().chain(sid.map(KeySid::as_str)).collect();
    reach.product(PRODUCT, &path)
}

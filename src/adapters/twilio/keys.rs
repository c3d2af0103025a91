//! The keys of an account: create, list, fetch, delete (Twilio docs, "REST API: API Keys", version 2010-04-01).

use super::TwilioClient;
use super::answer::Answer;
use super::call::parse_date;
use super::pair::usable;
use super::reach::Reach;
use crate::adapters::http::Miss;
use crate::adapters::json::Object;
use crate::model::home::Home;
use crate::model::key::{AccountSid, KeyFacts, KeySid};
use crate::model::secret::Secret;
use crate::ports::NewKey;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};
use std::collections::BTreeMap;
use url::Url;

/// A key as Twilio shows it. It need not say whose it is; if it does, it must be who was asked about.
#[derive(Deserialize)]
struct Shown {
    sid: KeySid,
    account_sid: Option<AccountSid>,
    friendly_name: Option<String>,
    #[serde(deserialize_with = "date")]
    date_created: Timestamp,
}

/// A key as Twilio shows it once. The secret is borrowed from the body, which is wiped; that also refuses one that is
/// written with escapes, and none of letters and digits needs any.
#[derive(Deserialize)]
pub(super) struct Created<'a> {
    sid: KeySid,
    account_sid: Option<AccountSid>,
    friendly_name: Option<String>,
    #[serde(deserialize_with = "date")]
    date_created: Timestamp,
    secret: Option<&'a str>,
}

/// One page of the list. Its other members only describe the page.
#[derive(Deserialize)]
struct Page {
    keys: Vec<Object<Shown>>,
    next_page_uri: Option<String>,
}

pub(super) fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_date(&text).ok_or_else(|| de::Error::custom("not a date"))
}

impl From<Shown> for KeyFacts {
    fn from(key: Shown) -> Self {
        KeyFacts { sid: key.sid, label: key.friendly_name, created_at: key.date_created }
    }
}

impl TwilioClient {
    /// Sends exactly one POST, on a connection of its own.
    pub(super) async fn create_key(&self, home: &Home, label: &str) -> Result<NewKey, Miss> {
        let reach = self.reach(home)?;
        let request = reach.fresh.post(reach.address(&home.account, ["Keys.json"])).form(&[("FriendlyName", label)]);
        let answer = self.call(reach, request, reach.admin()).await?;
        let key: Created<'_> = answer.parse(&[201, 200], "a new key")?;
        self.accept(&answer, key, &home.account, label)
    }

    /// A new key must be what was asked for; otherwise nobody knows what was made.
    pub(super) fn accept(
        &self,
        answer: &Answer<'_>,
        key: Created<'_>,
        account: &AccountSid,
        label: &str,
    ) -> Result<NewKey, Miss> {
        if key.friendly_name.as_deref() != Some(label) {
            return Err(answer.malformed("the new key has another name than was asked for"));
        }
        if !key.sid.is_api_key() {
            return Err(answer.malformed("the new key is said to be no API key"));
        }
        if key.sid.may_be_among(self.roots.keys()) {
            return Err(answer.malformed("the new key is said to be the Main key"));
        }
        if is_foreign(key.account_sid.as_ref(), account) {
            return Err(answer.malformed("the new key is said to be of another account"));
        }
        let secret = key.secret.filter(usable).ok_or_else(|| answer.malformed("the new key has no usable secret"))?;
        let facts = KeyFacts { sid: key.sid, label: key.friendly_name, created_at: key.date_created };
        Ok(NewKey { facts, secret: Secret::new(secret.to_owned()) })
    }

    /// All pages, each key once: a key that moves while pages are read may be seen twice, or not at all.
    pub(super) async fn list_keys(&self, home: &Home) -> Result<Vec<KeyFacts>, Miss> {
        let reach = self.reach(home)?;
        let mut keys = BTreeMap::new();
        let read = |answer: &Answer<'_>| {
            let page: Page = answer.parse(&[200], "a page of keys")?;
            if page.keys.iter().any(|Object(key)| is_foreign(key.account_sid.as_ref(), &home.account)) {
                return Err(answer.malformed("the list holds a key of another account"));
            }
            keys.extend(page.keys.into_iter().map(|Object(key)| (key.sid.clone(), KeyFacts::from(key))));
            Ok(page.next_page_uri)
        };
        self.pages(reach, reach.address(&home.account, ["Keys.json"]), read).await?;
        Ok(keys.into_values().collect())
    }

    /// The one read that is a fact: whether the key exists now.
    pub(super) async fn fetch_key(&self, home: &Home, sid: &KeySid) -> Result<Option<KeyFacts>, Miss> {
        let reach = self.reach(home)?;
        let request = reach.kept.get(key(reach, &home.account, sid));
        let answer = self.call(reach, request, reach.admin()).await?;
        if answer.says_gone() {
            return Ok(None);
        }
        let key: Shown = answer.parse(&[200], "a key")?;
        match key {
            key if key.sid != *sid => Err(answer.malformed("it shows another key")),
            key if is_foreign(key.account_sid.as_ref(), &home.account) => {
                Err(answer.malformed("it is of another account"))
            }
            key => Ok(Some(key.into())),
        }
    }

    /// Deletes through the path of the account, so that a wrong account cannot be hit (protocol, b.4).
    pub(super) async fn delete_key(&self, home: &Home, sid: &KeySid) -> Result<(), Miss> {
        self.spare_roots(sid)?;
        let reach = self.reach(home)?;
        let request = reach.kept.delete(key(reach, &home.account, sid));
        let answer = self.call(reach, request, reach.admin()).await?;
        if answer.succeeded() || answer.says_gone() { Ok(()) } else { Err(answer.miss()) }
    }
}

fn key(reach: &Reach, account: &AccountSid, sid: &KeySid) -> Url {
    reach.address(account, ["Keys", &format!("{sid}.json")])
}

fn is_foreign(told: Option<&AccountSid>, account: &AccountSid) -> bool {
    told.is_some_and(|told| told != account)
}

//! Restricted keys: made, and looked at, through IAM version 1 (Twilio docs, "Key resource v1"). Everything else that can be
//! done to them is done as to any key: they are listed, fetched and deleted with the others.

use super::TwilioClient;
use super::keys::Created;
use crate::adapters::http::Miss;
use crate::adapters::json::Object;
use crate::model::home::Home;
use crate::model::key::KeySid;
use crate::model::permission::{Granted, Permission, Permissions};
use crate::ports::NewKey;
use serde::Deserialize;
use serde_json::json;

/// A key with what it may do; nothing is told of ordinary keys.
#[derive(Deserialize)]
struct Shown {
    sid: KeySid,
    policy: Option<Object<Policy>>,
}

/// Twilio's own form: `{"allow": ["/twilio/…"]}`.
#[derive(Deserialize)]
struct Policy {
    allow: Option<Vec<String>>,
}

impl TwilioClient {
    /// Sends exactly one POST, on a connection of its own.
    pub(super) async fn create_restricted_key(
        &self,
        home: &Home,
        label: &str,
        permissions: &Permissions,
    ) -> Result<NewKey, Miss> {
        let reach = self.reach(home)?;
        let policy = json!({ "allow": permissions }).to_string();
        let form = [
            ("AccountSid", home.account.as_str()),
            ("FriendlyName", label),
            ("KeyType", "restricted"),
            ("Policy", policy.as_str()),
        ];
        let request = reach.fresh.post(reach.product("iam", &["v1", "Keys"])).form(&form);
        let answer = self.call(reach, request, reach.admin()).await?;
        let key: Created<'_> = answer.parse(&[201, 200], "a new key")?;
        self.accept(&answer, key, &home.account, label)
    }

    /// What a key may do. The account is named, as other clients do, so that a key of another one is none.
    pub(super) async fn fetch_permissions(&self, home: &Home, sid: &KeySid) -> Result<Granted, Miss> {
        let reach = self.reach(home)?;
        let mut url = reach.product("iam", &["v1", "Keys", sid.as_str()]);
        url.query_pairs_mut().append_pair("AccountSid", home.account.as_str());
        let answer = self.call(reach, reach.kept.get(url), reach.admin()).await?;
        if answer.says_gone() {
            return Ok(Granted::Gone);
        }
        let key: Shown = answer.parse(&[200], "a key with its policy")?;
        if key.sid != *sid {
            return Err(answer.malformed("it shows another key"));
        }
        let Some(allow) = key.policy.and_then(|Object(policy)| policy.allow) else { return Ok(Granted::Everything) };
        let read: Result<Permissions, _> = allow.iter().map(|text| Permission::new(text).map_err(|_| text)).collect();
        // A word that is not known here is no reason to doubt the answer.
        Ok(read.map_or_else(|word| Granted::Unknown(word.chars().take(128).collect()), Granted::Only))
    }
}

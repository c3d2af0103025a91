//! What the members of the published object are called.

use super::reader::{Field, Table};
use crate::model::document::{Beside, Members};
use crate::model::policy::KeyKind;
use std::collections::BTreeSet;

const API_KEYS: &str = "{ accountSid = \"…\", apiKeySid = \"…\", apiKeySecret = \"…\", rekeyd = \"…\" }";
const TOKENS: &str = "{ accountSid = \"…\", authToken = \"…\", rekeyd = \"…\" }";
const KEY_PAIRS: &str = "{ accountSid = \"…\", publicKeySid = \"…\", privateKey = \"…\", rekeyd = \"…\" }";

/// Reads what is said for all credentials, which is said of API keys.
pub(super) fn of_api_keys(field: Field<'_>) -> Option<Members> {
    members(field, API_KEYS, Some("apiKeySid"), "apiKeySecret", Some(Members::default()))
}

/// Reads what is said for one credential; what is left out comes from the defaults. The two members that only a key pair has
/// have no other default than their own.
pub(super) fn of_kind(table: &Table<'_>, defaults: Option<&Members>, kind: &KeyKind) -> Option<Members> {
    let with = |own: Members| {
        defaults.map(|defaults| Members {
            account_sid: defaults.account_sid.clone(),
            stamp: defaults.stamp.clone(),
            ..own
        })
    };
    let (sid, secret, accepts, defaults) = match kind {
        KeyKind::Standard | KeyKind::Restricted(_) => (Some("apiKeySid"), "apiKeySecret", API_KEYS, defaults.cloned()),
        KeyKind::KeyPair => (Some("publicKeySid"), "privateKey", KEY_PAIRS, with(Members::of_key_pairs())),
        KeyKind::AuthToken { .. } => (None, "authToken", TOKENS, with(Members::of_tokens())),
    };
    table.maybe("members", |field| members(field, accepts, sid, secret, defaults.clone()))?.or(defaults)
}

fn members(
    field: Field<'_>,
    accepts: &str,
    sid: Option<&'static str>,
    secret: &'static str,
    defaults: Option<Members>,
) -> Option<Members> {
    let table = field.table(accepts)?;
    let account_sid = table.maybe("accountSid", member);
    let api_key_sid = sid.map_or(Some(None), |sid| table.maybe(sid, member));
    let api_key_secret = table.maybe(secret, member);
    let stamp = table.maybe("rekeyd", member);
    table.finish();
    let defaults = defaults?;
    let members = Members {
        account_sid: account_sid?.unwrap_or(defaults.account_sid),
        api_key_sid: api_key_sid?.unwrap_or(defaults.api_key_sid),
        api_key_secret: api_key_secret?.unwrap_or(defaults.api_key_secret),
        stamp: stamp?.unwrap_or(defaults.stamp),
    };
    let all = BTreeSet::from([&members.account_sid, &members.api_key_sid, &members.api_key_secret, &members.stamp]);
    let distinct = all.len() == 4;
    // Written beside a new token, whatever the others are called.
    if sid.is_none() && all.iter().any(|name| *name == Beside::PREVIOUS) {
        field.clashes("this is where the token before is published", "another name");
        return None;
    }
    if !distinct {
        field.clashes("two members have the same name: one would overwrite the other", "names that are all different");
    }
    distinct.then_some(members)
}

fn member(field: Field<'_>) -> Option<String> {
    field.parse("1 to 128 characters, none of them a control character", |text| {
        let fits = (1..=128).contains(&text.chars().count()) && !text.contains(char::is_control);
        if fits { Ok(text.to_owned()) } else { Err("this is no name for a member of a JSON object here") }
    })
}

//! What the members of the published object are called.

use super::reader::{Field, Table};
use crate::model::document::Members;
use std::collections::BTreeSet;

const API_KEYS: &str = "{ accountSid = \"…\", apiKeySid = \"…\", apiKeySecret = \"…\", rekeyd = \"…\" }";
const KEY_PAIRS: &str = "{ accountSid = \"…\", publicKeySid = \"…\", privateKey = \"…\", rekeyd = \"…\" }";

/// Reads what is said for all credentials, which is said of API keys.
pub(super) fn of_api_keys(field: Field<'_>) -> Option<Members> {
    members(field, API_KEYS, ["apiKeySid", "apiKeySecret"], Some(Members::default()))
}

/// Reads what is said for one credential; what is left out comes from the defaults. The two members that only a key pair has
/// have no other default than their own.
pub(super) fn of_kind(table: &Table<'_>, defaults: Option<&Members>, pairs: bool) -> Option<Members> {
    let own = Members::of_key_pairs();
    let of_pairs = |defaults: &Members| Members {
        account_sid: defaults.account_sid.clone(),
        stamp: defaults.stamp.clone(),
        api_key_sid: own.api_key_sid.clone(),
        api_key_secret: own.api_key_secret.clone(),
    };
    let (names, accepts, defaults) = match pairs {
        false => (["apiKeySid", "apiKeySecret"], API_KEYS, defaults.cloned()),
        true => (["publicKeySid", "privateKey"], KEY_PAIRS, defaults.map(of_pairs)),
    };
    table.maybe("members", |field| members(field, accepts, names, defaults.clone()))?.or(defaults)
}

fn members(field: Field<'_>, accepts: &str, names: [&'static str; 2], defaults: Option<Members>) -> Option<Members> {
    let [sid, secret] = names;
    let table = field.table(accepts)?;
    let account_sid = table.maybe("accountSid", member);
    let api_key_sid = table.maybe(sid, member);
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
    if !distinct {
        field.clashes("two members have the same name: one would overwrite the other", "four names, all different");
    }
    distinct.then_some(members)
}

fn member(field: Field<'_>) -> Option<String> {
    field.parse("1 to 128 characters, none of them a control character", |text| {
        let fits = (1..=128).contains(&text.chars().count()) && !text.contains(char::is_control);
        if fits { Ok(text.to_owned()) } else { Err("this is no name for a member of a JSON object here") }
    })
}

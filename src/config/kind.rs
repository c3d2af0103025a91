//! What the keys of a credential are: ordinary, or Restricted to what is listed, or pairs that sign requests; and how they
//! are proven.

use super::address::{self, is_loopback, region_of};
use super::homes::Seat;
use super::reader::{Field, Table};
use super::timing::Floors;
use super::twilio::key_sid;
use crate::model::home::Region;
use crate::model::key::AccountSid;
use crate::model::permission::{MOST, Permission, Permissions};
use crate::model::policy::{Allow, KeyKind, Pkcv};
use std::time::Duration;
use url::{Host, Url};

const ALLOW: &str = "a list such as [\"/twilio/messaging/messages/read\"], of 1 to 100 permissions";
/// What happens when the old token ends. Twilio docs, "Secondary Auth Token" and "Webhooks Security".
const WARNINGS: [&str; 2] = [
    "Twilio signs webhooks with the old token until it ends, and with the new one from then on: whoever checks \
     `X-Twilio-Signature` has to accept both",
    "Twilio Functions that hold the token itself may go on with the old one for a minute after it ended",
];
const VERIFY_URL: &str =
    "https:// and a host of Twilio's, such as \"https://api.twilio.com/2010-04-01/Accounts/AC.../Messages.json\"";

/// What a credential is one of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    ApiKey,
    KeyPair,
    AuthToken,
}

/// What is said of API keys alone.
const OF_API_KEYS: [&str; 5] = ["type", "allow", "clone_policy_of", "verify_url", "signs_access_tokens"];

/// What is said of the keys of a credential.
pub(super) struct Nature {
    pub kind: KeyKind,
    pub verify_url: Option<Url>,
    /// How long the Access Tokens live that are signed with a key.
    pub tokens: Option<Duration>,
}

/// Reads it; `home` is where the account's keys are managed. A fleet has many accounts, and none is given.
pub(super) fn kind(table: &Table<'_>, home: &Seat, account: Option<&AccountSid>, floors: Floors) -> Option<Nature> {
    let of = table.or("kind", Of::ApiKey, |field| {
        field.choice(&[("api-key", Of::ApiKey), ("key-pair", Of::KeyPair), ("auth-token", Of::AuthToken)])
    });
    let quiet = table.maybe("suppress_email_notification", |field| field.switch());
    let is_restricted = table.or("type", false, |field| field.choice(&[("standard", false), ("restricted", true)]));
    let listed = table.maybe("allow", |field| permissions(field).map(Allow::These));
    let cloned = table.maybe("clone_policy_of", |field| key_sid(field).map(Allow::LikeKey));
    let url = table.maybe("verify_url", |field| verify_url(field, home));
    let tokens = table.maybe("signs_access_tokens", |field| field.duration(floors.tokens()));
    let (of, quiet, is_restricted, listed, cloned) = (of?, quiet?, is_restricted?, listed?, cloned?);
    let of_restricted = ["allow", "clone_policy_of"].into_iter().find_map(|key| table.field(key));
    if let (Of::ApiKey, false, Some(field)) = (of, is_restricted, of_restricted) {
        field.clashes("only Restricted keys have permissions", "`type = \"restricted\"` beside it");
        return None;
    }
    let asked = table.field("suppress_email_notification").filter(|_| quiet == Some(true));
    if let (Of::ApiKey | Of::KeyPair, Some(field)) = (of, asked) {
        field.clashes("Twilio tells people of changed auth tokens only", "no such line");
        return None;
    }
    let kind = match (of, is_restricted) {
        (Of::KeyPair, _) => key_pair(table, home, account)?,
        (Of::AuthToken, _) => auth_token(table, home, account, quiet.unwrap_or_default())?,
        (Of::ApiKey, true) => KeyKind::Restricted(restricted(table, listed, cloned, home)?),
        (Of::ApiKey, false) => KeyKind::Standard,
    };
    if let (true, Some(Some(url)), Some(field)) = (home.signs, &url, table.field("verify_url"))
        && !Pkcv::can_sign(&url.path().replace("%7Baccount_sid%7D", "AC"))
    {
        field.clashes(
            "requests to this path can not be signed, and the account wants that",
            "a path of letters and digits",
        );
        return None;
    }
    Some(Nature { kind, verify_url: url?, tokens: tokens? })
}

/// What a Restricted key may do, if there can be one.
fn restricted(table: &Table<'_>, listed: Option<Allow>, cloned: Option<Allow>, home: &Seat) -> Option<Allow> {
    if listed.is_none() && cloned.is_none() {
        table.missing("allow", "it is not said what a Restricted key may do", "`allow` or `clone_policy_of`");
        return None;
    }
    if let (Some(_), Some(_), Some(field)) = (&listed, &cloned, table.field("clone_policy_of")) {
        field.clashes("`allow` says already what the keys may do", "one of the two");
        return None;
    }
    if let Some(field) = table.field("signs_access_tokens") {
        // Twilio docs, "Restricted API keys".
        field.clashes("Restricted keys can not sign Access Tokens", "no such line, or an ordinary key");
        return None;
    }
    if let (Some(region), Some(field)) = (&home.region, table.field("type"))
        && *region != Region::us1()
    {
        // Twilio changelog, 2025-12-10.
        field.clashes("there are Restricted keys in the region us1 only", "an ordinary key, or `region = \"us1\"`");
        return None;
    }
    listed.or(cloned)
}

/// A key pair is proven by a request that it signs, so the account has to take such; and its public half belongs to the
/// account that registers it, so what manages the account has to be a key of its own.
fn key_pair(table: &Table<'_>, home: &Seat, account: Option<&AccountSid>) -> Option<KeyKind> {
    of_api_keys(table, "a key pair is none")?;
    let (Some(account), Some(field)) = (account, table.field("kind")) else { return Some(KeyKind::KeyPair) };
    match &home.admin {
        _ if !home.signs => {
            let accepts = "`pkcv` where it is said what manages these keys, with a pair that is registered by hand";
            field.clashes("a key pair is proven with a signed request, and this account takes none", accepts);
            None
        }
        Some(admin) if admin != account => {
            let accepts = "a Main key of its own in the account's table";
            field.clashes(format!("the keys of this account are managed with what belongs to {admin}"), accepts);
            None
        }
        _ => Some(KeyKind::KeyPair),
    }
}

/// Nothing may be said that is said of API keys alone.
fn of_api_keys(table: &Table<'_>, why: &str) -> Option<()> {
    let Some(field) = OF_API_KEYS.into_iter().find_map(|key| table.field(key)) else { return Some(()) };
    field.clashes(format!("this is said of API keys, and {why}"), "no such line");
    None
}

/// An auth token opens the whole account, so that it is rotated has to be said twice. It manages itself, and what rekeyd
/// signs in with must not end with it.
fn auth_token(table: &Table<'_>, home: &Seat, account: Option<&AccountSid>, quiet: bool) -> Option<KeyKind> {
    of_api_keys(table, "an auth token is none")?;
    let (Some(account), Some(field)) = (account, table.field("kind")) else {
        return Some(KeyKind::AuthToken { quiet });
    };
    if home.signs {
        field.clashes(
            "an account that enforces signed requests takes no auth token",
            "`kind = \"key-pair\"`, or API keys",
        );
    } else if home.by_token && home.admin.as_ref() == Some(account) {
        let accepts = "a Main key for this account, in `[twilio]` or in the account's table";
        field.clashes("rekeyd itself signs in with this account's auth token, which would end", accepts);
    } else if !home.tokens {
        field.clashes(
            "the auth token opens the whole account, and webhooks are signed with it",
            "API keys; or `allow_auth_tokens = true` in `[twilio]`, if nothing else will do",
        );
    } else {
        for doubt in WARNINGS {
            field.doubt(doubt, "API keys, which do without all this");
        }
        return Some(KeyKind::AuthToken { quiet });
    }
    None
}

fn permissions(field: Field<'_>) -> Option<Permissions> {
    let items = field.items(ALLOW)?;
    if items.is_empty() || items.len() > MOST {
        field.wrong("a Restricted key has 1 to 100 permissions", ALLOW);
        return None;
    }
    let one = |item: &Field<'_>| {
        item.parse(Permission::ACCEPTS, |text| Permission::new(text).map_err(|_| "this is no permission"))
    };
    let read: Vec<_> = items.iter().map(one).collect();
    let mut all = Permissions::new();
    for (permission, item) in read.into_iter().zip(&items) {
        if !all.insert(permission?) {
            item.clashes("this permission is there already", "each permission once");
            return None;
        }
    }
    Some(all)
}

/// The pair is sent there: only to Twilio, or to the sandbox that the account is in.
fn verify_url(field: Field<'_>, home: &Seat) -> Option<Url> {
    field.parse(VERIFY_URL, |text| {
        let url = Url::parse(text).map_err(|_| "this is not an address: it begins with https:// and a host")?;
        let at_home = |base: &Url| is_loopback(base) && is_loopback(&url) && base.port() == url.port();
        let sandbox = home.address.as_ref().is_some_and(at_home);
        if sandbox {
            return Ok(url);
        }
        let host = match url.host() {
            Some(Host::Domain(host)) => host,
            _ => "",
        };
        let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        match () {
            () if !address::plain_text(text) => Err("an address has no blanks and no backslashes"),
            () if !host.ends_with(".twilio.com") => Err("the pair must not be sent anywhere but to Twilio"),
            () if url.scheme() != "https" || url.port().is_some() => {
                Err("Twilio is reached by https on its usual port only")
            }
            () if !bare => Err("an address has no user, no password and no fragment"),
            () if home.region.as_ref().is_some_and(|region| region_of(&url).is_some_and(|other| other != *region)) => {
                Err("this host is in another region than the keys, and would refuse them")
            }
            () => Ok(url),
        }
    })
}

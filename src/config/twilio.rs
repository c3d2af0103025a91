//! `[twilio]` and `[accounts."AC..."]`: where Twilio is, and what each account's keys are managed with.

use super::address;
use super::daemon::{absolute_path, secret};
use super::places;
use super::reader::{Field, Table};
use super::sinks::Sinks;
use crate::model::key::{AccountSid, KeySid, PublicKeySid};
use crate::model::policy::{Access, Admin, Algorithm, Pkcv, SecretSource, TwilioPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use url::Url;

const PKCV: &str = "{ public_key_sid = \"CR...\", private_key_file = \"/...\" }, and perhaps alg = \"PS256\"";
const API_KEY: &str = "SK and 32 hexadecimal digits";
const ACCOUNTS: &str = "tables `[accounts.\"AC...\"]`";
/// The regions that keys can be managed in, and their hosts (Twilio docs, "Using the Twilio REST API in a non-US Region"; of
/// `jp1` only Twilio's command line tells). A region is reached through an edge: without one the host is shut.
const REGIONS: [(&str, &str); 4] = [
    ("us1", "https://api.twilio.com"),
    ("ie1", "https://api.dublin.ie1.twilio.com"),
    ("au1", "https://api.sydney.au1.twilio.com"),
    ("jp1", "https://api.tokyo.jp1.twilio.com"),
];

/// `[twilio]`, as far as it could be read.
#[derive(Default)]
pub(super) struct Twilio {
    pub account: Option<AccountSid>,
    pub access: Option<Access>,
    pub base_url: Option<Url>,
    /// The key that manages the others, whatever else is wrong.
    pub root: Option<KeySid>,
    /// Auth tokens may be rotated.
    pub tokens: bool,
}

impl Twilio {
    /// With the accounts that have rules of their own.
    pub(super) fn policy(self, accounts: Option<BTreeMap<AccountSid, Access>>) -> Option<TwilioPolicy> {
        Some(TwilioPolicy {
            account: self.account?,
            access: self.access?,
            accounts: accounts?,
            key_pairs: BTreeSet::new(),
        })
    }
}

/// Reads `[twilio]`.
pub(super) fn twilio(root: &Table<'_>, sinks: &Sinks<'_>) -> Twilio {
    let accepts = "a table `[twilio]` with `account_sid`, `main_key_sid` and `main_key_secret_file`";
    let Some(table) = root.need("twilio", accepts, |field| field.table(accepts)) else { return Twilio::default() };
    let account = table.need("account_sid", AccountSid::ACCEPTS, account_sid);
    let base_url = place(&table).map(|place| place.map_or_else(us1, |(url, _)| url));
    let means = means(&table, sinks, true);
    let root = table.field("main_key_sid").and_then(|field| KeySid::new(field.value().as_str()?).ok());
    let pkcv = pkcv(&table, is_token(&means));
    let tokens = table.or("allow_auth_tokens", false, |field| field.switch()).unwrap_or_default();
    table.finish();
    let access = || {
        let ((key, secret), pkcv) = (means??, pkcv?);
        let admin = Admin { account: account.clone()?, key, secret, pkcv: pkcv.clone() };
        Some(Access { base_url: base_url.clone()?, admin, pkcv })
    };
    Twilio { access: access(), account, base_url, root, tokens }
}

/// Whether all requests to Twilio stay on this machine; none if that is not known.
pub(super) fn is_loopback(twilio: &Twilio, accounts: Option<&BTreeMap<AccountSid, Access>>) -> Option<bool> {
    let others = accounts.into_iter().flat_map(BTreeMap::values).all(|access| address::is_loopback(&access.base_url));
    twilio.base_url.as_ref().map(|url| others && address::is_loopback(url))
}

/// Where the keys of an account are managed, as far as that could be read, and whether its requests are signed.
#[derive(Default, Clone)]
pub(super) struct Home {
    pub address: Option<Url>,
    pub signs: bool,
    /// The account that what manages the keys belongs to.
    pub admin: Option<AccountSid>,
    /// Whether that is an auth token for sure.
    pub by_token: bool,
    /// Auth tokens may be rotated.
    pub tokens: bool,
}

/// The homes of accounts: of those with rules of their own, and of all others.
pub(super) struct Homes {
    usual: Home,
    others: BTreeMap<AccountSid, Home>,
}

impl Homes {
    pub(super) fn new(twilio: &Twilio, accounts: Option<&BTreeMap<AccountSid, Access>>) -> Self {
        let home = |access: &Access| Home {
            address: Some(access.base_url.clone()),
            signs: access.pkcv.is_some(),
            admin: Some(access.admin.account.clone()),
            by_token: is_token(&Some(Some((access.admin.key.clone(), access.admin.secret.clone())))),
            tokens: twilio.tokens,
        };
        let usual = Home { address: twilio.base_url.clone(), ..twilio.access.as_ref().map(home).unwrap_or_default() };
        Self {
            usual,
            others: accounts.into_iter().flatten().map(|(sid, access)| (sid.clone(), home(access))).collect(),
        }
    }

    /// The home of an account; of those that are named nowhere, if none is given.
    pub(super) fn of(&self, account: Option<&AccountSid>) -> &Home {
        account.and_then(|account| self.others.get(account)).unwrap_or(&self.usual)
    }

    /// An account that has rules, and is written otherwise than here.
    pub(super) fn other_writing(&self, account: &AccountSid) -> Option<&AccountSid> {
        self.others.keys().find(|known| account.is_other_writing_of(known))
    }
}

/// The keys that manage others and what signs their calls, as far as they could be read.
pub(super) fn roots(twilio: &Twilio, accounts: Option<&BTreeMap<AccountSid, Access>>) -> Vec<KeySid> {
    let accesses = || accounts.into_iter().flat_map(BTreeMap::values).chain(&twilio.access);
    let keys = accesses().filter_map(|access| access.admin.key.clone());
    let signing = accesses().flat_map(|access| access.pkcv.iter().chain(&access.admin.pkcv));
    twilio.root.iter().cloned().chain(keys).chain(signing.map(|pkcv| KeySid::from(&pkcv.public_key))).collect()
}

/// Reads `[accounts]`.
pub(super) fn accounts(root: &Table<'_>, twilio: &Twilio, sinks: &Sinks<'_>) -> Option<BTreeMap<AccountSid, Access>> {
    let Some(field) = root.field("accounts") else { return Some(BTreeMap::new()) };
    let table = field.table(ACCOUNTS)?;
    let mut all = Some(BTreeMap::new());
    for (key, field) in table.named() {
        let Ok(sid) = AccountSid::new(key.get_ref()) else {
            field.misnamed(key, "this is not the SID of an account", AccountSid::ACCEPTS);
            all = None;
            continue;
        };
        let known = all.iter().flat_map(BTreeMap::keys).chain(&twilio.account);
        if let Some(other) = known.into_iter().find(|known| sid.is_other_writing_of(known)) {
            let accepts = format!("\"{other}\", in the same letters everywhere");
            field.misnamed(key, "this account is there already, in other letters", &accepts);
            all = None;
            continue;
        }
        let access = account(&field, &sid, twilio, sinks);
        match (&mut all, access) {
            (Some(all), Some(access)) => _ = all.insert(sid, access),
            _ => all = None,
        }
    }
    all
}

/// What is not said comes from `[twilio]`.
fn account(field: &Field<'_>, sid: &AccountSid, twilio: &Twilio, sinks: &Sinks<'_>) -> Option<Access> {
    let table = field.table(ACCOUNTS)?;
    let place = place(&table);
    let of_its_own = means(&table, sinks, false);
    let pkcv = pkcv(&table, is_token(&of_its_own));
    table.finish();
    let (place, of_its_own, pkcv, ground) = (place?, of_its_own?, pkcv?, twilio.access.as_ref()?);
    if let (Some((url, field)), None) = (&place, &of_its_own)
        && *url != ground.base_url
    {
        field.clashes(
            "keys belong to one region: the one of `[twilio]` is not known there",
            "`main_key_sid` and `main_key_secret_file` of a Main key of that region beside it",
        );
        return None;
    }
    if let (Some(_), None, Some(field)) = (&pkcv, &of_its_own, table.field("pkcv"))
        && is_token(&Some(Some((ground.admin.key.clone(), ground.admin.secret.clone()))))
    {
        field.clashes(
            "an account that enforces signed requests takes no auth token, and `[twilio]` has nothing else",
            "`main_key_sid` and `main_key_secret_file` beside it",
        );
        return None;
    }
    let base_url = place.map_or_else(|| ground.base_url.clone(), |(url, _)| url);
    Some(match of_its_own {
        Some((key, secret)) => {
            let admin = Admin { account: sid.clone(), key, secret, pkcv: pkcv.clone() };
            Access { base_url, admin, pkcv }
        }
        None => Access { base_url, admin: ground.admin.clone(), pkcv: pkcv.or_else(|| ground.pkcv.clone()) },
    })
}

fn us1() -> Url {
    Url::parse(REGIONS[0].1).expect("a constant that is an address")
}

/// Where the API is, if that is said, and where it is said.
#[expect(clippy::option_option, reason = "wrong, and not said")]
fn place<'t>(table: &'t Table<'_>) -> Option<Option<(Url, Field<'t>)>> {
    let address = table.maybe("base_url", |field| Some((field.twilio_address()?, field)))?;
    let region = table.maybe("region", |field| {
        let url = Url::parse(field.choice(&REGIONS)?).expect("a constant that is an address");
        Some((url, field))
    })?;
    if let (Some(_), Some((_, field))) = (&address, &region) {
        field.clashes("`base_url` says already where the API is", "one of the two");
        return None;
    }
    Some(address.or(region))
}

/// Wrong, or not said, or a key and where its secret is; without a key, an auth token or a file.
type Means = Option<Option<(Option<KeySid>, SecretSource)>>;

/// Whether it is an auth token for sure: what a file says is not known yet.
fn is_token(means: &Means) -> bool {
    matches!(means, Some(Some((None, SecretSource::File(_) | SecretSource::Env(_)))))
}

/// What manages keys: a key and its secret, an auth token, or a file or a place that holds one of the two in AWS's form.
fn means(table: &Table<'_>, sinks: &Sinks<'_>, needed: bool) -> Means {
    let first = |keys: &[&'static str]| keys.iter().find_map(|key| table.field(key));
    let key = first(&["main_key_sid", "main_key_secret_file", "main_key_secret_env"]);
    let file = first(&["main_key_file"]);
    let at = first(&["main_key_at"]);
    let token = first(&["auth_token_file", "auth_token_env"]);
    let said: Vec<_> = [key, file, at, token].into_iter().flatten().collect();
    if let [_, second, ..] = said[..] {
        second.clashes("it is said already what manages the keys", "a Main key, a file with one, or an auth token");
        return None;
    }
    if let Some(field) = file {
        return absolute_path(field).map(|path| Some((None, SecretSource::Admin(path))));
    }
    if let Some(field) = at {
        return places::stored(sinks, &field).map(|place| Some((None, SecretSource::Stored(place))));
    }
    if token.is_some() {
        return secret(table, "auth_token_file", "auth_token_env").map(|token| Some((None, token)));
    }
    if key.is_none() && !needed {
        return Some(None);
    }
    let key = table.need("main_key_sid", API_KEY, key_sid);
    let secret = secret(table, "main_key_secret_file", "main_key_secret_env");
    key.zip(secret).map(|(key, secret)| Some((Some(key), secret)))
}

#[expect(clippy::option_option, reason = "wrong, and not said")]
fn pkcv(table: &Table<'_>, with_token: bool) -> Option<Option<Pkcv>> {
    table.maybe("pkcv", |field| {
        let table = field.table(PKCV)?;
        let public_key = table.need("public_key_sid", PublicKeySid::ACCEPTS, public_key_sid);
        let private_key: Option<PathBuf> =
            table.need("private_key_file", "the path of a file in PEM, beginning with /", absolute_path);
        let algorithms = [("RS256", Algorithm::Rs256), ("PS256", Algorithm::Ps256)];
        let algorithm = table.or("alg", Algorithm::Rs256, |field| field.choice(&algorithms));
        table.finish();
        if with_token {
            field.clashes(
                "an account that enforces signed requests takes no auth token",
                "`main_key_sid` and `main_key_secret_file` instead of the auth token",
            );
            return None;
        }
        Some(Pkcv { public_key: public_key?, private_key: private_key?, algorithm: algorithm? })
    })
}

/// The SID of an account.
pub(super) fn account_sid(field: Field<'_>) -> Option<AccountSid> {
    field.parse(AccountSid::ACCEPTS, |text| AccountSid::new(text).map_err(|_| "this is not the SID of an account"))
}

/// The SID of a public key.
pub(super) fn public_key_sid(field: Field<'_>) -> Option<PublicKeySid> {
    field
        .parse(PublicKeySid::ACCEPTS, |text| PublicKeySid::new(text).map_err(|_| "this is not the SID of a public key"))
}

/// The SID of an API key.
pub(super) fn key_sid(field: Field<'_>) -> Option<KeySid> {
    field.parse(API_KEY, |text| {
        let sid = KeySid::new(text).ok().filter(KeySid::is_api_key);
        sid.ok_or("this is not the SID of an API key")
    })
}

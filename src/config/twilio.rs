//! `[twilio]` and `[accounts."AC..."]`: where Twilio is, and what each account's keys are managed with.

use super::address;
use super::daemon::{absolute_path, secret};
use super::places;
use super::reader::{Field, Table};
use super::regions::{Place, place, regions, us1};
use super::sinks::Sinks;
use crate::model::home::{Home, Region};
use crate::model::key::{AccountSid, KeySid, PublicKeySid};
use crate::model::policy::{Access, Admin, Algorithm, Pkcv, SecretSource, TwilioPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

const PKCV: &str = "{ public_key_sid = \"CR...\", private_key_file = \"/...\" }, and perhaps alg = \"PS256\"";
const API_KEY: &str = "SK and 32 hexadecimal digits";
const ACCOUNTS: &str = "tables `[accounts.\"AC...\"]`";

/// `[twilio]`, as far as it could be read.
#[derive(Default)]
pub(super) struct Twilio {
    pub account: Option<AccountSid>,
    pub access: Option<Access>,
    pub place: Option<Place>,
    /// Its other regions.
    pub regions: Option<BTreeMap<Region, Access>>,
    /// The key that manages the others, whatever else is wrong.
    pub root: Option<KeySid>,
    /// Auth tokens may be rotated.
    pub tokens: bool,
}

/// What accounts say of their own.
#[derive(Default)]
pub(super) struct Own {
    pub accounts: BTreeMap<AccountSid, Access>,
    /// Their other regions.
    pub homes: BTreeMap<Home, Access>,
}

impl Twilio {
    /// With the accounts that have rules of their own.
    pub(super) fn policy(self, own: Option<Own>) -> Option<TwilioPolicy> {
        let Own { accounts, homes } = own?;
        Some(TwilioPolicy {
            account: self.account?,
            access: self.access?,
            accounts,
            regions: self.regions?,
            homes,
            key_pairs: BTreeSet::new(),
        })
    }

    /// Its usual region.
    fn region(&self) -> Option<&Region> {
        self.place.as_ref().map(|(region, _)| region)
    }

    /// Every way in which keys are managed, as far as it could be read.
    pub(super) fn accesses<'a>(&'a self, own: Option<&'a Own>) -> impl Iterator<Item = &'a Access> + Clone {
        let own = own.into_iter().flat_map(|own| own.accounts.values().chain(own.homes.values()));
        own.chain(&self.access).chain(self.regions.iter().flat_map(BTreeMap::values))
    }
}

/// Reads `[twilio]`.
pub(super) fn twilio(root: &Table<'_>, sinks: &Sinks<'_>) -> Twilio {
    let accepts = "a table `[twilio]` with `account_sid`, `main_key_sid` and `main_key_secret_file`";
    let Some(table) = root.need("twilio", accepts, |field| field.table(accepts)) else { return Twilio::default() };
    let account = table.need("account_sid", AccountSid::ACCEPTS, account_sid);
    let place = place(&table).map(|place| place.map_or_else(us1, |(place, _)| place));
    let means = means(&table, sinks, true);
    let root = table.field("main_key_sid").and_then(|field| KeySid::new(field.value().as_str()?).ok());
    let pkcv = pkcv(&table, is_token(&means));
    let tokens = table.or("allow_auth_tokens", false, |field| field.switch()).unwrap_or_default();
    let regions = regions(&table, sinks, account.as_ref(), place.as_ref().map(|(region, _)| region));
    table.finish();
    let access = || {
        let ((key, secret), pkcv, (region, base_url)) = (means??, pkcv?, place.clone()?);
        let admin = Admin { account: account.clone()?, key, secret, pkcv: pkcv.clone() };
        Some(Access { region, base_url, admin, pkcv })
    };
    Twilio { access: access(), account, place, regions, root, tokens }
}

/// Whether all requests to Twilio stay on this machine; none if that is not known.
pub(super) fn is_loopback(twilio: &Twilio, own: Option<&Own>) -> Option<bool> {
    let others = twilio.accesses(own).all(|access| address::is_loopback(&access.base_url));
    twilio.place.as_ref().map(|(_, url)| others && address::is_loopback(url))
}

/// The keys that manage others and what signs their calls, as far as they could be read.
pub(super) fn roots(twilio: &Twilio, own: Option<&Own>) -> Vec<KeySid> {
    let accesses = || twilio.accesses(own);
    let keys = accesses().filter_map(|access| access.admin.key.clone());
    let signing = accesses().flat_map(|access| access.pkcv.iter().chain(&access.admin.pkcv));
    twilio.root.iter().cloned().chain(keys).chain(signing.map(|pkcv| KeySid::from(&pkcv.public_key))).collect()
}

/// Reads `[accounts]`.
pub(super) fn accounts(root: &Table<'_>, twilio: &Twilio, sinks: &Sinks<'_>) -> Option<Own> {
    let Some(field) = root.field("accounts") else { return Some(Own::default()) };
    let table = field.table(ACCOUNTS)?;
    let mut all = Some(Own::default());
    for (key, field) in table.named() {
        let Ok(sid) = AccountSid::new(key.get_ref()) else {
            field.misnamed(key, "this is not the SID of an account", AccountSid::ACCEPTS);
            all = None;
            continue;
        };
        let known = all.iter().flat_map(|all| all.accounts.keys()).chain(&twilio.account);
        if let Some(other) = known.into_iter().find(|known| sid.is_other_writing_of(known)) {
            let accepts = format!("\"{other}\", in the same letters everywhere");
            field.misnamed(key, "this account is there already, in other letters", &accepts);
            all = None;
            continue;
        }
        let found = account(&field, &sid, twilio, sinks);
        match (&mut all, found) {
            (Some(all), Some((access, regions))) => {
                let home = |region| Home { account: sid.clone(), region };
                all.homes.extend(regions.into_iter().map(|(region, access)| (home(region), access)));
                all.accounts.insert(sid, access);
            }
            _ => all = None,
        }
    }
    all
}

/// What is not said comes from `[twilio]`. With it, what is said of other regions.
fn account(
    field: &Field<'_>,
    sid: &AccountSid,
    twilio: &Twilio,
    sinks: &Sinks<'_>,
) -> Option<(Access, BTreeMap<Region, Access>)> {
    let table = field.table(ACCOUNTS)?;
    let place = place(&table);
    let of_its_own = means(&table, sinks, false);
    let pkcv = pkcv(&table, is_token(&of_its_own));
    let usual = place.as_ref().and_then(|place| place.as_ref().map(|((region, _), _)| region).or(twilio.region()));
    let regions = regions(&table, sinks, Some(sid), usual);
    table.finish();
    let (place, of_its_own, pkcv, regions) = (place?, of_its_own?, pkcv?, regions?);
    let access = match of_its_own {
        Some((key, secret)) => {
            let (region, base_url) = place.map(|(place, _)| place).or(twilio.place.clone())?;
            let admin = Admin { account: sid.clone(), key, secret, pkcv: pkcv.clone() };
            Access { region, base_url, admin, pkcv }
        }
        None => inherited(&table, twilio, place, pkcv)?,
    };
    Some((access, regions))
}

/// What manages the keys of an account that has nothing of its own for that.
fn inherited(
    table: &Table<'_>,
    twilio: &Twilio,
    place: Option<(Place, Field<'_>)>,
    pkcv: Option<Pkcv>,
) -> Option<Access> {
    let elsewhere = place.as_ref().map(|((region, _), _)| region).filter(|region| Some(*region) != twilio.region());
    let ground = match elsewhere {
        Some(region) => twilio.regions.as_ref()?.get(region),
        None => Some(twilio.access.as_ref()?),
    };
    let fits = |ground: &&Access| place.as_ref().is_none_or(|((_, url), _)| *url == ground.base_url);
    let Some(ground) = ground.filter(fits) else {
        let (_, field) = place?;
        field.clashes(
            "keys belong to one region: the one of `[twilio]` is not known there",
            "`main_key_sid` and `main_key_secret_file` of a Main key of that region beside it",
        );
        return None;
    };
    if let (Some(_), Some(field)) = (&pkcv, table.field("pkcv"))
        && is_token(&Some(Some((ground.admin.key.clone(), ground.admin.secret.clone()))))
    {
        field.clashes(
            "an account that enforces signed requests takes no auth token, and `[twilio]` has nothing else",
            "`main_key_sid` and `main_key_secret_file` beside it",
        );
        return None;
    }
    Some(Access { pkcv: pkcv.or_else(|| ground.pkcv.clone()), ..ground.clone() })
}

/// Wrong, or not said, or a key and where its secret is; without a key, an auth token or a file.
pub(super) type Means = Option<Option<(Option<KeySid>, SecretSource)>>;

/// Whether it is an auth token for sure: what a file says is not known yet.
pub(super) fn is_token(means: &Means) -> bool {
    matches!(means, Some(Some((None, SecretSource::File(_) | SecretSource::Env(_)))))
}

/// What manages keys: a key and its secret, an auth token, or a file or a place that holds one of the two in AWS's form.
pub(super) fn means(table: &Table<'_>, sinks: &Sinks<'_>, needed: bool) -> Means {
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
pub(super) fn pkcv(table: &Table<'_>, with_token: bool) -> Option<Option<Pkcv>> {
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

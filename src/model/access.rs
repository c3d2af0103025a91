//! How the keys of each home are managed: an account in a region, with what the policy names for it.

use super::home::{Home, Region};
use super::key::AccountSid;
use super::policy::{Admin, Pkcv};
use std::collections::{BTreeMap, BTreeSet};
use url::Url;

/// Twilio, and how each account's keys are managed.
#[derive(Clone)]
pub struct TwilioPolicy {
    /// The account of every credential that names no other.
    pub account: AccountSid,
    /// How its keys are managed, and those of every account that has no rules of its own.
    pub access: Access,
    /// Accounts with rules of their own.
    pub accounts: BTreeMap<AccountSid, Access>,
    /// The other regions of every account that says nothing of its own about one.
    pub regions: BTreeMap<Region, Access>,
    /// The other regions of accounts that do.
    pub homes: BTreeMap<Home, Access>,
    /// Where key pairs are rotated.
    pub key_pairs: BTreeSet<Home>,
}

impl TwilioPolicy {
    /// How the keys of any account are managed.
    pub fn accesses(&self) -> impl Iterator<Item = &Access> {
        self.accounts.values().chain([&self.access]).chain(self.regions.values()).chain(self.homes.values())
    }

    /// Where the keys of an account live, unless a credential says otherwise.
    pub fn home(&self, account: &AccountSid) -> Home {
        let access = self.accounts.get(account).unwrap_or(&self.access);
        Home { account: account.clone(), region: access.region.clone() }
    }

    /// How the keys that live there are managed; nothing if that is not said. What belongs to another region is no use there.
    pub fn access_to(&self, home: &Home) -> Option<&Access> {
        let here = |access: &&Access| access.region == home.region;
        let own = || self.accounts.get(&home.account).filter(here).or_else(|| self.homes.get(home));
        own().or(Some(&self.access).filter(here)).or_else(|| self.regions.get(&home.region))
    }
}

/// How the keys of an account are managed, in one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The region that the keys belong to.
    pub region: Region,
    /// Where its API is.
    pub base_url: Url,
    /// With what.
    pub admin: Admin,
    /// How the calls of new keys are signed, while they are proven; none where signatures are not enforced.
    pub pkcv: Option<Pkcv>,
}

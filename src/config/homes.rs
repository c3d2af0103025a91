//! Where the keys of each account live and what manages them there, for what is said of them elsewhere in the file.

use super::twilio::{Own, Twilio};
use crate::model::home::{Home, Region};
use crate::model::key::AccountSid;
use crate::model::policy::Access;
use std::collections::BTreeMap;
use url::Url;

/// Where keys are managed, as far as that could be read, and whether requests are signed there.
#[derive(Default, Clone)]
pub(super) struct Seat {
    pub region: Option<Region>,
    pub address: Option<Url>,
    pub signs: bool,
    /// The account that what manages the keys belongs to.
    pub admin: Option<AccountSid>,
    /// Whether that is an auth token for sure.
    pub by_token: bool,
    /// Auth tokens may be rotated.
    pub tokens: bool,
}

/// The seats of all homes.
pub(super) struct Homes {
    usual: Seat,
    regions: BTreeMap<Region, Seat>,
    /// Of accounts with rules of their own.
    accounts: BTreeMap<AccountSid, Seat>,
    /// Of those in other regions.
    others: BTreeMap<Home, Seat>,
    /// Whether all of it could be read.
    whole: bool,
}

impl Seat {
    fn of(access: &Access) -> Self {
        Self {
            region: Some(access.region.clone()),
            address: Some(access.base_url.clone()),
            signs: access.pkcv.is_some(),
            admin: Some(access.admin.account.clone()),
            tokens: false,
            by_token: super::twilio::is_token(&Some(Some((access.admin.key.clone(), access.admin.secret.clone())))),
        }
    }
}

impl Homes {
    pub(super) fn new(twilio: &Twilio, own: Option<&Own>) -> Self {
        let seat = |access: &Access| Seat { tokens: twilio.tokens, ..Seat::of(access) };
        let (region, address) = twilio.place.clone().unzip();
        let usual = Seat { region, address, ..twilio.access.as_ref().map(seat).unwrap_or_default() };
        let regions = twilio.regions.iter().flatten();
        let accounts = own.iter().flat_map(|own| &own.accounts);
        let others = own.iter().flat_map(|own| &own.homes);
        Self {
            usual,
            regions: regions.map(|(region, access)| (region.clone(), seat(access))).collect(),
            accounts: accounts.map(|(sid, access)| (sid.clone(), seat(access))).collect(),
            others: others.map(|(home, access)| (home.clone(), seat(access))).collect(),
            whole: twilio.regions.is_some() && own.is_some() && twilio.place.is_some(),
        }
    }

    /// The seat of an account in that region, or in its usual one; of those accounts that are named nowhere, if none is
    /// given. Nothing, if it is not said what manages keys there.
    pub(super) fn of(&self, account: Option<&AccountSid>, region: Option<&Region>) -> Option<&Seat> {
        let own = account.and_then(|account| self.accounts.get(account));
        let Some(region) = region else { return Some(own.unwrap_or(&self.usual)) };
        let here = |seat: &&Seat| seat.region.as_ref() == Some(region);
        let home = || Some(Home { account: account?.clone(), region: region.clone() });
        let elsewhere = || self.others.get(&home()?);
        let own = own.filter(here).or_else(elsewhere);
        own.or(Some(&self.usual).filter(here)).or_else(|| self.regions.get(region))
    }

    /// Where the keys of an account live in that region, or in its usual one.
    pub(super) fn home(&self, account: &AccountSid, region: Option<&Region>) -> Option<Home> {
        let region = region.or(self.of(Some(account), None)?.region.as_ref())?;
        Some(Home { account: account.clone(), region: region.clone() })
    }

    /// Whether nothing was left out because it was wrong.
    pub(super) fn whole(&self) -> bool {
        self.whole
    }

    /// An account that has rules, and is written otherwise than here.
    pub(super) fn other_writing(&self, account: &AccountSid) -> Option<&AccountSid> {
        self.accounts.keys().find(|known| account.is_other_writing_of(known))
    }
}

//! `region`, `base_url` and `[….regions.NAME]`: in which region keys are managed, where that is, and with what.

use super::address::{is_loopback, region_of};
use super::reader::{Field, Table};
use super::sinks::Sinks;
use super::twilio::{is_token, means, pkcv};
use crate::model::home::Region;
use crate::model::key::AccountSid;
use crate::model::policy::{Access, Admin};
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::DeString;
use url::Url;

const TABLES: &str = "tables such as `[twilio.regions.ie1]`";
const NAMES: &str = "\"us1\", \"ie1\", \"au1\" or \"jp1\"";
/// The regions that keys can be managed in, and their hosts (Twilio docs, "Using the Twilio REST API in a non-US Region"; of
/// `jp1` only Twilio's command line tells). A region is reached through an edge: without one the host is shut.
const HOSTS: [(&str, &str); 4] = [
    ("us1", "https://api.twilio.com"),
    ("ie1", "https://api.dublin.ie1.twilio.com"),
    ("au1", "https://api.sydney.au1.twilio.com"),
    ("jp1", "https://api.tokyo.jp1.twilio.com"),
];

/// A region of the list, and its address.
pub(super) type Place = (Region, Url);

/// Where keys are managed that nothing else is said of.
pub(super) fn us1() -> Place {
    let (name, host) = HOSTS[0];
    known(name, host)
}

fn known(name: &str, host: &str) -> Place {
    let region = Region::new(name).expect("a constant that is a region");
    (region, Url::parse(host).expect("a constant that is an address"))
}

/// One of the regions.
pub(super) fn region(field: Field<'_>) -> Option<Place> {
    let choices = HOSTS.map(|(name, host)| (name, (name, host)));
    field.choice(&choices).map(|(name, host)| known(name, host))
}

/// Where the API is, if that is said, and where it is said.
#[expect(clippy::option_option, reason = "wrong, and not said")]
pub(super) fn place<'t>(table: &'t Table<'_>) -> Option<Option<(Place, Field<'t>)>> {
    let address = table.maybe("base_url", |field| {
        let url = field.twilio_address()?;
        // A sandbox does not say which region it stands for.
        Some(((region_of(&url).unwrap_or_else(Region::us1), url), field))
    });
    let region = table.maybe("region", |field| Some((region(field)?, field)));
    let (address, region) = (address?, region?);
    if let (Some(_), Some((_, field))) = (&address, &region) {
        field.clashes("`base_url` says already where the API is", "one of the two");
        return None;
    }
    Some(address.or(region))
}

/// Reads `regions` in the table of an account: what manages its keys elsewhere than in its usual region.
pub(super) fn regions(
    table: &Table<'_>,
    sinks: &Sinks<'_>,
    account: Option<&AccountSid>,
    usual: Option<&Region>,
) -> Option<BTreeMap<Region, Access>> {
    let Some(field) = table.field("regions") else { return Some(BTreeMap::new()) };
    let tables = field.table(TABLES)?;
    let read: Vec<_> = tables.named().iter().map(|(key, field)| named((key, field), sinks, account, usual)).collect();
    read.into_iter().collect()
}

/// What is said of one region.
fn named(
    (key, field): (&Spanned<DeString<'_>>, &Field<'_>),
    sinks: &Sinks<'_>,
    account: Option<&AccountSid>,
    usual: Option<&Region>,
) -> Option<(Region, Access)> {
    let Some((name, host)) = HOSTS.into_iter().find(|(name, _)| key.get_ref() == name) else {
        field.misnamed(key, "there is no region of this name that keys can be managed in", NAMES);
        return None;
    };
    let (region, host) = known(name, host);
    if usual == Some(&region) {
        field.misnamed(
            key,
            "this is the usual region, of which everything is said in the table above",
            "another region",
        );
        return None;
    }
    let table = field.table(TABLES)?;
    let base_url = table.or("base_url", host, |field| address(field, &region));
    let means = means(&table, sinks, true);
    let pkcv = pkcv(&table, is_token(&means));
    table.finish();
    let (base_url, (key, secret), pkcv) = (base_url?, means??, pkcv?);
    let admin = Admin { account: account?.clone(), key, secret, pkcv: pkcv.clone() };
    Some((region.clone(), Access { region, base_url, admin, pkcv }))
}

/// An address in that region, or of a sandbox that stands for it.
fn address(field: Field<'_>, region: &Region) -> Option<Url> {
    let url = field.twilio_address()?;
    if !is_loopback(&url) && region_of(&url).as_ref() != Some(region) {
        field.clashes(format!("this host is not in the region {region}"), "no such line, or a host of that region");
        return None;
    }
    Some(url)
}

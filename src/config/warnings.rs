//! What a policy may say, but can hardly mean.

use super::duration::{HOUR, Short};
use super::reader::Field;
use super::sinks::Sinks;
use crate::model::home::Home;
use crate::model::policy::{AccountDeletes, Limits, Policy};
use std::collections::BTreeMap;

/// Tells about sinks that no credential is published to.
pub(super) fn unused(sinks: &Sinks<'_>) {
    for sink in sinks.named.values().flatten().filter(|sink| !sink.used.get()) {
        sink.field.doubt("no credential is published here", "a credential that names this sink, or no such sink");
    }
}

/// Tells about accounts that nothing is rotated in; who belongs to a fleet is not known here.
pub(super) fn accounts(policy: &Policy, field: Option<Field<'_>>) {
    let Some(field) = field.filter(|_| policy.fleets.is_empty()) else { return };
    for account in policy.twilio.accounts.keys() {
        if !policy.credentials.values().any(|rules| rules.home.account == *account) {
            field.doubt(
                format!("no credential is in the account {account}"),
                "one with this `account_sid`, or no such table",
            );
        }
    }
}

/// Tells about regions that no keys are rotated in, though it is said what manages them there.
pub(super) fn regions(policy: &Policy, field: Option<Field<'_>>) {
    let Some(field) = field.filter(|_| policy.fleets.is_empty()) else { return };
    let (twilio, rules) = (&policy.twilio, || policy.credentials.values());
    let unused = twilio.regions.keys().filter(|region| !rules().any(|rules| rules.home.region == **region));
    let told = unused.map(|region| (format!("in {region}"), format!("`region = \"{region}\"`")));
    let homes = twilio.homes.keys().filter(|home| !rules().any(|rules| rules.home == **home));
    let homes = homes.map(|home| (format!("of {home}"), format!("this account and `region = \"{}\"`", home.region)));
    for (where_, with) in told.chain(homes) {
        field.doubt(format!("no credential has keys {where_}"), format!("one with {with}, or no such table"));
    }
}

/// Tells about limits under which the schedules can not be kept.
pub(super) fn limits(policy: &Policy, field: Option<Field<'_>>, credentials: Option<Field<'_>>) {
    let Some(at) = field.or(credentials) else { return };
    let Limits { creates_per_hour, deletes_per_hour, account_deletes_per_hour, .. } = &policy.limits;
    let fastest = policy.credentials.values().min_by_key(|rules| rules.cadence.shortest());
    for (key, limit) in [("creates_per_hour", creates_per_hour), ("deletes_per_hour", deletes_per_hour)] {
        let needed = fastest.filter(|rules| rules.cadence.shortest().saturating_mul(*limit) < HOUR);
        if let Some(rules) = needed {
            let (name, every) = (&rules.name, Short(rules.cadence.shortest()));
            let message =
                format!("`{name}` is to be rotated every {every}, and `{key}` holds it to {limit} in an hour");
            at.doubt(message, "a higher limit, or rotations further apart");
        }
    }
    if let AccountDeletes::AtMost(limit) = account_deletes_per_hour {
        for (home, rate) in deletes(policy).into_iter().filter(|(_, rate)| *rate > f64::from(*limit)) {
            let needed = rate.ceil();
            let message = format!(
                "the credentials of {home} need {needed} deletes in an hour, and `account_deletes_per_hour` \
                 allows {limit}"
            );
            at.doubt(message, format!("\"auto\", or at least {needed}"));
        }
    }
}

/// How many old keys of each account fall due in an hour, on average.
fn deletes(policy: &Policy) -> BTreeMap<Home, f64> {
    let mut rates = BTreeMap::new();
    for rules in policy.credentials.values() {
        *rates.entry(rules.home.clone()).or_default() +=
            HOUR.as_secs_f64() / rules.cadence.shortest().as_secs_f64().max(1.0);
    }
    rates
}

//! What a policy may say, but can hardly mean.

use super::duration::{HOUR, Short};
use super::reader::Field;
use super::sinks::{Kind, Named, Sinks};
use crate::model::home::Home;
use crate::model::policy::{AccountDeletes, Limits, Policy};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Tells about sinks that no credential is published to.
pub(super) fn unused(sinks: &Sinks<'_>) {
    for sink in sinks.named.values().flatten().filter(|sink| !sink.used.get()) {
        sink.field.doubt("no credential is published here", "a credential that names this sink, or no such sink");
    }
}

/// What AWS asks for: "Do not call `PutSecretValue` at a sustained rate of more than once every 10 minutes" (API reference).
/// A rotation puts one version, and one more where an attempt has to be fenced off.
const AWS_VERSION: Duration = Duration::from_secs(10 * 60);

/// Tells about credentials that are rotated oftener than Secrets Manager can forget their versions.
pub(super) fn versions(policy: &Policy, sinks: &HashMap<&str, Option<Named<'_>>>) {
    let fleets = policy.fleets.iter().map(|fleet| (fleet.name.as_str(), &fleet.each));
    let all = policy.credentials.values().map(|rules| (rules.name.as_str(), rules)).chain(fleets);
    for (name, rules) in all.filter(|(_, rules)| rules.cadence.shortest() < 2 * AWS_VERSION) {
        let there = |sink: &&Named<'_>| rules.places.iter().any(|place| place.sink == sink.name);
        let aws = sinks.values().flatten().filter(|sink| sink.kind == Some(Kind::SecretsManager));
        for sink in aws.filter(there) {
            let (every, version) = (Short(rules.cadence.shortest()), Short(AWS_VERSION));
            let message = format!(
                "`{name}` is to be rotated every {every}, and AWS keeps all versions of a day, up to a quota: it asks for \
                 no more than one in {version}"
            );
            sink.field.doubt(message, format!("rotations at least {} apart", Short(2 * AWS_VERSION)));
        }
    }
}

/// Tells about accounts, and regions of theirs, that nothing is rotated in; who belongs to a fleet is not known here.
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
    for home in policy.twilio.homes.keys() {
        if !policy.credentials.values().any(|rules| rules.home == *home) {
            let accepts = format!("one with this account and `region = \"{}\"`, or no such table", home.region);
            field.doubt(format!("no credential has keys of {home}"), accepts);
        }
    }
}

/// Tells about regions that no keys are rotated in, though it is said what manages them there.
pub(super) fn regions(policy: &Policy, field: Option<Field<'_>>) {
    let Some(field) = field.filter(|_| policy.fleets.is_empty()) else { return };
    for region in policy.twilio.regions.keys() {
        if !policy.credentials.values().any(|rules| rules.home.region == *region) {
            let accepts = format!("one with `region = \"{region}\"`, or no such table");
            field.doubt(format!("no credential has keys in {region}"), accepts);
        }
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

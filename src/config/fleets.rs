//! `[[fleets]]`: the same credential in many accounts.

use super::credentials::{Ground, MOST, Wanted};
use super::duration::{Bounds, DAY, HOUR, Short};
use super::places::Taken;
use super::reader::Field;
use super::twilio::account_sid;
use crate::model::fleet::{Choice, Fleet, FleetName, Pattern, Waves};
use crate::model::key::AccountSid;
use crate::model::names::CredentialName;
use crate::model::policy::{Allow, Cadence, KeyKind, Rules};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

const FLEETS: &str = "tables `[[fleets]]`";
const ACCOUNTS: &str = "{ status = \"active\", name = \"customer-*\" }, or { list = [\"AC...\"] }";
const WAVES: &str = "{ canary = 2, hold = \"1h\", batch = 50 }";

/// Reads `[[fleets]]`.
pub(super) fn fleets(field: Option<Field<'_>>, ground: &Ground<'_>, taken: &Taken<'_>) -> Option<Vec<Fleet>> {
    let Some(field) = field else { return Some(Vec::new()) };
    let mut names = HashMap::new();
    field
        .items(FLEETS)?
        .iter()
        .map(|item| fleet(item, ground, taken, &mut names))
        .collect::<Vec<_>>()
        .into_iter()
        .collect()
}

fn fleet(
    item: &Field<'_>,
    ground: &Ground<'_>,
    taken: &Taken<'_>,
    names: &mut HashMap<FleetName, usize>,
) -> Option<Fleet> {
    let mut table = item.table(FLEETS)?;
    if let Some(called) = table.peek("name").filter(|name| FleetName::new(name).is_ok()) {
        table.rename(called);
    }
    let name = table.need("name", FleetName::ACCEPTS, |field| name(field, ground, names));
    let choice = table.need("accounts", ACCOUNTS, choice);
    let waves = table.or("waves", usual(), |field| waves(field, ground.floors.short));
    let seat = ground.seat(&table, None);
    let wanted = ground.wanted(&table, None, seat.as_ref().map(|(_, seat)| *seat));
    let places = taken.templates(&table);
    let restarts = taken.restarts(&table);
    table.finish();
    let Wanted { cadence, grace, verify, kind, verify_url, members } = wanted?;
    let of_its_account = match &kind {
        KeyKind::Standard | KeyKind::Restricted(_) => None,
        KeyKind::KeyPair => Some("a key pair is managed with a key of its own account"),
        KeyKind::AuthToken { .. } => Some("an auth token is managed with itself"),
    };
    if let (Some(what), Some(field)) = (of_its_account, table.field("kind")) {
        let message = format!("{what}, and these are managed from another");
        field.clashes(message, "API keys, or tables `[[credentials]]` for accounts with keys of their own");
        return None;
    }
    if let (KeyKind::Restricted(Allow::LikeKey(_)), Some(field)) = (&kind, table.field("clone_policy_of")) {
        field.clashes("that key belongs to one account, and a fleet has many", "`allow`, with what its keys may do");
        return None;
    }
    let (name, (region, _), places, restarts, waves) = (name?, seat?, places?, restarts?, waves?);
    // A schedule has all of them go at the same time; otherwise each counts for itself, and one hold may follow another.
    let together = matches!(cadence, Cadence::Cron(_));
    let holds = if together { waves.canary.min(1) } else { waves.canary };
    let held = waves.hold.saturating_mul(u32::try_from(holds).unwrap_or(u32::MAX));
    if !held.is_zero() && held >= cadence.shortest() {
        let (held, interval) = (Short(held), Short(cadence.shortest()));
        let message = format!(
            "others may never follow: the canaries are due again {interval} after they went, and may hold them up for {held}"
        );
        let accepts = format!("a `hold` shorter than {interval}, or rotations further apart");
        match table.field("waves") {
            Some(field) => field.clashes(message, accepts),
            None => table.missing("waves", message, &accepts),
        }
        return None;
    }
    if !taken.can_hold(&table, &places, &members) {
        return None;
    }
    let each = Rules {
        name: CredentialName::new(name.as_str()).ok()?,
        home: ground.homes.home(ground.account.as_ref()?, region.as_ref())?,
        cadence,
        grace,
        verify,
        adopt: None,
        kind,
        verify_url,
        members,
        places,
        restart: restarts.workloads,
        restart_pause: restarts.pause,
        member: None,
    };
    Some(Fleet { name, region, choice: choice?, waves, each, reserved: taken.own() })
}

fn name(field: Field<'_>, ground: &Ground<'_>, names: &mut HashMap<FleetName, usize>) -> Option<FleetName> {
    let name = field
        .parse(FleetName::ACCEPTS, |text| FleetName::new(text).map_err(|_| "this is no name for a fleet"))
        .filter(|name| Fleet::longest(name).is_none_or(|longest| ground.has_room_for(&longest, field)))?;
    if let Some(first) = names.insert(name.clone(), field.offset()) {
        let message = format!("there is a fleet of this name already, in line {}", field.line_of(first));
        field.clashes(message, "a name of its own for each fleet");
        return None;
    }
    Some(name)
}

/// Which accounts: a list, or those that have a name.
fn choice(field: Field<'_>) -> Option<Choice> {
    let table = field.table(ACCOUNTS)?;
    let list = table.maybe("list", listed);
    let status = table.or("status", (), |field| field.choice(&[("active", ())]));
    let pattern =
        table.maybe("name", |field| Some(Pattern(field.free_text("a name, in which * is any text")?.to_owned())));
    table.finish();
    let (list, pattern) = (list?, pattern?);
    status?;
    let beside = ["status", "name"].into_iter().find_map(|key| table.field(key));
    match (list, pattern) {
        (Some(_), _) if beside.is_some() => {
            beside?.clashes("the accounts are listed already", "a list, or what chooses them");
            None
        }
        (Some(list), _) => Some(Choice::Listed(list)),
        (None, pattern) => Some(Choice::Named(pattern.unwrap_or_else(|| Pattern("*".to_owned())))),
    }
}

fn listed(field: Field<'_>) -> Option<Vec<AccountSid>> {
    let accepts = "a list of SIDs of accounts: [\"AC...\", \"AC...\"]";
    let items = field.items(accepts)?;
    if items.is_empty() || items.len() > MOST {
        field.wrong("a fleet has 1 to 10000 accounts", accepts);
        return None;
    }
    let read: Vec<_> = items.iter().map(|item| account_sid(*item)).collect();
    let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
    for (sid, item) in read.into_iter().zip(&items) {
        let sid = sid?;
        if !seen.insert(sid.as_str().to_ascii_lowercase()) {
            item.clashes("this account is there already", "each account once");
            return None;
        }
        all.push(sid);
    }
    Some(all)
}

fn usual() -> Waves {
    Waves { canary: 1, hold: HOUR, batch: 50, tolerate: 0 }
}

fn waves(field: Field<'_>, short: bool) -> Option<Waves> {
    let (table, usual) = (field.table(WAVES)?, usual());
    let canary = table.or("canary", usual.canary, |field| field.number(0..=1_000));
    let least = if short { Duration::ZERO } else { Duration::from_secs(60) };
    let floor = "nobody would notice in time that the first new keys do harm";
    let bounds = Bounds { least, most: 30 * DAY, floor, such_as: "1h", short: (!short).then_some(Duration::ZERO) };
    let hold = table.or("hold", usual.hold, |field| field.duration(bounds));
    let batch = table.or("batch", usual.batch, |field| field.number(1..=10_000));
    let tolerate = table.or("tolerate", usual.tolerate, |field| field.number(0..=10_000));
    table.finish();
    Some(Waves { canary: canary?, hold: hold?, batch: batch?, tolerate: tolerate? })
}

//! A fleet in the simulation, over three generations of keys, while calls of all kinds fail: whatever happens, nobody follows
//! before the first member has served for as long as the hold, and no more are on the way than a batch has. Then the faults
//! stop, and all must be well.

use crate::crash::{on_all_cores, play, quiet};
use crate::life::{HOUR, MINUTE};
use crate::support::counted::counted;
use crate::support::dice::Dice;
use crate::support::world::{Daemon, World, deployment, policy_with};
use jiff::Timestamp;
use rekeyd::decide::wave;
use rekeyd::model::event::{Entry, Event};
use rekeyd::model::fleet::{Choice, Fleet, FleetName, Membership, Pattern, Waves};
use rekeyd::model::key::KeySid;
use rekeyd::model::names::{CredentialName, Place, SinkName};
use rekeyd::model::policy::{Cadence, KeyKind, Policy};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const FIRST: &str = "f-0000000000";
const HOLD: Duration = Duration::from_secs(3 * 3600);
const DAY: Duration = Duration::from_secs(86_400);
const BATCH: usize = 2;

/// Seven members, the first of which goes first.
fn fleet(seed: u64) -> Policy {
    let name = FleetName::new("f").unwrap();
    let names: Vec<String> = (0..7).map(|number| format!("f-{number:010}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut policy = policy_with(&names, |rules| {
        rules.cadence = Cadence::Every(20 * DAY);
        rules.member = Some(Membership { fleet: name.clone(), canary: rules.name.as_str() == FIRST });
        if seed % 3 == 1 {
            rules.kind = KeyKind::KeyPair;
        }
    });
    (policy.timing, policy.limits.deletes_per_hour) = (quiet().timing, 7);
    let each = policy.credentials.values().next().unwrap().clone();
    let waves = Waves { canary: 1, hold: HOLD, batch: BATCH, tolerate: 6 };
    let choice = Choice::Named(Pattern("*".to_owned()));
    policy.fleets = vec![Fleet { name, region: None, choice, waves, each, reserved: Default::default() }];
    policy
}

/// How far a member is, as its entries tell.
#[derive(Default)]
struct Told {
    underway: bool,
    made: Option<KeySid>,
    serving: Option<(KeySid, Timestamp)>,
}

/// What the daemon told while it lived, and between that what it wrote down and did not live to tell.
fn told_and_written(daemon: &Daemon) -> Vec<(CredentialName, Entry)> {
    let mut all = daemon.events.lock().unwrap().clone();
    let written = daemon.disk.lock().unwrap().entries.clone();
    for (name, entry) in written.iter().flat_map(|(name, entries)| entries.iter().map(move |entry| (name, entry))) {
        if all.iter().any(|(of, told)| of == name && told.seq == entry.seq) {
            continue;
        }
        let own = all.iter().rposition(|(of, told)| of == name && told.seq < entry.seq).map_or(0, |last| last + 1);
        let then = all.iter().position(|(_, told)| told.at.uptime >= entry.at.uptime).unwrap_or(all.len());
        all.insert(own.max(then), (name.clone(), entry.clone()));
    }
    all
}

/// The order that a fleet has to keep.
pub(crate) struct Order<'o> {
    /// The member that goes first.
    pub(crate) first: &'o str,
    pub(crate) hold: Duration,
    pub(crate) batch: usize,
}

/// Reads the entries of all members in the order in which they were written; answers how many rotations had to wait for their
/// turn, or who did not.
pub(crate) fn in_order(events: &[(CredentialName, Entry)], order: &Order<'_>) -> Result<usize, String> {
    let (mut all, mut ordered): (BTreeMap<&str, Told>, usize) = (BTreeMap::new(), 0);
    for (name, entry) in events {
        let name = name.as_str();
        if let Event::Intended(intent) = &entry.event
            && wave::is_ordered(intent.reason)
            && name != order.first
        {
            ordered += 1;
            may_begin(&all, name, entry, order)?;
        }
        all.entry(name).or_default().take_in(entry);
    }
    Ok(ordered)
}

/// Whether it was this member's turn.
fn may_begin(all: &BTreeMap<&str, Told>, name: &str, entry: &Entry, order: &Order<'_>) -> Result<(), String> {
    let ahead = all.iter().filter(|(other, told)| **other != order.first && **other != name && told.underway).count();
    if ahead >= order.batch {
        return Err(format!("waves: {name} begins beside {ahead} others"));
    }
    let since = |name: &str| all.get(name).and_then(|told| told.serving.as_ref()).map(|(_, since)| *since);
    let Some(first) = since(order.first) else { return Err(format!("waves: {name} begins before the first serves")) };
    let held = entry.at.wall.duration_since(first);
    if held.unsigned_abs() < order.hold || held.is_negative() || since(name).is_some_and(|since| since >= first) {
        return Err(format!("waves: {name} begins {held:?} after the first"));
    }
    Ok(())
}

impl Told {
    fn take_in(&mut self, entry: &Entry) {
        let event = &entry.event;
        if matches!(event, Event::Intended(_) | Event::Revived { .. }) {
            self.underway = true;
        }
        if matches!(event, Event::Abandoned { .. } | Event::CreateRefused { .. } | Event::Unsettled)
            || matches!(event, Event::Ambiguous { .. } | Event::Published { .. })
        {
            self.underway = false;
        }
        if let Event::Created { sid, .. } = event {
            self.made = Some(sid.clone());
        }
        let served = self.serving.as_ref().map(|(sid, _)| sid);
        if matches!(event, Event::Published { .. }) && self.made.as_ref() != served {
            self.serving = self.made.clone().map(|made| (made, entry.at.wall));
        }
    }
}

#[test]
fn a_fleet_keeps_its_order_whatever_fails_and_every_member_ends_right() {
    let (rotations, faults) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let fleets = on_all_cores(0..60_u64, |seed| {
        play(async {
            let (mut dice, world) = (Dice::new(*seed), World::new());
            let daemon = Daemon::new(&world, fleet(*seed));
            daemon.live(10 * DAY).await;
            let wanted = 20 + dice.roll(40) as u32;
            world.chaos(dice.roll(u64::MAX), dice.pick(&[3, 5, 8]), wanted);
            // The second generation comes at the twentieth day, the third at the fortieth.
            daemon.live(35 * DAY).await;
            faults.fetch_add((wanted - world.faults_left()) as usize, Ordering::Relaxed);
            world.calm();
            daemon.live(5 * DAY + HOUR).await;
            daemon.converged();
            let events = told_and_written(&daemon);
            let order = Order { first: FIRST, hold: HOLD, batch: BATCH };
            let ordered = in_order(&events, &order).unwrap_or_else(|why| panic!("{why}\n{}", daemon.story()));
            assert!(ordered >= 6, "only {ordered} rotations had an order");
            rotations.fetch_add(ordered, Ordering::Relaxed);
        });
    });
    let (rotations, faults) = (rotations.into_inner(), faults.into_inner());
    assert!(rotations >= fleets * 12 && faults > fleets * 10, "{rotations} rotations, {faults} faults");
    counted("fleets", fleets);
    counted("rotations in waves", rotations);
    counted("faults in fleets", faults);
}

/// Every member is due as soon as it was rotated, and there is time for two of six before the canary comes again.
#[tokio::test(start_paused = true)]
pub(crate) async fn nobody_is_left_behind_where_there_is_no_time_for_all() {
    let (world, workload) = (World::new(), deployment("one", "api"));
    let mut policy = fleet(0);
    for rules in policy.credentials.values_mut() {
        (rules.cadence, rules.restart) = (Cadence::Every(4 * HOUR), vec![workload.clone()]);
    }
    policy.fleets[0].waves.batch = 1;
    policy.limits.creates_per_hour = 100;
    let place = Place::new(SinkName::new("one").unwrap(), FIRST);
    world.truth(|truth| truth.runs(&workload, &place, 20 * MINUTE));
    let daemon = Daemon::new(&world, policy);
    daemon.live(DAY).await;
    let before: BTreeMap<CredentialName, usize> = rotations(&daemon);
    daemon.live(4 * DAY).await;
    let mut made: Vec<usize> = rotations(&daemon).iter().map(|(name, all)| all - before[name]).collect();
    made.sort_unstable();
    let (least, all) = (made[0], made.iter().sum::<usize>());
    assert!(least * made.len() * 2 > all, "some were left behind: {made:?}");
    assert!(made[5] < 4 * 24 / 4 - 4, "there was time for all, which shows nothing: {made:?}");
}

/// How many new keys of each member were published.
fn rotations(daemon: &Daemon) -> BTreeMap<CredentialName, usize> {
    let mut all = BTreeMap::new();
    for (name, entry) in told_and_written(daemon) {
        *all.entry(name).or_default() += usize::from(matches!(entry.event, Event::Published { .. }));
    }
    all
}

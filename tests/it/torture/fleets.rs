//! A fleet, killed while it is rotated: the first member goes first and is held, the others follow two at a time. Its keys
//! become Restricted ones by a change of the policy, which is the shortest way to have all of them due at once.
//!
//! Where four credentials are at work, the points of one come between those of another in any order: so a death is at the
//! n-th point of a name. Every name is played: the moment before it for the member that goes first, the moment after it in
//! the middle of a batch; and those of a create, a publication and a delete for the last member too, and the other way round.

use super::ground::{CALM, Ground, Keys, Ledger, Store, Terms};
use super::kills::{PATIENT, points, so_many};
use super::process::Daemon;
use crate::support::counted::counted;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The one that goes first, a batch of two, and one more.
const MEMBERS: i64 = 4;
/// From now on other keys are wanted, which is a reason to rotate all of them.
pub const CHANGED: Terms = Terms { keys: Some(Keys::Restricted), ..CALM };

/// A fleet whose members all have a first key.
pub async fn settled() -> Ground {
    let ground = Ground::with_fleet(Ledger::Sqlite, Store::Vault, MEMBERS).await;
    let mut daemon = ground.start(&CALM, "");
    ground.until_at_rest(&mut daemon).await;
    drop(daemon);
    ground
}

/// Waits until all members serve keys of the new kind, and nothing is left to do.
pub async fn until_changed(ground: &Ground, daemon: &mut Daemon) {
    let start = Instant::now();
    while !ground.all_are(Keys::Restricted).await {
        assert!(start.elapsed() < super::ground::PATIENCE, "it does not rotate\n{}", daemon.last_words());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    ground.until_at_rest(daemon).await;
}

/// How often each point is passed while the fleet is rotated, by its name.
async fn passed(ground: &Ground) -> BTreeMap<String, usize> {
    let mut daemon = ground.start(&CHANGED, "points");
    until_changed(ground, &mut daemon).await;
    let mut passed = BTreeMap::new();
    points(&daemon).into_iter().for_each(|point| *passed.entry(point).or_default() += 1);
    drop(daemon);
    ground.expect_sound(&CHANGED, "undisturbed").await;
    passed
}

/// What is played of the points of an undisturbed rotation.
fn chosen(passed: BTreeMap<String, usize>) -> Vec<String> {
    let each = |(point, times): (String, usize)| {
        let act = ["create", "publish", "delete"].into_iter().any(|act| point.ends_with(act));
        let usual = if point.starts_with("before") { 1 } else { 2 };
        let of_it = if act { BTreeSet::from([1, 2, times]) } else { BTreeSet::from([usual.min(times)]) };
        of_it.into_iter().map(move |time| at(time, &point)).collect::<Vec<_>>()
    };
    passed.into_iter().flat_map(each).collect()
}

/// The word that kills a daemon when it comes past this point for that time.
fn at(time: usize, point: &str) -> String {
    format!("crash:{time}:{}", point.replace(' ', "-"))
}

/// One death after the other, each of another daemon, and then one that lives; how many were killed. What the others had
/// begun when the first was killed depends on the moment, so not every recovery comes past every point of another.
async fn killed_at(deaths: Vec<String>) -> usize {
    let (ground, what) = (settled().await, format!("a fleet, {deaths:?}"));
    let mut killed = 1;
    ground.start(&CHANGED, &deaths[0]).until_killed(&what).await;
    for death in deaths.iter().skip(1) {
        let (mut daemon, start) = (ground.start(&CHANGED, death), Instant::now());
        while !(daemon.is_killed(&what) || ground.all_are(Keys::Restricted).await) {
            assert!(start.elapsed() < super::ground::PATIENCE, "{what}: it does not rotate\n{}", daemon.last_words());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        killed += usize::from(daemon.is_killed(&what));
    }
    let mut daemon = ground.start(&CHANGED, "");
    until_changed(&ground, &mut daemon).await;
    drop(daemon);
    ground.expect_sound(&CHANGED, &what).await;
    killed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_killed_at_every_kind_of_point_in_its_first_wave_and_in_its_batches() {
    // Dead after a create in a batch, with another one on its way; what comes to that in its recovery is killed once more.
    let first = at(2, "after create");
    let recovery = async {
        let bereft = settled().await;
        bereft.start(&CHANGED, &first).until_killed("after a create").await;
        passed(&bereft).await
    };
    let undisturbed = async { passed(&settled().await).await };
    let (undisturbed, recovery) = tokio::join!(undisturbed, recovery);
    for act in ["create", "publish", "delete", "append intended", "append created", "append condemned"] {
        for point in [format!("before {act}"), format!("after {act}")] {
            assert_eq!(undisturbed.get(&point), Some(&(MEMBERS as usize)), "{point}: {undisturbed:#?}");
        }
    }
    assert!(recovery.contains_key("before fence"), "no fence in the recovery: {recovery:#?}");
    let again = recovery.into_keys().filter(|point| !undisturbed.contains_key(point)).map(|point| at(1, &point));
    let again: Vec<_> = again.map(|second| vec![first.clone(), second]).collect();

    let deaths: Vec<_> = chosen(undisturbed).into_iter().map(|death| vec![death]).chain(again).collect();
    let (lives, twice) = (deaths.len(), deaths.iter().filter(|deaths| deaths.len() == 2).count());
    let kills = so_many(PATIENT, deaths, killed_at).await;
    assert!(kills >= lives + twice / 2, "of {twice} recoveries only {} were killed", kills - lives);
    counted("kills", kills);
    counted("torture runs", lives);
}

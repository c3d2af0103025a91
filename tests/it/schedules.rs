//! Schedules by chance: a first rotation, a second and perhaps a third, by one daemon or several, while ten and more faults
//! happen to calls of all kinds and the clocks go wrong. Then the faults stop, and all must be well.
//!
//! A seed is a schedule. `SEEDS=17 tests/run schedules` plays schedule 17 and tells its story, `SEEDS=0..100000` many.

use crate::crash::{on_all_cores, play, quiet};
use crate::life::HOUR;
use crate::support::counted::counted;
use crate::support::dice::Dice;
use crate::support::world::{Daemon, Fate, World, deployment};
use rekeyd::model::document::Members;
use rekeyd::model::home::{Home, Region};
use rekeyd::model::names::{CredentialName, Place, SinkName};
use rekeyd::model::permission::{Permission, Permissions};
use rekeyd::model::policy::{Allow, KeyKind, Policy, Rules, SinkPolicy};
use rekeyd::model::reason::Halt;
use rekeyd::model::workload::Workload;
use rekeyd::ports::Ask;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const YEAR: i64 = 365 * 86_400;
const IRELAND: &str = "ireland";

fn any_policy(dice: &mut Dice) -> Policy {
    let mut policy = quiet();
    let sinks: &[&str] = dice.pick(&[&["one", "two"][..], &["one", "two"], &["aws", "one"], &["one", "aws"], &["aws"]]);
    let sink = |name: &&str| SinkName::new(name).unwrap();
    policy.sinks = sinks.iter().map(|name| (sink(name), SinkPolicy::Directory { path: "/nowhere".into() })).collect();
    for rules in policy.credentials.values_mut() {
        rules.places = sinks.iter().map(|name| Place::new(sink(name), "billing")).collect();
    }
    policy
}

/// What goes wrong with the clocks. Those of the daemon may all be wrong, and so may Twilio's, but not both: an hour that
/// every clock in the world says has passed can not be told from one that has.
#[derive(Clone, Copy, Debug)]
enum Clocks {
    Right,
    Jumps,
    Frozen,
    DoubleSpeed,
    TwilioWrong,
}

async fn clocks_go_wrong(world: &World, clocks: Clocks, dice: &mut Dice) {
    match clocks {
        Clocks::Right => std::future::pending().await,
        Clocks::DoubleSpeed => world.truth(|truth| (truth.haste, truth.wall_hurries, truth.hurried) = (2, true, true)),
        Clocks::Frozen => {
            tokio::time::sleep(dice.pause()).await;
            world.truth(|truth| truth.wall_frozen = Some(truth.wall()));
        }
        Clocks::TwilioWrong => {
            world.truth(|truth| truth.twilio_ahead = dice.pick(&[-86_400, -400, -200, 200, 400, YEAR]))
        }
        Clocks::Jumps => loop {
            tokio::time::sleep(dice.pause()).await;
            let jump = dice.pick(&[-10 * YEAR, -YEAR, -4000, -301, -1, 0, 1, 299, 4000, YEAR, 10 * YEAR]);
            world.truth(|truth| truth.wall_ahead = jump);
        },
    }
    std::future::pending().await
}

/// What goes on in the account beside the faults of single calls.
#[derive(Clone, Copy, Debug)]
enum Oddity {
    None,
    /// A person duplicates keys that the daemon has just made, label and all, and deletes some that it does not know of.
    Copies,
    /// The answer to the first create is lost and lists do not show its key; a person copies it an hour later, and deletes
    /// the one that was copied. What is left has our label, and is not ours.
    LateCopy,
    /// Lists leave out every key, for minutes.
    ListHides,
    /// Creates take effect ten minutes after they were given up on.
    CreatesCrawl,
}

fn any_oddity(seed: u64, dice: &mut Dice) -> Oddity {
    let oddity = dice.pick(&[
        Oddity::None,
        Oddity::None,
        Oddity::Copies,
        Oddity::LateCopy,
        Oddity::ListHides,
        Oddity::CreatesCrawl,
    ]);
    // Nobody can copy a token together with its name, for it has none at Twilio.
    let copied = matches!(oddity, Oddity::Copies | Oddity::LateCopy);
    if copied && of_tokens(seed) { Oddity::None } else { oddity }
}

async fn odd_things(world: &World, oddity: Oddity, dice: &mut Dice) {
    match oddity {
        Oddity::None => {}
        Oddity::Copies => loop {
            tokio::time::sleep(Duration::from_secs(1 + dice.roll(1500))).await;
            let label = world.truth(|truth| {
                let newest = truth.ours().pop()?;
                let known = truth.journal.values().any(|state| state.keys().any(|sid| *sid == newest));
                let label = truth.keys[&newest].label.clone();
                // Nobody can tell the only key with a label, made when ours was, from ours.
                let old = truth.now().saturating_sub(truth.keys[&newest].created) > HOUR / 2;
                if !known && old && dice.one_in(2) {
                    truth.human_deletes(&newest);
                }
                label
            });
            label.inspect(|label| drop(world.truth(|truth| truth.foreign_key(Some(label)))));
        },
        Oddity::ListHides => loop {
            tokio::time::sleep(dice.pause()).await;
            world.truth(|truth| truth.list_hides = true);
            tokio::time::sleep(Duration::from_secs(60 + dice.roll(240))).await;
            world.truth(|truth| truth.list_hides = false);
        },
        Oddity::LateCopy => {
            world.doom_all("create", Some(Fate::LoseAnswer));
            let made = world.truth(|truth| truth.made.clone());
            let lost = loop {
                let next = made.notified();
                if let Some(sid) = world.truth(|truth| truth.ours().pop()) {
                    break sid;
                }
                next.await;
            };
            world.doom_all("create", None);
            world.truth(|truth| truth.unlisted.insert(lost.clone()));
            tokio::time::sleep(HOUR).await;
            world.truth(|truth| {
                let label = truth.keys[&lost].label.clone();
                truth.foreign_key(label.as_deref());
                truth.human_deletes(&lost);
            });
        }
        Oddity::CreatesCrawl => {
            world.doom_all("create", Some(Fate::VeryLate));
            tokio::time::sleep(2 * HOUR).await;
            world.doom_all("create", None);
        }
    }
    std::future::pending().await
}

/// In one schedule of five the keys are Restricted ones, and in every second of those Twilio lets the first do more than
/// was asked for. In another of five they are key pairs, and in another the auth tokens of the account, which the places
/// serve already or not.
fn of_a_kind(seed: u64, world: &World, policy: &mut Policy) {
    if seed % 5 == 1 {
        policy.credentials.values_mut().for_each(|rules| rules.kind = KeyKind::KeyPair);
    }
    if of_tokens(seed) {
        for rules in policy.credentials.values_mut() {
            (rules.kind, rules.members) = (KeyKind::AuthToken { quiet: true }, Members::of_tokens());
            let serving = seed % 10 == 2;
            world.truth(|truth| truth.with_token(if serving { &rules.places } else { &[] }, !serving));
        }
    }
    if seed % 5 != 3 {
        return;
    }
    let permission = |text| Permission::new(text).unwrap();
    let allow: Permissions =
        ["/twilio/messaging/messages/list", "/twilio/messaging/messages/read"].map(permission).into();
    for rules in policy.credentials.values_mut() {
        rules.kind = KeyKind::Restricted(Allow::These(allow.clone()));
    }
    world.truth(|truth| (truth.wanted, truth.widened) = (Some(allow), u32::from(seed % 10 == 3)));
}

fn of_tokens(seed: u64) -> bool {
    seed % 5 == 2
}

/// A create that was delivered twice ends with a token that nobody can tell from a person's: people see to it.
fn people_look_after_tokens(daemon: &Daemon) {
    let state = daemon.state("billing");
    if state.halted.is_some_and(|halted| halted.halt == Halt::CreateRefused) {
        daemon.world.truth(|truth| truth.human_discards());
        daemon.ask("billing", Ask::Resume { overwrite: false, forget: BTreeSet::new() });
    }
}

/// In one schedule of seven there are programs that read the pair when they start and never again; their restarts take up to
/// an hour, and now and then somebody undoes one.
fn with_pods(seed: u64, world: &World, policy: &mut Policy) -> Option<Workload> {
    if seed % 7 != 3 {
        return None;
    }
    let mut dice = Dice::new(seed ^ 7);
    let rules = policy.credentials.values_mut().next()?;
    let (place, takes) = (dice.pick(&rules.places), Duration::from_secs(dice.roll(3600)));
    let workload = deployment(place.sink.as_str(), "api");
    (rules.restart, rules.restart_pause) = (vec![workload.clone()], Duration::from_secs(dice.pick(&[0, 60, 600])));
    world.truth(|truth| truth.runs(&workload, &place, takes));
    Some(workload)
}

/// In one schedule of five a second credential has its keys in another region of the account.
fn in_another_region(seed: u64, policy: &mut Policy) {
    let Some(billing) = policy.credentials.values().next().filter(|_| seed % 5 == 4).cloned() else { return };
    let name = CredentialName::new(IRELAND).unwrap();
    let home = Home { region: Region::new("ie1").unwrap(), ..billing.home.clone() };
    let places = billing.places.iter().map(|place| Place::new(place.sink.clone(), IRELAND)).collect();
    policy.credentials.insert(name.clone(), Rules { name, home, places, ..billing });
}

/// In one schedule of eight what is served is watched.
fn is_watched(seed: u64, policy: &mut Policy) {
    policy.timing.watch = (seed % 8 == 3).then_some(HOUR / 2);
}

/// Plays one schedule; the daemon at the end of it, how many faults there were, and what the clocks did.
async fn schedule(seed: u64) -> (Daemon, u64, Clocks) {
    let mut dice = Dice::new(seed);
    let world = World::new();
    let oddity = any_oddity(seed, &mut dice);
    let mut policy = any_policy(&mut dice);
    if matches!(oddity, Oddity::ListHides) {
        policy.timing.sweep = HOUR / 4;
    }
    of_a_kind(seed, &world, &mut policy);
    in_another_region(seed, &mut policy);
    let pods = with_pods(seed, &world, &mut policy);
    is_watched(seed, &mut policy);
    let abroad = policy.credentials.len() > 1;
    let daemon = Daemon::new(&world, policy);
    let replicas = dice.pick(&[0, 0, 1, 2, 3]);
    let daemon = if replicas == 0 { daemon } else { daemon.replicated(replicas) };
    let clocks = dice.pick(&[
        Clocks::Right,
        Clocks::Right,
        Clocks::Jumps,
        Clocks::Frozen,
        Clocks::DoubleSpeed,
        Clocks::TwilioWrong,
    ]);
    // At double speed a create settles before it arrives, and nothing can be promised of how many keys there are then.
    let clocks = match (clocks, oddity) {
        (Clocks::DoubleSpeed, Oddity::CreatesCrawl) => Clocks::Right,
        (clocks, _) => clocks,
    };
    world.truth(|truth| truth.acceptance = dice.pick(&[Duration::ZERO, Duration::ZERO, Duration::from_secs(7)]));
    let faults = 10 + dice.roll(15) as u32;
    world.chaos(dice.roll(u64::MAX), dice.pick(&[2, 3, 5, 8]), faults);
    {
        let mut other = Dice::new(dice.roll(u64::MAX));
        let odd = odd_things(&world, oddity, &mut other);
        let wrong = clocks_go_wrong(&world, clocks, &mut dice);
        tokio::pin!(wrong, odd);
        for _ in 0..12 {
            tokio::select! {
            biased;
                            _ = daemon.live(3 * HOUR) => {}
                            () = &mut wrong => {}
                () = &mut odd => {}
                        }
            people_look_after_tokens(&daemon);
            if let Some(workload) = pods.iter().find(|_| seed.is_multiple_of(2)) {
                world.truth(|truth| truth.human_reverts(workload));
            }
            if world.faults_left() == 0 {
                break;
            }
            // Another rotation, so that there is something to disturb.
            daemon.ask("billing", Ask::Rotate);
            if abroad {
                daemon.ask(IRELAND, Ask::Rotate);
            }
        }
    }
    let happened = u64::from(faults - world.faults_left());
    world.calm();
    people_look_after_tokens(&daemon);
    // Long enough for what is left over to be found, and for one more rotation to come to its end.
    for _ in 0..3 {
        daemon.live(20 * HOUR).await;
        if daemon.verdict().is_ok() {
            break;
        }
    }
    (daemon, happened, clocks)
}

/// Plays one schedule; what was wrong, if something was.
pub(crate) fn verdict(seed: u64) -> Result<(), String> {
    play(async { schedule(seed).await.0.verdict() })
}

fn story(seed: u64) -> String {
    play(async {
        let (daemon, _, clocks) = schedule(seed).await;
        let name = CredentialName::new("billing").unwrap();
        let entries = daemon.disk.lock().unwrap().entries.get(&name).map(serde_json::to_string);
        format!("{clocks:?}\n{}\n{:?}\n{entries:?}", daemon.story(), daemon.world.log())
    })
}

#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    for seed in 0..40 {
        let told = story(seed);
        assert!(told.len() > 2000 && told == story(seed), "schedule {seed} went otherwise the second time");
    }
    assert_ne!(story(1), story(2));
}

#[test]
fn ten_faults_and_more_in_any_order_break_nothing_and_heal() {
    let asked = std::env::var("SEEDS").unwrap_or_else(|_| "0..3000".into());
    let seeds = match asked.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => asked.parse().unwrap()..asked.parse::<u64>().unwrap() + 1,
    };
    if seeds.end - seeds.start == 1 {
        println!("{}", story(seeds.start));
    }
    let (faults, calls) = (AtomicU64::new(0), AtomicU64::new(0));
    let schedules = on_all_cores(seeds, |seed| {
        play(async {
            let (daemon, happened, _) = schedule(*seed).await;
            daemon.converged();
            faults.fetch_add(happened, Ordering::Relaxed);
            calls.fetch_add(daemon.world.calls() as u64, Ordering::Relaxed);
        });
    });
    counted("schedules", schedules);
    counted("faults in schedules", faults.into_inner());
    counted("calls in schedules", calls.into_inner());
}

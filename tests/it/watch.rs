//! The watch on what is served: it tells what consumers have, soon and never wrongly, and changes nothing.

use crate::life::{HOUR, MINUTE, halt_of, object, place};
use crate::support::world::{Daemon, World, policy, policy_with};
use rekeyd::model::key::KeySid;
use rekeyd::model::policy::{Policy, Timing};
use rekeyd::model::reason::Halt;
use rekeyd::ports::{Ask, Standing};
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

const INTERVAL: Duration = Duration::from_secs(15 * 60);
/// From one look at a credential to the end of the next, which may have to be confirmed.
const SOON: Duration = Duration::from_secs(16 * 60);

fn watched_every(interval: Option<Duration>, policy: Policy) -> Policy {
    Policy { timing: Timing { watch: interval, ..policy.timing }, ..policy }
}

fn watched() -> Policy {
    watched_every(Some(INTERVAL), policy())
}

/// A world in which the first rotation has ended, and a daemon for it.
async fn rested(policy: Policy) -> (World, Daemon) {
    let world = World::new();
    let daemon = Daemon::new(&world, policy);
    daemon.live(2 * HOUR).await;
    daemon.converged();
    (world, daemon)
}

/// What happens while the daemon lives.
async fn during(daemon: &Daemon, time: Duration, story: impl Future<Output = ()>) {
    tokio::join!(daemon.live(time), story);
    assert_eq!(daemon.world.truth(|truth| truth.broken.clone()), Vec::<String>::new());
}

/// Whether what this sink serves was last told to work, and how long ago.
fn told(world: &World, sink: &str) -> Option<(bool, Duration)> {
    world.truth(|truth| {
        let now = truth.now();
        let (flaw, at) = truth.told.get(&place(sink))?;
        Some((flaw.is_none(), now.saturating_sub(*at)))
    })
}

fn works(world: &World, sink: &str) -> Option<bool> {
    told(world, sink).filter(|(_, age)| *age <= SOON).map(|(works, _)| works)
}

fn why(world: &World, sink: &str) -> String {
    world.truth(|truth| truth.told[&place(sink)].0.clone()).unwrap_or_default()
}

fn current(daemon: &Daemon) -> KeySid {
    daemon.state("billing").current.unwrap().sid
}

#[tokio::test(start_paused = true)]
async fn a_dead_pair_in_place_of_ours_is_told_within_the_interval_and_decided_on_at_once() {
    for watch in [Some(INTERVAL), None] {
        let (world, daemon) = rested(watched_every(watch, policy())).await;
        during(&daemon, HOUR, async {
            sleep(SOON).await;
            let before = watch.map(|_| true);
            assert_eq!((works(&world, "one"), works(&world, "two")), (before, before));
            let dead = world.truth(|truth| truth.foreign_key(None));
            let pair = object(json!({"apiKeySid": dead.as_str(), "apiKeySecret": "wrong"}));
            world.truth(|truth| truth.human_writes(&place("one"), pair));
            sleep(SOON).await;
            assert_eq!((works(&world, "one"), works(&world, "two")), (watch.map(|_| false), before));
            // What is found is no ground for a halt; it makes the engine look, six hours before it would have.
            assert_eq!(halt_of(&daemon), watch.map(|_| Halt::Drift));
            sleep(SOON).await;
            assert_eq!(works(&world, "two"), before, "a halted credential is watched too");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_secret_of_the_right_key_is_told_halts_nothing_and_is_mended_by_a_rotation() {
    let (world, daemon) = rested(watched()).await;
    during(&daemon, 2 * HOUR, async {
        let sid = current(&daemon);
        let pair = object(json!({"apiKeySid": sid.as_str(), "apiKeySecret": "wrong"}));
        world.truth(|truth| truth.human_writes(&place("two"), pair));
        sleep(SOON).await;
        assert_eq!((works(&world, "one"), works(&world, "two")), (Some(true), Some(false)));
        assert_eq!(why(&world, "two"), format!("Twilio refuses the pair {sid}"));
        assert_eq!(halt_of(&daemon), None);
        daemon.ask("billing", Ask::Rotate);
        sleep(SOON).await;
        assert_eq!((works(&world, "one"), works(&world, "two")), (Some(true), Some(true)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_emptied_place_and_a_foreign_value_are_told_in_words() {
    let values = [
        (None, "it holds no key"),
        (object(json!({})), "it holds no key"),
        (object(json!({"note": "mine"})), "it holds something that is not a key pair"),
        (
            object(json!({"apiKeySid": "SK00000000000000000000000000000001"})),
            "it holds SK00000000000000000000000000000001 without a secret",
        ),
    ];
    for (value, words) in values {
        let (world, daemon) = rested(watched()).await;
        during(&daemon, HOUR, async {
            world.truth(|truth| truth.human_writes(&place("one"), value));
            sleep(SOON).await;
            assert_eq!((works(&world, "one"), why(&world, "one").as_str()), (Some(false), words));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_a_person_deletes_is_told_before_the_sweep_and_told_again_once_it_is_replaced() {
    let mut policy = watched();
    policy.timing.sweep = HOUR;
    let (world, daemon) = rested(policy).await;
    during(&daemon, 4 * HOUR, async {
        sleep(SOON).await;
        let sid = current(&daemon);
        world.truth(|truth| truth.human_deletes(&sid));
        sleep(SOON).await;
        assert_eq!((works(&world, "one"), works(&world, "two")), (Some(false), Some(false)));
        assert_eq!(current(&daemon), sid, "the watch replaces nothing");
        // That all keys of an account are gone is believed when a second list says so too.
        sleep(2 * HOUR).await;
        assert_ne!(current(&daemon), sid);
        assert_eq!((works(&world, "one"), works(&world, "two")), (Some(true), Some(true)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_asked_stays_as_it_was_known_and_grows_old() {
    let (world, daemon) = rested(watched()).await;
    during(&daemon, 7 * HOUR, async {
        sleep(SOON).await;
        for (peer, silent) in [("one", [true, false]), ("twilio", [true, true])] {
            world.down(peer, true);
            sleep(HOUR).await;
            for (sink, silent) in ["one", "two"].into_iter().zip(silent) {
                let (works, age) = told(&world, sink).unwrap();
                assert!(works && (age > HOUR - SOON) == silent, "{peer} {sink} {age:?}");
            }
            world.down(peer, false);
            sleep(SOON + MINUTE).await;
            assert_eq!((works(&world, "one"), works(&world, "two")), (Some(true), Some(true)), "{peer}");
        }
        world.truth(|truth| truth.standing = Some(Standing::Suspended));
        sleep(HOUR).await;
        let (_, age) = told(&world, "one").unwrap();
        assert!(age > HOUR / 2, "a suspended account was asked {age:?} ago");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_before_it_is_known_and_soon_after_a_start_it_is() {
    let (world, daemon) = rested(watched()).await;
    world.truth(|truth| truth.told.clear());
    world.slow("probe", MINUTE);
    during(&daemon, HOUR, async {
        sleep(MINUTE / 2).await;
        assert_eq!((told(&world, "one"), told(&world, "two")), (None, None));
        sleep(MINUTE).await;
        assert_eq!((works(&world, "one"), works(&world, "two")), (Some(true), Some(true)));
    })
    .await;
}

/// Between a suspension and the next sweep: Twilio refuses every pair, and none is to blame.
#[tokio::test(start_paused = true)]
async fn a_suspension_is_not_told_as_pairs_that_are_refused() {
    let mut policy = watched();
    policy.timing.sweep = 40 * HOUR;
    let (world, daemon) = rested(policy).await;
    during(&daemon, 4 * HOUR, async {
        sleep(SOON).await;
        world.truth(|truth| (truth.standing, truth.refuses_all) = (Some(Standing::Suspended), true));
        sleep(HOUR).await;
        assert!(told(&world, "one").is_some_and(|(works, age)| works && age > HOUR / 2));
    })
    .await;
}

/// One of Twilio's servers refuses what the other accepts.
#[tokio::test(start_paused = true)]
async fn a_refusal_now_and_then_is_not_told() {
    let (world, daemon) = rested(watched()).await;
    during(&daemon, 6 * HOUR, async {
        for _ in 0..20 {
            // The next trial, and every other, is refused.
            world.truth(|truth| truth.one_edge_refuses = true);
            sleep(SOON).await;
            assert_eq!((works(&world, "one"), works(&world, "two")), (Some(true), Some(true)));
        }
    })
    .await;
    let refused = world.log().iter().filter(|call| *call == "twilio probe").count();
    assert!(refused > 25, "hardly anything was tried twice: {refused} trials");
}

/// So many credentials, at two places each.
const NAMES: usize = 40;

/// Reads and trials in each minute of an hour at rest.
async fn calls_at_rest(watch: Option<Duration>, replicas: usize, down: bool) -> Vec<[usize; 2]> {
    let names: Vec<String> = (0..NAMES).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::new();
    let mut policy = watched_every(watch, policy_with(&names, |_| ()));
    policy.limits.deletes_per_hour = 1000;
    policy.timing.reconcile = 40 * HOUR;
    let daemon = Daemon::new(&world, policy);
    let daemon = if replicas == 1 { daemon } else { daemon.replicated(replicas) };
    let mut minutes = Vec::new();
    let count = || {
        let log = world.log();
        [" read", " probe"].map(|call| log.iter().filter(|made| made.ends_with(call)).count())
    };
    during(&daemon, 4 * HOUR, async {
        sleep(5 * HOUR / 2).await;
        world.down("one", down);
        let mut before = count();
        for _ in 0..60 {
            sleep(MINUTE).await;
            let now = count();
            minutes.push([now[0] - before[0], now[1] - before[1]]);
            before = now;
        }
    })
    .await;
    minutes
}

fn in_all(minutes: &[[usize; 2]]) -> [usize; 2] {
    minutes.iter().fold([0, 0], |sum, minute| [sum[0] + minute[0], sum[1] + minute[1]])
}

#[tokio::test(start_paused = true)]
async fn looks_are_as_many_as_the_interval_says_and_spread_over_it() {
    let without = calls_at_rest(None, 1, false).await;
    assert_eq!(in_all(&without), [0, 0], "nothing else reads or tries what is at rest in this hour");
    let minutes = calls_at_rest(Some(INTERVAL), 1, false).await;
    // Four looks an hour at two places that serve one pair.
    assert_eq!(in_all(&minutes), [NAMES * 2 * 4, NAMES * 4]);
    let (usual, most) = (NAMES * 2 * 4 / 60, minutes.iter().map(|minute| minute[0]).max().unwrap());
    assert!(most <= 3 * usual, "{most} reads in one minute, {usual} on the average");
    let three = in_all(&calls_at_rest(Some(INTERVAL), 3, false).await);
    assert_eq!(three, [3 * NAMES * 2 * 4, 3 * NAMES * 4], "each process watches for itself");
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_does_not_answer_is_asked_now_and_then_and_the_other_as_often_as_ever() {
    let [reads, trials] = in_all(&calls_at_rest(Some(INTERVAL), 1, true).await);
    let of_the_other = NAMES * 4;
    assert_eq!(trials, of_the_other);
    assert!((of_the_other + 30..of_the_other + 70).contains(&reads), "{reads} reads");
}

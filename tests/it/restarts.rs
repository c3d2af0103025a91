//! Programs that read their pair only once are restarted before grace begins, and no key is deleted that one of them holds.

use crate::life::{HOUR, MINUTE, place};
use crate::support::world::{Daemon, Fate, Truth, World, deployment, policy_with};
use rekeyd::model::key::KeySid;
use rekeyd::model::names::{Place, SinkName};
use rekeyd::model::policy::Policy;
use rekeyd::model::reason::Halt;
use rekeyd::model::workload::Workload;
use rekeyd::ports::Ask;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

const PAUSE: Duration = Duration::from_secs(60);

fn api() -> Workload {
    deployment("one", "api")
}

/// Credentials whose consumers are pods of one deployment.
fn policy(names: &[&str]) -> Policy {
    policy_with(names, |rules| (rules.restart, rules.restart_pause) = (vec![api()], PAUSE))
}

fn restarts(world: &World) -> u32 {
    world.truth(|truth| truth.pods[&api()].restarts)
}

/// A daemon whose first rotation is done, and pods whose rollout takes so long.
async fn settled(names: &[&str], takes: Duration) -> (World, Daemon) {
    let world = World::new();
    let reads = Place::new(SinkName::new("one").unwrap(), names[0]);
    world.truth(|truth| truth.runs(&api(), &reads, takes));
    let daemon = Daemon::new(&world, policy(names));
    daemon.live(3 * HOUR).await;
    daemon.converged();
    (world, daemon)
}

#[tokio::test(start_paused = true)]
async fn grace_begins_when_the_rollout_has_ended() {
    let (world, daemon) = settled(&["billing"], 20 * MINUTE).await;
    let (old, before) = (world.truth(|truth| truth.serves(&place("one"))).unwrap(), restarts(&world));
    daemon.ask("billing", Ask::Rotate);
    daemon.live(15 * MINUTE).await;
    assert_eq!((daemon.state("billing").word(), restarts(&world)), ("restarting", before + 1));
    let waiting = daemon.waiting("billing");
    assert!(waiting.contains("one:deployment/api"), "{waiting}");
    // An hour of grace after the twenty minutes, and not after the publication.
    daemon.live(65 * MINUTE).await;
    assert_eq!(daemon.state("billing").word(), "grace");
    assert!(world.truth(|truth| truth.ours().contains(&old)), "the end came before grace was over");
    daemon.live(15 * MINUTE).await;
    assert!(!world.truth(|truth| truth.ours().contains(&old)), "{}", daemon.story());
    assert_eq!(restarts(&world), before + 1);
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn rotations_that_come_together_share_a_restart() {
    let names = ["billing", "alerts", "voice"];
    let (world, daemon) = settled(&names, MINUTE).await;
    let before = restarts(&world);
    for name in names {
        daemon.ask(name, Ask::Rotate);
        daemon.live(Duration::from_secs(10)).await;
    }
    daemon.live(3 * HOUR).await;
    daemon.converged();
    assert_eq!(restarts(&world), before + 1, "{}", daemon.story());
    for name in names {
        let through = daemon.words(name).into_iter().filter(|word| *word == "rolled_out").count();
        assert_eq!(through, 2, "{name}: {}", daemon.story());
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_does_not_end_keeps_the_old_key_alive() {
    let (world, daemon) = settled(&["billing"], MINUTE).await;
    let old = world.truth(|truth| truth.serves(&place("one"))).unwrap();
    world.truth(|truth| truth.pods.get_mut(&api()).unwrap().takes = 1000 * HOUR);
    daemon.ask("billing", Ask::Rotate);
    daemon.live(190 * HOUR).await;
    let calls = world.calls();
    daemon.live(10 * HOUR).await;
    assert!(world.calls() - calls <= 400, "L5: {} calls in ten hours", world.calls() - calls);
    assert_eq!(daemon.state("billing").word(), "restarting");
    assert!(world.truth(|truth| truth.ours().contains(&old)));
    // People find the image that could not be pulled, and start the pods again.
    world.truth(|truth| {
        truth.pods.get_mut(&api()).unwrap().takes = MINUTE;
        truth.human_reverts(&api());
    });
    daemon.live(40 * HOUR).await;
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn who_takes_the_mark_away_when_the_pods_are_new_is_not_fought_with() {
    let (world, daemon) = settled(&["billing"], 10 * MINUTE).await;
    let before = restarts(&world);
    daemon.ask("billing", Ask::Rotate);
    daemon.live(20 * MINUTE).await;
    assert_eq!((daemon.state("billing").word(), restarts(&world)), ("grace", before + 1));
    world.truth(|truth| truth.human_reverts(&api()));
    daemon.live(3 * HOUR).await;
    assert_eq!(restarts(&world), before + 2, "ours and the person's: {}", daemon.story());
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_does_not_exist_holds_the_rotation_until_the_policy_forgets_it() {
    let (world, mut daemon) = settled(&["billing"], MINUTE).await;
    let old = world.truth(|truth| truth.serves(&place("one"))).unwrap();
    world.truth(|truth| truth.pods.clear());
    daemon.ask("billing", Ask::Rotate);
    daemon.live(5 * HOUR).await;
    let state = daemon.state("billing");
    assert!(state.trouble.is_some_and(|trouble| trouble.to_string().contains("one:deployment/api")));
    assert!(world.truth(|truth| truth.ours().contains(&old)));
    daemon.policy = policy_with(&["billing"], |_| {}).into();
    daemon.live(26 * HOUR).await;
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_is_added_while_others_are_awaited_is_restarted_too() {
    let (world, mut daemon) = settled(&["billing"], 30 * MINUTE).await;
    let more = deployment("one", "worker");
    world.truth(|truth: &mut Truth| truth.runs(&more, &place("one"), MINUTE));
    daemon.ask("billing", Ask::Rotate);
    daemon.live(10 * MINUTE).await;
    assert_eq!(daemon.state("billing").word(), "restarting");
    let before = restarts(&world);
    let both = vec![api(), more.clone()];
    daemon.policy = policy_with(&["billing"], move |rules| rules.restart = both.clone()).into();
    daemon.live(3 * HOUR).await;
    daemon.converged();
    assert_eq!((restarts(&world), world.truth(|truth| truth.pods[&more].restarts)), (before, 1), "{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn what_somebody_writes_again_during_grace_is_taken_up_again() {
    let (world, daemon) = settled(&["billing"], MINUTE).await;
    daemon.ask("billing", Ask::Rotate);
    daemon.live(30 * MINUTE).await;
    assert_eq!(daemon.state("billing").word(), "grace");
    let before = restarts(&world);
    world.truth(|truth| truth.human_touches(&place("one")));
    daemon.live(3 * HOUR).await;
    assert_eq!(restarts(&world), before + 1, "{}", daemon.story());
    daemon.converged();
}

/// Pods that were not replaced hold the old pair, and the template that they have is the latest again.
#[tokio::test(start_paused = true)]
async fn a_restart_that_is_undone_before_it_is_through_is_made_again() {
    let (world, daemon) = settled(&["billing"], MINUTE).await;
    let old = fresh(&world, &daemon).await;
    world.truth(|truth| truth.pods.get_mut(&api()).unwrap().takes = 30 * MINUTE);
    daemon.ask("billing", Ask::Rotate);
    daemon.live(15 * MINUTE).await;
    let before = restarts(&world);
    world.truth(|truth| truth.human_undoes(&api()));
    daemon.live(10 * MINUTE).await;
    assert_eq!((daemon.state("billing").word(), restarts(&world)), ("restarting", before + 1), "{}", daemon.story());
    daemon.live(5 * HOUR).await;
    assert!(!world.truth(|truth| truth.ours().contains(&old)), "{}", daemon.story());
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn who_undoes_every_restart_is_shown_to_a_person_and_no_key_goes() {
    let (world, daemon) = settled(&["billing"], MINUTE).await;
    let old = fresh(&world, &daemon).await;
    world.truth(|truth| truth.pods.get_mut(&api()).unwrap().takes = 30 * MINUTE);
    daemon.ask("billing", Ask::Rotate);
    for _ in 0..30 {
        daemon.live(MINUTE).await;
        world.truth(|truth| truth.human_undoes(&api()));
    }
    let halted = daemon.state("billing").halted.unwrap_or_else(|| panic!("{}", daemon.story()));
    assert!(halted.halt == Halt::Drift && halted.detail.contains("one:deployment/api"), "{}", halted.detail);
    daemon.live(50 * HOUR).await;
    assert!(world.truth(|truth| truth.ours().contains(&old)));
    daemon.ask("billing", Ask::Resume { overwrite: false, forget: BTreeSet::new() });
    daemon.live(28 * HOUR).await;
    assert!(!world.truth(|truth| truth.ours().contains(&old)), "{}", daemon.story());
    daemon.converged();
}

/// The template is put back before a rotation, with a mark that is older, and put forward again while it restarts: pods of
/// before are pods of the latest template then, and its mark is not a new one.
#[tokio::test(start_paused = true)]
async fn a_template_that_is_put_back_and_forward_again_is_no_restart() {
    let (world, daemon) = settled(&["billing"], MINUTE).await;
    fresh(&world, &daemon).await;
    for _ in 0..2 {
        daemon.ask("billing", Ask::Rotate);
        daemon.live(3 * HOUR).await;
    }
    let (older, newer) = world.truth(|truth| {
        let pods = truth.pods.get_mut(&api()).unwrap();
        pods.takes = 1000 * HOUR;
        (pods.mark_before.clone(), pods.mark.clone())
    });
    assert!(newer.is_some() && older != newer);
    world.truth(|truth| truth.replace_pods(&api(), older));
    daemon.ask("billing", Ask::Rotate);
    let person = async {
        tokio::time::sleep(2 * MINUTE).await;
        world.truth(|truth| truth.human_undoes(&api()));
        assert_eq!(world.truth(|truth| truth.pods[&api()].mark.clone()), newer);
    };
    tokio::join!(daemon.live(30 * HOUR), person);
    assert_eq!(daemon.state("billing").word(), "restarting", "{}", daemon.story());
    assert!(world.truth(|truth| truth.broken.is_empty()));
}

/// The key of an attempt that was lost turns up while the rollout of the next hangs.
#[tokio::test(start_paused = true)]
async fn a_stray_does_not_wait_for_a_rollout() {
    let (world, daemon) = settled(&["billing"], MINUTE).await;
    world.truth(|truth| truth.pods.get_mut(&api()).unwrap().takes = 1000 * HOUR);
    world.truth(|truth| truth.list_hides = true);
    world.doom_all("create", Some(Fate::LoseAnswer));
    daemon.ask("billing", Ask::Rotate);
    daemon.live(2 * MINUTE).await;
    world.doom_all("create", None);
    daemon.live(4 * HOUR).await;
    assert_eq!(daemon.state("billing").word(), "restarting", "{}", daemon.story());
    world.truth(|truth| truth.list_hides = false);
    daemon.live(2 * HOUR).await;
    let (state, words) = (daemon.state("billing"), daemon.words("billing"));
    assert!(words.contains(&"found") && words.contains(&"removed"), "{}", daemon.story());
    assert!(state.word() == "restarting" && state.strays.is_empty(), "{}", daemon.story());
    assert!(words.iter().rposition(|word| *word == "served") < words.iter().position(|word| *word == "found"));
}

/// A rotation of another credential restarts them seconds after the new pair was written, and nodes have caches.
#[tokio::test(start_paused = true)]
async fn no_restart_counts_that_came_while_caches_had_the_old_pair() {
    let names = ["billing", "alerts"];
    for (pause, sound) in [(PAUSE, true), (Duration::ZERO, false)] {
        let (world, mut daemon) = settled(&names, MINUTE).await;
        fresh(&world, &daemon).await;
        world.truth(|truth| truth.pods.get_mut(&api()).unwrap().cached = Duration::from_secs(45));
        daemon.policy = policy_with(&names, |rules| (rules.restart, rules.restart_pause) = (vec![api()], pause)).into();
        daemon.ask("alerts", Ask::Rotate);
        let other = async {
            tokio::time::sleep(Duration::from_secs(115)).await;
            daemon.ask("billing", Ask::Rotate);
        };
        tokio::join!(daemon.live(6 * HOUR), other);
        let broken = world.truth(|truth| truth.broken.clone());
        assert_eq!(broken.is_empty(), sound, "{broken:?}\n{}", daemon.story());
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_that_had_something_else_while_pods_started_has_them_started_again() {
    let (world, daemon) = settled(&["billing"], MINUTE).await;
    fresh(&world, &daemon).await;
    world.truth(|truth| truth.pods.get_mut(&api()).unwrap().takes = 20 * MINUTE);
    let before = world.truth(|truth| truth.places[&place("one")].value.clone());
    let first = restarts(&world);
    daemon.ask("billing", Ask::Rotate);
    // While pods start a tool puts back what it knows, and corrects itself before anybody looks.
    let tool = async {
        tokio::time::sleep(5 * MINUTE + Duration::from_secs(1)).await;
        assert_eq!(restarts(&world), first + 1);
        let after = world.truth(|truth| truth.places[&place("one")].value.clone());
        assert_ne!(before, after);
        world.truth(|truth| truth.human_writes(&place("one"), before.clone()));
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.truth(|truth| truth.human_writes(&place("one"), after));
    };
    tokio::join!(daemon.live(6 * HOUR), tool);
    assert_eq!(restarts(&world), first + 2, "{}", daemon.story());
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn what_is_put_into_a_place_while_a_rollout_hangs_is_told_within_a_sweep() {
    let (world, daemon) = settled(&["billing"], MINUTE).await;
    world.truth(|truth| truth.pods.get_mut(&api()).unwrap().takes = 1000 * HOUR);
    daemon.ask("billing", Ask::Rotate);
    daemon.live(2 * HOUR).await;
    assert_eq!(daemon.state("billing").word(), "restarting");
    let foreign = json!({ "apiKeySid": format!("SK{:032x}", 0xabc), "apiKeySecret": "x" });
    world.truth(|truth| truth.human_writes(&place("one"), foreign.as_object().cloned()));
    daemon.live(HOUR).await;
    assert!(daemon.state("billing").halted.is_some_and(|halted| halted.halt == Halt::Drift), "{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn who_writes_again_and_again_does_not_have_everything_restarted_for_ever() {
    let (world, daemon) = settled(&["billing"], MINUTE).await;
    daemon.ask("billing", Ask::Rotate);
    daemon.live(20 * MINUTE).await;
    let before = restarts(&world);
    for _ in 0..48 {
        world.truth(|truth| truth.human_touches(&place("one")));
        daemon.live(40 * MINUTE).await;
    }
    assert!(restarts(&world) <= before + 2, "{}", daemon.story());
    let halted = daemon.state("billing").halted.unwrap_or_else(|| panic!("{}", daemon.story()));
    assert!(halted.halt == Halt::Drift && halted.detail.contains("again and again"), "{}", halted.detail);
    daemon.ask("billing", Ask::Resume { overwrite: false, forget: BTreeSet::new() });
    daemon.live(6 * HOUR).await;
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_added_restarts_nobody() {
    let (world, mut daemon) = settled(&["billing"], MINUTE).await;
    let before = restarts(&world);
    let more = Place::new(SinkName::new("one").unwrap(), "more");
    let added = more.clone();
    daemon.policy = policy_with(&["billing"], move |rules| {
        (rules.restart, rules.restart_pause) = (vec![api()], PAUSE);
        rules.places.push(added.clone());
    })
    .into();
    daemon.live(3 * HOUR).await;
    assert!(world.truth(|truth| truth.serves(&more)).is_some(), "{}", daemon.story());
    assert_eq!(restarts(&world), before, "{}", daemon.story());
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_takes_longer_to_end_than_grace_is_waited_for() {
    let (world, daemon) = settled(&["billing"], MINUTE).await;
    let old = fresh(&world, &daemon).await;
    world.truth(|truth| truth.pods.get_mut(&api()).unwrap().drain = 5 * HOUR);
    daemon.ask("billing", Ask::Rotate);
    daemon.live(4 * HOUR).await;
    assert!(world.truth(|truth| truth.ours().contains(&old)), "{}", daemon.story());
    daemon.live(3 * HOUR).await;
    assert!(!world.truth(|truth| truth.ours().contains(&old)), "{}", daemon.story());
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_is_asked_for_while_pods_are_restarted_follows() {
    let (world, daemon) = settled(&["billing"], MINUTE).await;
    world.truth(|truth| truth.pods.get_mut(&api()).unwrap().takes = 2 * HOUR);
    let made = |daemon: &Daemon| daemon.words("billing").into_iter().filter(|word| *word == "intended").count();
    daemon.ask("billing", Ask::Rotate);
    daemon.live(HOUR).await;
    let before = made(&daemon);
    assert_eq!(daemon.state("billing").word(), "restarting");
    daemon.ask("billing", Ask::Rotate);
    daemon.live(12 * HOUR).await;
    assert_eq!(made(&daemon), before + 1, "{}", daemon.story());
    daemon.converged();
}

/// Whoever started them last, their pods have read what is served now; answers which key that is.
async fn fresh(world: &World, daemon: &Daemon) -> KeySid {
    world.truth(|truth| truth.replace_pods(&api(), None));
    daemon.live(HOUR).await;
    world.truth(|truth| truth.serves(&place("one"))).unwrap()
}

/// The rule's own story: grace that begins with the publication is over before the rollout is.
#[tokio::test(start_paused = true)]
pub(crate) async fn no_pod_holds_a_key_that_is_deleted() {
    let (world, daemon) = settled(&["billing"], MINUTE).await;
    fresh(&world, &daemon).await;
    world.truth(|truth| truth.pods.get_mut(&api()).unwrap().takes = 3 * HOUR);
    daemon.ask("billing", Ask::Rotate);
    daemon.live(8 * HOUR).await;
    daemon.converged();
}

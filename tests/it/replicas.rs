//! Several daemons share one journal: whatever happens to one of them, the others go on, and it changes nothing that it
//! should not.

use crate::crash::{LIFE, every_fault, on_all_cores, play, quiet};
use crate::life::{HOUR, MINUTE};
use crate::support::counted::counted;
use crate::support::world::{Daemon, Fate, World, policy_with};
use rekeyd::model::policy::{PostgresState, StateUrl};
use std::time::Duration;

fn daemons(world: &World, replicas: usize) -> Daemon {
    Daemon::new(world, quiet()).replicated(replicas)
}

async fn one_life(replicas: usize, faults: &[(usize, Fate)]) -> Daemon {
    let world = World::new();
    for (call, fate) in faults {
        world.doom(*call, *fate);
    }
    let daemons = daemons(&world, replicas);
    daemons.live(LIFE).await;
    daemons
}

#[tokio::test(start_paused = true)]
async fn three_share_the_work_and_do_none_of_it_twice() {
    let names: Vec<String> = (0..40).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut creates = Vec::new();
    for replicas in [1, 3] {
        let world = World::new();
        let daemons = Daemon::new(&world, policy_with(&names, |_| ())).replicated(replicas);
        daemons.live(2 * HOUR).await;
        daemons.converged();
        creates.push(world.log().iter().filter(|call| call.ends_with(" create")).count());
    }
    assert_eq!(creates, [40, 40]);
}

/// What metrics tell, and alerts rest on.
#[tokio::test(start_paused = true)]
async fn each_tells_what_the_others_made_of_a_credential() {
    let names: Vec<String> = (0..12).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (world, mut policy) = (World::new(), policy_with(&names, |_| ()));
    policy.state = StateUrl::Postgres(PostgresState { url: "postgres://a@b/c".parse().unwrap(), password: None });
    let daemons = Daemon::new(&world, policy).replicated(3);
    // Every credential got its second key a day after the first, minutes ago.
    daemons.live(24 * HOUR + 20 * MINUTE).await;
    let shown = daemons.shown.lock().unwrap().clone();
    assert_eq!(shown.len(), 3 * names.len());
    for ((process, name), key) in shown {
        let is = daemons.state(name.as_str()).current.map(|current| current.sid);
        assert!(key == is && key.is_some(), "process {process} tells of {name}: {key:?}, it is {is:?}");
    }
    assert!(world.log().iter().filter(|call| call.ends_with(" create")).count() >= 2 * names.len());
}

#[test]
fn one_fault_at_any_call_of_two_replicas_breaks_nothing_and_heals() {
    let undisturbed = play(one_life(2, &[]));
    undisturbed.converged();
    let sets = every_fault(&undisturbed.world).map(|fault| vec![fault]);
    let lives = on_all_cores(sets, |set| play(one_life(2, set)).converged());
    counted("replica lives with one fault", lives);
}

#[test]
fn a_replica_that_is_stopped_and_another_that_dies_break_nothing_together() {
    let calls = play(one_life(2, &[])).world.calls();
    let second =
        |first| (first + 1..first + 9).flat_map(|call| [Fate::CrashBefore, Fate::CrashAfter].map(|f| (call, f)));
    let sets = (0..calls).flat_map(|first| second(first).map(move |second| vec![(first, Fate::Stop), second]));
    let lives = on_all_cores(sets, |set| play(one_life(2, set)).converged());
    counted("replica lives with two faults", lives);
}

/// Each replica in turn can not reach the journal for ten minutes, at every minute of the time in which it works.
#[test]
fn a_replica_that_is_cut_off_from_the_journal_starts_nothing_and_the_others_go_on() {
    let sets = (0..90).flat_map(|moment| (0..2).map(move |who| (Duration::from_secs(moment), who)));
    on_all_cores(sets, |(moment, who)| {
        play(async {
            let world = World::new();
            let daemons = daemons(&world, 2);
            let cut = async {
                tokio::time::sleep(*moment).await;
                let victim = world.living().get(*who).copied();
                victim.inspect(|victim| world.cut_off(*victim, true));
                tokio::time::sleep(10 * MINUTE).await;
                victim.inspect(|victim| world.cut_off(*victim, false));
            };
            tokio::join!(daemons.live(LIFE), cut);
            daemons.converged();
        });
    });
}

#[test]
fn replicas_that_die_one_after_the_other_every_two_minutes_still_come_to_rest() {
    let lives = on_all_cores(0..40_u64, |seed| {
        play(async {
            let world = World::new();
            let daemons = daemons(&world, 3);
            let killer = async {
                for n in 0..60 {
                    tokio::time::sleep(Duration::from_secs(40 + (seed * 7 + n * 13) % 90)).await;
                    let living = world.living();
                    if let Some(victim) = living.get((seed + n) as usize % living.len().max(1)) {
                        world.kill(*victim);
                    }
                }
            };
            tokio::join!(daemons.live(LIFE), killer);
            daemons.converged();
        });
    });
    assert_eq!(lives, 40);
}

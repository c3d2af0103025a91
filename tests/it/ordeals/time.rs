//! Clocks, restored journals, and how old a look may be.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_wrong_for_an_hour_does_not_stop_rotation_for_years() {
    let (world, daemon) = settled().await;
    // Not just after a sweep, so that Twilio's date is not fresh.
    daemon.live(5 * MINUTE).await;
    let jump = async {
        tokio::time::sleep(5 * MINUTE).await;
        world.truth(|truth| truth.wall_ahead = 10 * 365 * 86_400);
        tokio::time::sleep(HOUR).await;
        world.truth(|truth| truth.wall_ahead = 0);
    };
    tokio::join!(daemon.live(10 * 24 * HOUR), jump);
    let state = daemon.state("billing");
    assert!(state.completed >= 8, "{} rotations in 10 days, {:?}\n{}", state.completed, state.current, daemon.story());
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_four_minutes_ahead_and_a_crash_after_create() {
    let world = World::new();
    world.truth(|truth| truth.wall_ahead = 240);
    let daemon = Daemon::new(&world, policy());
    daemon.live(2 * HOUR).await;
    daemon.converged();
    let ambush = async {
        tokio::time::sleep(5 * MINUTE).await;
        world.doom_all("create", Some(Fate::CrashAfter));
        daemon.ask("billing", Ask::Rotate);
        until(&daemon, Phase::Issuing).await;
        tokio::time::sleep(20 * Duration::from_millis(1)).await;
        world.doom_all("create", None);
    };
    tokio::join!(daemon.live(8 * HOUR), ambush);
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn one_refusal_after_an_outage_is_waited_for() {
    let (world, daemon) = settled().await;
    let ambush = async {
        until_unread_in_confirming(&world, &daemon).await;
        tokio::time::sleep(10 * MINUTE).await;
        // The sink answers again, and for one minute an edge of Twilio does not know the new key.
        world.truth(|truth| truth.acceptance = 1000 * HOUR);
        world.doom_all("read", None);
        let calls = world.calls();
        while !world.log()[calls..].iter().any(|call| call == "twilio probe") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(20 * SECOND).await;
        world.truth(|truth| truth.acceptance = Duration::ZERO);
    };
    daemon.ask("billing", Ask::Rotate);
    tokio::join!(daemon.live(6 * HOUR), ambush);
    daemon.converged();
}

#[tokio::test(start_paused = true)]
pub(crate) async fn the_last_look_is_at_most_two_seconds_old_when_a_delete_leaves() {
    let names = ["a", "b", "c", "d"];
    let mut policy = policy_with(&names, |_| {});
    policy.limits.account_calls = 1;
    let (world, daemon) = settled_with(policy).await;
    world.slow("probe", 10 * SECOND);
    names.iter().for_each(|name| daemon.ask(name, Ask::Rotate));
    daemon.live(8 * HOUR).await;
    let ages = world.truth(|truth| truth.ages.clone());
    assert!(!ages.is_empty());
    assert!(ages.iter().all(|(_, age)| *age <= 2 * SECOND), "{ages:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_and_clock_jumps_do_not_shorten_grace() {
    let (world, daemon) = settled().await;
    let first = serves(&world, "one").unwrap();
    daemon.ask("billing", Ask::Rotate);
    daemon.live(5 * MINUTE).await;
    let mess = async {
        for round in 0..10 {
            tokio::time::sleep(4 * MINUTE).await;
            world.truth(|truth| truth.wall_ahead = if round % 2 == 0 { 86_400 } else { -86_400 });
            daemon.ask("billing", resume());
            world.doom(world.calls(), if round % 2 == 0 { Fate::CrashBefore } else { Fate::CrashAfter });
        }
        world.truth(|truth| truth.wall_ahead = 0);
    };
    tokio::join!(daemon.live(50 * MINUTE), mess);
    assert!(alive(&world, &first));
    daemon.live(5 * HOUR).await;
    unbroken(&world, &daemon);
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn a_journal_restored_to_each_moment_of_a_rotation() {
    for minute in [0_u32, 1, 2, 5, 9, 30, 40, 61, 62, 63, 64, 70] {
        let world = World::new();
        let daemon = Daemon::new(&world, policy());
        daemon.live(2 * HOUR).await;
        daemon.ask("billing", Ask::Rotate);
        daemon.live(MINUTE * minute + Duration::from_millis(700) * minute).await;
        let backup = daemon.disk.lock().unwrap().clone();
        daemon.live(2 * HOUR).await;
        daemon.ask("billing", Ask::Rotate);
        daemon.live(3 * HOUR).await;
        *daemon.disk.lock().unwrap() = backup;
        daemon.live(30 * HOUR).await;
        unbroken(&world, &daemon);
        let served = serves(&world, "one").unwrap();
        assert!(alive(&world, &served), "{minute}: {}", daemon.story());
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_restored_while_sinks_are_down_long_enough_to_wear_out_the_stamps() {
    let (world, daemon) = settled().await;
    let backup = daemon.disk.lock().unwrap().clone();
    daemon.ask("billing", Ask::Rotate);
    daemon.live(3 * HOUR).await;
    *daemon.disk.lock().unwrap() = backup;
    world.down("one", true);
    daemon.ask("billing", Ask::Rotate);
    daemon.live(40 * HOUR).await;
    world.down("one", false);
    daemon.live(40 * HOUR).await;
    unbroken(&world, &daemon);
    assert!(halt_of(&daemon).is_some(), "{}", daemon.story());
    assert_eq!(world.truth(|truth| truth.keys.len()), 2, "{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn a_request_under_a_clock_far_ahead_is_carried_out_when_the_clock_is_right_again() {
    let (world, daemon) = settled().await;
    world.truth(|truth| truth.wall_ahead = 10 * 365 * 86_400);
    daemon.ask("billing", Ask::Rotate);
    daemon.live(10 * MINUTE).await;
    world.truth(|truth| truth.wall_ahead = 0);
    daemon.live(10 * 24 * HOUR).await;
    assert!(daemon.state("billing").completed >= 8, "{}\n{}", daemon.waiting("billing"), daemon.story());
}

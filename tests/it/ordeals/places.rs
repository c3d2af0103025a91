//! Places come, go, are renamed and forgotten while rotations are under way.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_rotation_on_top_that_is_refused_leaves_the_removed_place_in_mind() {
    let (world, mut daemon) = settled().await;
    let first = serves(&world, "two").unwrap();
    daemon.policy = Arc::new(only("one"));
    daemon.ask("billing", Ask::Rotate);
    daemon.live(10 * MINUTE).await;
    assert_eq!(daemon.state("billing").phase(), Some(Phase::Grace));
    assert_eq!(serves(&world, "two"), Some(first.clone()));
    // One 429 for the create that supersedes.
    world.doom_all("create", Some(Fate::Refuse));
    daemon.ask("billing", overwrite());
    daemon.live(Duration::from_secs(35)).await;
    world.doom_all("create", None);
    daemon.live(6 * HOUR).await;
    unbroken(&world, &daemon);
    assert!(alive(&world, &first), "{}", daemon.story());
}

// The same without any fault of Twilio's: the daemon is restarted (killed) between the superseding create and its answer.
#[tokio::test(start_paused = true)]
async fn a_rotation_on_top_of_a_deleted_key_that_crashes_leaves_the_removed_place_in_mind() {
    let (world, mut daemon) = settled().await;
    let first = serves(&world, "two").unwrap();
    daemon.policy = Arc::new(only("one"));
    daemon.ask("billing", Ask::Rotate);
    daemon.live(10 * MINUTE).await;
    let second = serves(&world, "one").unwrap();
    world.truth(|truth| truth.human_deletes(&second));
    daemon.live(20 * MINUTE).await;
    assert_eq!(halt_of(&daemon), Some(Halt::SuccessorGone));
    daemon.ask("billing", resume());
    let ambush = async {
        world.doom_all("create", Some(Fate::CrashAfter));
        for _ in 0..100_000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if daemon.state("billing").phase() == Some(Phase::Issuing) {
                break;
            }
        }
        tokio::time::sleep(7 * Duration::from_millis(1)).await;
        world.doom_all("create", None);
    };
    tokio::join!(daemon.live(12 * HOUR), ambush);
    unbroken(&world, &daemon);
    assert!(alive(&world, &first), "{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn a_place_forgotten_once_and_added_again_counts_when_it_is_removed_again() {
    let (world, mut daemon) = settled().await;
    daemon.policy = Arc::new(only("one"));
    daemon.ask("billing", forget("two"));
    daemon.live(HOUR).await;
    daemon.policy = Arc::new(policy());
    daemon.live(HOUR).await;
    daemon.ask("billing", Ask::Rotate);
    daemon.live(5 * HOUR).await;
    daemon.converged();
    let served = serves(&world, "two").unwrap();
    daemon.policy = Arc::new(only("one"));
    daemon.ask("billing", Ask::Rotate);
    daemon.live(5 * HOUR).await;
    unbroken(&world, &daemon);
    assert_eq!(halt_of(&daemon), Some(Halt::SinkRemoved));
    assert!(alive(&world, &served), "{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn renamed_members_do_not_hide_the_key_that_a_removed_place_still_serves() {
    let (world, mut daemon) = settled().await;
    let first = serves(&world, "two").unwrap();
    let renamed = policy_with(&["billing"], |rules| {
        rules.places.pop();
        rules.members.api_key_sid = "TWILIO_API_KEY".into();
        rules.members.api_key_secret = "TWILIO_API_SECRET".into();
    });
    daemon.policy = Arc::new(renamed);
    daemon.ask("billing", Ask::Rotate);
    daemon.live(5 * HOUR).await;
    assert_eq!(serves(&world, "two"), Some(first.clone()));
    unbroken(&world, &daemon);
    assert!(alive(&world, &first), "{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn forgetting_the_only_place_that_was_not_written_yet_goes_on() {
    let (world, mut daemon) = settled().await;
    daemon.ask("billing", Ask::Rotate);
    live_with_two_down_from(&world, &daemon, Phase::Verifying, HOUR).await;
    // The broken sink is taken out of the policy, and forgotten as the hint says.
    daemon.policy = Arc::new(only_sink("one"));
    daemon.live(10 * MINUTE).await;
    assert_eq!(halt_of(&daemon), Some(Halt::SinkRemoved), "{}", daemon.story());
    // Nobody reads it any more.
    world.truth(|truth| truth.human_writes(&place("two"), None));
    daemon.ask("billing", forget("two"));
    daemon.live(HOUR).await;
    ask_all(&daemon, [resume(), overwrite(), resume()]).await;
    unbroken(&world, &daemon);
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_moves_to_another_sink_during_grace() {
    let (world, mut daemon) = settled_with(only("one")).await;
    daemon.ask("billing", Ask::Rotate);
    daemon.live(10 * MINUTE).await;
    assert_eq!(daemon.state("billing").phase(), Some(Phase::Grace));
    daemon.policy = Arc::new(only_sink("two"));
    daemon.live(HOUR).await;
    assert_eq!(halt_of(&daemon), Some(Halt::SinkRemoved), "{}", daemon.story());
    world.truth(|truth| truth.human_writes(&place("one"), None));
    daemon.ask("billing", forget("one"));
    daemon.live(HOUR).await;
    calm_hour(&world, &daemon, 40).await;
    ask_all(&daemon, [resume(), overwrite()]).await;
    unbroken(&world, &daemon);
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn drift_while_a_sink_is_added() {
    let (world, mut daemon) = settled_with(only("one")).await;
    daemon.policy = Arc::new(policy());
    live_with_two_down_from(&world, &daemon, Phase::Publishing, 30 * MINUTE).await;
    assert_eq!(daemon.state("billing").phase(), Some(Phase::Publishing), "{}", daemon.story());
    a_person_writes_another_key(&world, "one");
    world.down("two", false);
    daemon.live(2 * HOUR).await;
    assert_eq!(halt_of(&daemon), Some(Halt::Drift), "{}", daemon.story());
    daemon.ask("billing", overwrite());
    daemon.live(5 * HOUR).await;
    unbroken(&world, &daemon);
    daemon.converged();
}

/// A predecessor was condemned and its DELETE has not come through when the daemon is stopped.
async fn revoking() -> (World, Daemon) {
    let (world, daemon) = settled_with(only("one")).await;
    daemon.ask("billing", Ask::Rotate);
    world.doom_all("delete", Some(Fate::Refuse));
    daemon.live(65 * MINUTE).await;
    assert_eq!(daemon.state("billing").phase(), Some(Phase::Revoking), "{}", daemon.story());
    (world, daemon)
}

#[tokio::test(start_paused = true)]
async fn a_place_added_while_a_delete_is_under_way() {
    let (world, mut daemon) = revoking().await;
    daemon.policy = Arc::new(policy());
    world.doom_all("delete", None);
    daemon.live(HOUR).await;
    daemon.ask("billing", resume());
    daemon.live(5 * HOUR).await;
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn the_same_pair_written_again_while_a_delete_is_under_way() {
    let (world, daemon) = revoking().await;
    let pair = world.truth(|truth| truth.places[&place("one")].value.clone());
    world.truth(|truth| truth.human_writes(&place("one"), pair));
    world.doom_all("delete", None);
    daemon.live(HOUR).await;
    daemon.ask("billing", resume());
    daemon.live(5 * HOUR).await;
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn a_place_put_back_into_the_policy_as_the_hint_says() {
    let (_world, mut daemon) = settled().await;
    daemon.policy = Arc::new(only("one"));
    daemon.ask("billing", Ask::Rotate);
    daemon.live(5 * HOUR).await;
    assert_eq!(halt_of(&daemon), Some(Halt::SinkRemoved));
    daemon.policy = Arc::new(policy());
    daemon.ask("billing", resume());
    daemon.live(5 * HOUR).await;
    daemon.converged();
}

/// A place that the first attempt already served keeps its key when the policy drops it between two attempts.
#[tokio::test(start_paused = true)]
async fn overwrite_in_confirming_and_a_place_taken_out() {
    let world = World::new();
    let mut daemon = Daemon::new(&world, policy());
    let ambush = async {
        until_unread_in_confirming(&world, &daemon).await;
        tokio::time::sleep(MINUTE).await;
    };
    tokio::join!(daemon.live(10 * MINUTE), ambush);
    let first = serves(&world, "two").unwrap();
    world.doom_all("read", None);
    daemon.policy = Arc::new(only("one"));
    daemon.ask("billing", overwrite());
    world.doom_all("create", Some(Fate::Refuse));
    daemon.live(MINUTE).await;
    world.doom_all("create", None);
    daemon.live(8 * HOUR).await;
    unbroken(&world, &daemon);
    assert!(alive(&world, &first), "{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn a_resume_after_a_deleted_successor_while_a_removed_place_serves_the_old_key() {
    let (world, mut daemon) = settled().await;
    daemon.policy = Arc::new(only("one"));
    daemon.ask("billing", Ask::Rotate);
    daemon.live(10 * MINUTE).await;
    let second = serves(&world, "one").unwrap();
    world.truth(|truth| truth.human_deletes(&second));
    daemon.live(20 * MINUTE).await;
    assert_eq!(halt_of(&daemon), Some(Halt::SuccessorGone));
    daemon.ask("billing", resume());
    daemon.live(MINUTE).await;
    assert_eq!(halt_of(&daemon), None, "the hint says: creates a new key at once\n{}", daemon.story());
    assert_ne!(serves(&world, "one"), Some(second));
}

/// The place that the policy dropped still serves the current key when the new one is lost: there is nothing to widen.
#[tokio::test(start_paused = true)]
async fn drift_before_grace_after_a_place_was_dropped_makes_no_hot_loop() {
    let (world, mut daemon) = settled().await;
    daemon.policy = Arc::new(only("two"));
    daemon.ask("billing", Ask::Rotate);
    tokio::join!(daemon.live(20 * MINUTE), until_unread_in_confirming(&world, &daemon));
    assert_eq!(daemon.state("billing").phase(), Some(Phase::Confirming), "{}", daemon.story());
    a_person_writes_another_key(&world, "two");
    world.doom_all("read", None);
    daemon.live(30 * MINUTE).await;
    assert_eq!(halt_of(&daemon), Some(Halt::Drift), "{}", daemon.story());
    daemon.ask("billing", overwrite());
    daemon.live(HOUR).await;
    calm_hour(&world, &daemon, 60).await;
}

/// A place that is taken out, and put back after its members were renamed, must not keep the old pair beside the new.
#[tokio::test(start_paused = true)]
async fn a_place_put_back_after_a_renaming_keeps_no_old_pair() {
    let (world, mut daemon) = settled().await;
    let renamed = |count: usize| {
        policy_with(&["billing"], |rules| {
            rules.places.truncate(count);
            rules.members.api_key_sid = "TWILIO_API_KEY".into();
            rules.members.api_key_secret = "TWILIO_API_SECRET".into();
        })
    };
    daemon.policy = Arc::new(renamed(1));
    daemon.ask("billing", Ask::Rotate);
    daemon.live(10 * MINUTE).await;
    daemon.policy = Arc::new(renamed(2));
    daemon.live(5 * HOUR).await;
    let value = world.truth(|truth| truth.places[&place("two")].value.clone().unwrap());
    assert!(!value.contains_key("apiKeySid"), "it shows two keys: {value:?}\n{}", daemon.story());
}

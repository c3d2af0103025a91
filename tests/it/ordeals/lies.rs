//! Twilio lies, answers late, or keys are deleted by others.

use super::*;

#[tokio::test(start_paused = true)]
async fn nothing_is_created_after_an_intent_that_did_not_fit() {
    let (world, daemon) = settled().await;
    // The second key will not be listed for a while.
    let lost = KeySid::new(&format!("SK{:032x}", 2)).unwrap();
    world.truth(|truth| truth.unlisted.insert(lost.clone()));
    world.doom_all("create", Some(Fate::LoseAnswer));
    daemon.ask("billing", Ask::Rotate);
    daemon.live(2 * MINUTE).await;
    world.doom_all("create", None);
    assert!(daemon.words("billing").contains(&"unsettled"), "{}", daemon.story());
    let ambush = async {
        until_unread_in_confirming(&world, &daemon).await;
        world.truth(|truth| truth.unlisted.clear());
    };
    tokio::join!(daemon.live(50 * MINUTE), ambush);
    assert_eq!(daemon.state("billing").phase(), Some(Phase::Confirming), "{}", daemon.story());
    assert_eq!(daemon.state("billing").strays.len(), 1, "{}", daemon.story());
    world.doom_all("read", None);
    daemon.ask("billing", overwrite());
    daemon.live(3 * HOUR).await;
    unbroken(&world, &daemon);
    assert_eq!(halt_of(&daemon), None, "{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn a_404_that_lies_at_rest_does_not_cost_the_old_key_its_grace() {
    let (world, daemon) = settled().await;
    world.truth(|truth| truth.foreign_key(None));
    let first = serves(&world, "one").unwrap();
    live_with_a_lie(&world, &daemon, &first, 50 * MINUTE).await;
    unbroken(&world, &daemon);
    assert!(alive(&world, &first), "no grace at all:\n{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn a_404_that_lies_during_grace_does_not_end_it() {
    let (world, daemon) = settled().await;
    world.truth(|truth| truth.foreign_key(None));
    let first = serves(&world, "one").unwrap();
    daemon.ask("billing", Ask::Rotate);
    daemon.live(5 * MINUTE).await;
    live_with_a_lie(&world, &daemon, &first, 40 * MINUTE).await;
    unbroken(&world, &daemon);
    assert!(alive(&world, &first), "grace was cut short:\n{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn an_account_that_looks_empty_for_two_sweeps_loses_no_key() {
    let names = ["a", "b", "c", "d", "e"];
    let (world, daemon) = settled_with(policy_with(&names, |_| {})).await;
    let keys = world.truth(|truth| truth.ours());
    keys.iter().for_each(|sid| lie(&world, sid, true));
    daemon.live(32 * MINUTE).await;
    keys.iter().for_each(|sid| lie(&world, sid, false));
    daemon.live(30 * MINUTE).await;
    let left = keys.iter().filter(|sid| alive(&world, sid)).count();
    assert_eq!(left, 5, "{}", daemon.story());
    // They are old keys now, and go with the next rotation, after its grace.
    daemon.live(60 * HOUR).await;
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn a_404_that_lies_and_a_removed_place() {
    let (world, mut daemon) = settled().await;
    world.truth(|truth| truth.foreign_key(None));
    let first = serves(&world, "two").unwrap();
    daemon.policy = Arc::new(only("one"));
    daemon.ask("billing", Ask::Rotate);
    daemon.live(5 * MINUTE).await;
    live_with_a_lie(&world, &daemon, &first, 5 * HOUR).await;
    unbroken(&world, &daemon);
    assert!(alive(&world, &first), "{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn the_current_key_deleted_while_a_sink_is_added() {
    let (world, mut daemon) = settled_with(only("one")).await;
    world.truth(|truth| truth.foreign_key(None));
    daemon.policy = Arc::new(policy());
    live_with_two_down_from(&world, &daemon, Phase::Publishing, 30 * MINUTE).await;
    let current = serves(&world, "one").unwrap();
    world.truth(|truth| truth.human_deletes(&current));
    daemon.live(30 * MINUTE).await;
    world.down("two", false);
    daemon.live(2 * HOUR).await;
    ask_all(&daemon, [resume(), overwrite(), resume(), overwrite()]).await;
    daemon.converged();
}

/// The first write goes to the place whose fence is drawn last.
#[tokio::test(start_paused = true)]
async fn a_late_write_after_our_own_fence_of_another_place() {
    let (world, daemon) = settled_with(policy_with(&["billing"], |rules| rules.places.reverse())).await;
    let ambush = async {
        crash_with_a_write_in_flight(&world, &daemon, "two publish").await;
        // It starts again, gives the key up, and fences `one`; `two` can not be written to until the late write lands.
        until_told(&daemon, "fenced").await;
        world.doom_all("fence", Some(Fate::Refuse));
        tokio::time::sleep(11 * MINUTE).await;
        world.doom_all("fence", None);
    };
    daemon.ask("billing", Ask::Rotate);
    tokio::join!(daemon.live(8 * HOUR), ambush);
    unbroken(&world, &daemon);
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn a_new_key_known_to_be_deleted_is_not_published_any_further() {
    let (world, daemon) = settled().await;
    world.truth(|truth| truth.foreign_key(None));
    daemon.ask("billing", Ask::Rotate);
    live_with_two_down_from(&world, &daemon, Phase::Verifying, 30 * MINUTE).await;
    let second = serves(&world, "one").unwrap();
    world.truth(|truth| truth.human_deletes(&second));
    daemon.live(40 * MINUTE).await;
    assert!(daemon.words("billing").contains(&"missing"), "{}", daemon.story());
    world.down("two", false);
    daemon.live(HOUR).await;
    assert_ne!(serves(&world, "two"), Some(second), "{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn both_keys_deleted_while_a_rotation_is_being_confirmed() {
    let (world, daemon) = settled().await;
    world.truth(|truth| truth.foreign_key(None));
    let ambush = async {
        until_unread_in_confirming(&world, &daemon).await;
        world.truth(|truth| truth.ours().iter().for_each(|sid| truth.human_deletes(sid)));
    };
    daemon.ask("billing", Ask::Rotate);
    tokio::join!(daemon.live(40 * MINUTE), ambush);
    world.doom_all("read", None);
    daemon.live(HOUR).await;
    ask_all(&daemon, [resume(), overwrite(), resume(), overwrite()]).await;
    daemon.converged();
}

/// A write in flight, a crash, the sinks away for a while; a 404 that lies takes the stray off the list unfenced.
#[tokio::test(start_paused = true)]
async fn a_stray_believed_gone_is_fenced_all_the_same() {
    let (world, daemon) = settled().await;
    world.truth(|truth| truth.foreign_key(None));
    let ambush = async {
        crash_with_a_write_in_flight(&world, &daemon, "one publish").await;
        world.doom_all("fence", Some(Fate::Refuse));
        let second = world.truth(|truth| truth.ours().last().cloned().unwrap());
        while daemon.state("billing").strays.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(MINUTE).await;
        // One more restart brings a sweep at once.
        lie(&world, &second, true);
        world.doom(world.calls(), Fate::CrashBefore);
        until_told(&daemon, "missing").await;
        lie(&world, &second, false);
        world.doom_all("fence", None);
    };
    daemon.ask("billing", Ask::Rotate);
    tokio::join!(daemon.live(12 * HOUR), ambush);
    unbroken(&world, &daemon);
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn a_request_and_two_faults_every_few_minutes_for_a_shift() {
    let (world, daemon) = settled().await;
    let mess = async {
        for round in 0..60 {
            tokio::time::sleep(7 * MINUTE).await;
            let fate = Fate::ALL[round % Fate::ALL.len()];
            world.doom(world.calls() + round % 5, fate);
            daemon.ask("billing", Ask::Rotate);
            tokio::time::sleep(11 * SECOND).await;
            world.doom(world.calls(), Fate::ALL[(round * 5 + 3) % Fate::ALL.len()]);
        }
    };
    tokio::join!(daemon.live(8 * HOUR), mess);
    daemon.live(30 * HOUR).await;
    unbroken(&world, &daemon);
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn a_stray_that_may_not_go_yet_does_not_keep_a_deleted_key_in_service() {
    use rekeyd::model::time::Uptime;
    use rekeyd::ports::Journal;
    let (world, daemon) = settled().await;
    world.truth(|truth| truth.foreign_key(None));
    let journal = crate::support::world::MemoryJournal::open(daemon.disk.clone(), None);
    journal.hold_deletes("a restore", Uptime(26 * 3_600_000)).await.unwrap();
    world.doom_all("create", Some(Fate::LoseAnswer));
    daemon.ask("billing", Ask::Rotate);
    daemon.live(2 * MINUTE).await;
    world.doom_all("create", None);
    assert_eq!(daemon.state("billing").strays.len(), 1, "{}", daemon.story());
    let current = serves(&world, "one").unwrap();
    world.truth(|truth| truth.human_deletes(&current));
    daemon.live(5 * HOUR).await;
    assert_ne!(
        serves(&world, "one"),
        Some(current),
        "dead for five hours: {}\n{}",
        daemon.waiting("billing"),
        daemon.story()
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_key_deleted_before_grace_is_replaced_by_a_mere_resume() {
    let (world, daemon) = settled().await;
    world.truth(|truth| truth.foreign_key(None));
    daemon.ask("billing", Ask::Rotate);
    live_with_two_down_from(&world, &daemon, Phase::Verifying, 30 * MINUTE).await;
    let second = serves(&world, "one").unwrap();
    world.truth(|truth| truth.human_deletes(&second));
    daemon.live(30 * MINUTE).await;
    world.down("two", false);
    assert_eq!(halt_of(&daemon), Some(Halt::SuccessorGone), "{}", daemon.story());
    daemon.ask("billing", resume());
    daemon.live(3 * HOUR).await;
    assert_eq!(halt_of(&daemon), None, "the hint says: creates a new key at once\n{}", daemon.story());
}

/// A fence was decided and could not be drawn; the key is deleted by somebody; then the delayed write lands.
#[tokio::test(start_paused = true)]
async fn a_stray_that_is_deleted_before_its_fence_is_drawn_is_fenced_all_the_same() {
    let (world, daemon) = settled().await;
    world.truth(|truth| truth.foreign_key(None));
    let ambush = async {
        crash_with_a_write_in_flight(&world, &daemon, "one publish").await;
        world.doom_all("fence", Some(Fate::Refuse));
        let second = world.truth(|truth| truth.ours().last().cloned().unwrap());
        until_told(&daemon, "fencing").await;
        world.truth(|truth| truth.human_deletes(&second));
        tokio::time::sleep(5 * MINUTE).await;
        world.doom_all("fence", None);
    };
    daemon.ask("billing", Ask::Rotate);
    tokio::join!(daemon.live(12 * HOUR), ambush);
    unbroken(&world, &daemon);
    daemon.converged();
}

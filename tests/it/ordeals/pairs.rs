//! What is served is not what it should be: secrets changed or missing, keys of others, requests that must not be lost.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_key_that_was_served_and_then_given_up_has_its_grace() {
    let (world, daemon) = settled().await;
    let pair = world.truth(|truth| truth.places[&place("one")].value.clone());
    daemon.ask("billing", Ask::Rotate);
    live_with_two_down_from(&world, &daemon, Phase::Verifying, 30 * MINUTE).await;
    let second = serves(&world, "one").unwrap();
    assert_ne!(Some(&second), serves(&world, "two").as_ref());
    // Consumers of `one` have read the second key for half an hour. Somebody puts the old pair back.
    world.truth(|truth| truth.human_writes(&place("one"), pair));
    world.down("two", false);
    while halt_of(&daemon).is_none() {
        daemon.live(MINUTE).await;
    }
    assert_eq!(halt_of(&daemon), Some(Halt::Drift), "{}", daemon.story());
    daemon.ask("billing", overwrite());
    daemon.live(2 * MINUTE).await;
    unbroken(&world, &daemon);
    assert!(alive(&world, &second), "it was read by consumers, and had no grace:\n{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn a_rotation_asked_for_during_grace_survives_an_added_sink() {
    let (world, mut daemon) = settled_with(only("one")).await;
    daemon.ask("billing", Ask::Rotate);
    daemon.live(10 * MINUTE).await;
    daemon.ask("billing", Ask::Rotate);
    daemon.live(5 * MINUTE).await;
    assert!(daemon.state("billing").requested.is_some());
    daemon.policy = Arc::new(policy());
    daemon.live(6 * HOUR).await;
    daemon.converged();
    assert_eq!(world.truth(|truth| truth.keys.len()), 3, "the request was lost\n{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn a_rotation_asked_for_during_grace_survives_a_rewrite_of_the_same_pair() {
    let (world, daemon) = settled().await;
    daemon.ask("billing", Ask::Rotate);
    daemon.live(10 * MINUTE).await;
    daemon.ask("billing", Ask::Rotate);
    daemon.live(5 * MINUTE).await;
    let pair = world.truth(|truth| truth.places[&place("one")].value.clone());
    world.truth(|truth| truth.human_writes(&place("one"), pair));
    daemon.live(6 * HOUR).await;
    daemon.converged();
    assert_eq!(world.truth(|truth| truth.keys.len()), 3, "the request was lost\n{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn three_overwrites_within_one_grace() {
    let (world, daemon) = settled_with(policy_with(&["billing"], |rules| rules.grace = 12 * HOUR)).await;
    daemon.ask("billing", Ask::Rotate);
    daemon.live(10 * MINUTE).await;
    for round in 0..3 {
        let theirs = format!("SK{}", format!("{round}").repeat(32));
        world.truth(|truth| truth.human_writes(&place("two"), object(json!({"apiKeySid": theirs}))));
        daemon.live(30 * MINUTE).await;
        assert_eq!(halt_of(&daemon), Some(Halt::Drift));
        daemon.ask("billing", overwrite());
        daemon.live(HOUR).await;
    }
    unbroken(&world, &daemon);
}

#[tokio::test(start_paused = true)]
async fn a_pair_without_its_secret_makes_no_hot_loop() {
    let (world, daemon) = settled().await;
    daemon.ask("billing", Ask::Rotate);
    live_with_two_down_from(&world, &daemon, Phase::Verifying, 30 * MINUTE).await;
    a_person_edits_one(&world, |value| drop(value.remove("apiKeySecret")));
    world.down("two", false);
    calm_hour(&world, &daemon, 60).await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_read_back_is_verified_before_it_is_published_elsewhere() {
    let (world, daemon) = settled().await;
    let good = world.truth(|truth| truth.places[&place("two")].value.clone().unwrap());
    daemon.ask("billing", Ask::Rotate);
    live_with_two_down_from(&world, &daemon, Phase::Verifying, 30 * MINUTE).await;
    a_person_edits_one(&world, |value| drop(value.insert("apiKeySecret".into(), json!("not-the-secret"))));
    world.down("two", false);
    daemon.live(HOUR).await;
    let now = world.truth(|truth| truth.places[&place("two")].value.clone().unwrap());
    assert!(
        now["apiKeySecret"] != "not-the-secret",
        "`two` served {} and now serves a pair that never worked\n{}",
        good["apiKeySid"],
        daemon.story()
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_that_another_credential_serves_is_not_adopted_and_deleted() {
    let (world, mut daemon) = settled().await;
    let theirs = serves(&world, "one").unwrap();
    let adopted = theirs.clone();
    daemon.policy = Arc::new(policy_with(&["billing", "copy"], move |rules| {
        if rules.name.as_str() == "copy" {
            rules.adopt = Some(adopted.clone());
        }
    }));
    daemon.live(3 * HOUR).await;
    unbroken(&world, &daemon);
    assert!(alive(&world, &theirs), "{}", daemon.story());
}

/// Every replacement that an operator allows is spoiled within the same grace: no key may be made, and none may go.
#[tokio::test(start_paused = true)]
async fn overwritten_once_more_when_three_keys_are_alive() {
    let (world, daemon) = settled_with(policy_with(&["billing"], |rules| {
        rules.grace = 12 * HOUR;
        rules.places.truncate(1);
    }))
    .await;
    daemon.ask("billing", Ask::Rotate);
    daemon.live(10 * MINUTE).await;
    for _ in 0..2 {
        a_person_writes_another_key(&world, "one");
        daemon.live(30 * MINUTE).await;
        assert_eq!(halt_of(&daemon), Some(Halt::Drift));
        daemon.ask("billing", overwrite());
        daemon.live(HOUR).await;
    }
    daemon.live(10 * 24 * HOUR).await;
    assert!(serves(&world, "one").is_some_and(|sid| alive(&world, &sid)), "{}", daemon.waiting("billing"));
}

#[tokio::test(start_paused = true)]
async fn an_escrow_whose_secret_is_lost_can_be_overwritten() {
    let (world, daemon) = settled().await;
    daemon.ask("billing", Ask::Rotate);
    live_with_two_down_from(&world, &daemon, Phase::Verifying, 30 * MINUTE).await;
    a_person_edits_one(&world, |value| drop(value.insert("apiKeySecret".into(), "wrong".into())));
    world.down("two", false);
    daemon.live(2 * HOUR).await;
    assert_eq!(halt_of(&daemon), Some(Halt::PairRefused));
    daemon.ask("billing", overwrite());
    daemon.live(6 * HOUR).await;
    unbroken(&world, &daemon);
    daemon.converged();
}

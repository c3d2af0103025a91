//! The life of a credential in the fake world, from nothing through four rotations, and what people do to it meanwhile.

use crate::support::world::{Daemon, Fate, World, policy, policy_with};
use rekeyd::model::home::{Home, Region};
use rekeyd::model::key::{AccountSid, KeySid};
use rekeyd::model::names::{Place, SinkName};
use rekeyd::model::policy::{AccountDeletes, Policy};
use rekeyd::model::reason::Halt;
use rekeyd::ports::Ask;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn place(sink: &str) -> Place {
    Place::new(SinkName::new(sink).unwrap(), "billing")
}

pub(crate) fn object(value: Value) -> Option<Map<String, Value>> {
    Some(value.as_object().unwrap().clone())
}

pub(crate) fn resume() -> Ask {
    Ask::Resume { overwrite: false, forget: BTreeSet::new() }
}

/// A daemon whose first rotation is done.
async fn settled() -> (World, Daemon) {
    settled_with(policy()).await
}

async fn settled_with(policy: Policy) -> (World, Daemon) {
    let world = World::new();
    let daemon = Daemon::new(&world, policy);
    daemon.live(HOUR).await;
    daemon.converged();
    (world, daemon)
}

pub(crate) fn halt_of(daemon: &Daemon) -> Option<Halt> {
    daemon.state("billing").halted.map(|halted| halted.halt)
}

fn unbroken(world: &World) {
    assert_eq!(world.truth(|truth| truth.broken.clone()), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn from_nothing_through_four_rotations() {
    let (world, daemon) = settled().await;
    daemon.live(4 * 26 * HOUR).await;
    daemon.converged();
    insta::assert_snapshot!(daemon.story());
    assert_eq!(world.truth(|truth| truth.deleted.len()), 4);
    assert_eq!(daemon.state("billing").completed, 5);
}

#[tokio::test(start_paused = true)]
async fn the_old_key_lives_through_its_whole_grace_and_not_much_longer() {
    let (world, daemon) = settled().await;
    let old = world.truth(|truth| truth.serves(&place("one"))).unwrap();
    daemon.ask("billing", Ask::Rotate);
    daemon.live(59 * MINUTE).await;
    assert_ne!(world.truth(|truth| truth.serves(&place("one"))).unwrap(), old);
    assert!(world.truth(|truth| truth.ours().contains(&old)), "deleted within grace");
    daemon.live(4 * MINUTE).await;
    assert!(!world.truth(|truth| truth.ours().contains(&old)), "{}", daemon.story());
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn an_adopted_key_is_replaced_and_then_deleted() {
    let world = World::new();
    let by_hand = world.truth(|truth| truth.foreign_key(Some("made by hand")));
    let hers = by_hand.clone();
    let daemon = Daemon::new(&world, policy_with(&["billing"], move |rules| rules.adopt = Some(hers.clone())));
    world.truth(|truth| truth.keys.get_mut(&by_hand).unwrap().ours = true);
    world.truth(|truth| {
        truth.human_writes(&place("one"), object(json!({"apiKeySid": by_hand.as_str(), "note": "keep"})))
    });
    daemon.live(3 * HOUR).await;
    daemon.converged();
    assert!(world.truth(|truth| truth.fetch(&by_hand)).is_none());
    let kept = world.truth(|truth| truth.places[&place("one")].value.clone().unwrap()["note"].clone());
    assert_eq!(kept, "keep");
}

#[tokio::test(start_paused = true)]
async fn adopting_a_key_that_does_not_exist_halts() {
    let world = World::new();
    let nobody = KeySid::new(&format!("SK{}", "e".repeat(32))).unwrap();
    let daemon = Daemon::new(&world, policy_with(&["billing"], move |rules| rules.adopt = Some(nobody.clone())));
    daemon.live(HOUR).await;
    assert_eq!(halt_of(&daemon), Some(Halt::AdoptMissing));
    assert!(world.truth(|truth| truth.keys.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_first_rotation_does_not_overwrite_what_a_sink_already_holds() {
    for there in [json!({"user": "x"}), json!({"apiKeySid": format!("SK{}", "a".repeat(32))})] {
        let world = World::new();
        let daemon = Daemon::new(&world, policy());
        world.truth(|truth| truth.human_writes(&place("two"), object(there.clone())));
        daemon.live(HOUR).await;
        assert_eq!(halt_of(&daemon), Some(Halt::ForeignContent), "{there}");
        assert!(world.truth(|truth| truth.keys.is_empty()), "a key was made for nothing");
        daemon.ask("billing", Ask::Resume { overwrite: true, forget: BTreeSet::new() });
        daemon.live(HOUR).await;
        daemon.converged();
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_who_changes_a_sink_stops_the_rotation_and_is_not_overwritten() {
    let (world, daemon) = settled().await;
    let theirs = format!("SK{}", "b".repeat(32));
    world.truth(|truth| truth.human_writes(&place("two"), object(json!({"apiKeySid": theirs}))));
    let calls = world.calls();
    daemon.live(26 * HOUR).await;
    assert_eq!(halt_of(&daemon), Some(Halt::Drift));
    assert_eq!(world.truth(|truth| truth.serves(&place("two"))).unwrap().as_str(), theirs);
    // Halted is quiet: what is left are the sweeps of the account, two calls every 15 minutes.
    assert!(world.calls() - calls < 2 * 26 * 4 + 20, "{}", world.calls() - calls);
    daemon.ask("billing", Ask::Resume { overwrite: true, forget: BTreeSet::new() });
    daemon.live(3 * HOUR).await;
    daemon.converged();
    unbroken(&world);
}

#[tokio::test(start_paused = true)]
async fn a_person_who_puts_things_right_can_resume_without_overwriting() {
    let (world, daemon) = settled().await;
    let good = world.truth(|truth| truth.places[&place("two")].value.clone());
    world.truth(|truth| truth.human_writes(&place("two"), object(json!({"oops": true}))));
    daemon.live(26 * HOUR).await;
    assert_eq!(halt_of(&daemon), Some(Halt::ForeignContent));
    daemon.ask("billing", resume());
    daemon.live(HOUR).await;
    assert_eq!(halt_of(&daemon), Some(Halt::ForeignContent), "still wrong, still halted");
    world.truth(|truth| truth.human_writes(&place("two"), good));
    daemon.ask("billing", resume());
    daemon.live(3 * HOUR).await;
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn a_sink_changed_during_grace_keeps_the_old_key_alive() {
    let (world, daemon) = settled().await;
    let old = world.truth(|truth| truth.serves(&place("one"))).unwrap();
    let pair = world.truth(|truth| truth.places[&place("one")].value.clone());
    daemon.ask("billing", Ask::Rotate);
    daemon.live(30 * MINUTE).await;
    world.truth(|truth| truth.human_writes(&place("one"), pair));
    daemon.live(24 * HOUR).await;
    assert_eq!(halt_of(&daemon), Some(Halt::Drift));
    assert!(world.truth(|truth| truth.ours().contains(&old)), "a consumer still reads this key");
    unbroken(&world);
}

#[tokio::test(start_paused = true)]
async fn the_same_pair_written_again_during_grace_starts_grace_again() {
    let (world, daemon) = settled().await;
    let old = world.truth(|truth| truth.serves(&place("one"))).unwrap();
    daemon.ask("billing", Ask::Rotate);
    daemon.live(50 * MINUTE).await;
    let pair = world.truth(|truth| truth.places[&place("one")].value.clone());
    world.truth(|truth| truth.human_writes(&place("one"), pair));
    daemon.live(40 * MINUTE).await;
    assert!(world.truth(|truth| truth.ours().contains(&old)));
    daemon.live(40 * MINUTE).await;
    assert!(!world.truth(|truth| truth.ours().contains(&old)), "{}", daemon.story());
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn the_old_key_deleted_by_a_person_ends_grace_early() {
    let (world, daemon) = settled().await;
    let old = world.truth(|truth| truth.serves(&place("one"))).unwrap();
    daemon.ask("billing", Ask::Rotate);
    daemon.live(10 * MINUTE).await;
    world.truth(|truth| truth.human_deletes(&old));
    daemon.live(20 * MINUTE).await;
    daemon.converged();
    assert!(world.truth(|truth| truth.deleted.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn the_new_key_deleted_by_a_person_halts_and_a_resume_makes_another() {
    let (world, daemon) = settled().await;
    daemon.ask("billing", Ask::Rotate);
    daemon.live(10 * MINUTE).await;
    let new = world.truth(|truth| truth.serves(&place("one"))).unwrap();
    world.truth(|truth| truth.human_deletes(&new));
    daemon.live(20 * MINUTE).await;
    assert_eq!(halt_of(&daemon), Some(Halt::SuccessorGone));
    daemon.ask("billing", resume());
    daemon.live(5 * HOUR).await;
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn the_current_key_deleted_by_a_person_is_replaced_within_a_sweep() {
    let (world, daemon) = settled().await;
    world.truth(|truth| truth.foreign_key(None));
    let current = world.truth(|truth| truth.serves(&place("one"))).unwrap();
    world.truth(|truth| truth.human_deletes(&current));
    daemon.live(17 * MINUTE).await;
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn foreign_keys_stay_whatever_their_name() {
    let (world, daemon) = settled().await;
    let ours = world.truth(|truth| truth.keys.values().next().unwrap().label.clone());
    let others: Vec<KeySid> = world.truth(|truth| {
        let names = [None, Some("rekeyd:test:billing:x"), Some("Studio API Key"), ours.as_deref()];
        names.map(|name| truth.foreign_key(name)).to_vec()
    });
    daemon.live(60 * HOUR).await;
    for other in others {
        assert!(world.truth(|truth| truth.fetch(&other)).is_some(), "{other} was deleted");
    }
    unbroken(&world);
    assert_eq!(halt_of(&daemon), None);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_works_late_is_waited_for() {
    let world = World::new();
    world.truth(|truth| truth.acceptance = 2 * MINUTE);
    let daemon = Daemon::new(&world, policy());
    daemon.live(HOUR).await;
    daemon.converged();
    assert!(daemon.words("billing").contains(&"verified"));
}

#[tokio::test(start_paused = true)]
pub(crate) async fn keys_that_never_work_are_removed_and_the_limits_hold() {
    let world = World::new();
    world.truth(|truth| truth.acceptance = 1000 * HOUR);
    let daemon = Daemon::new(&world, policy());
    daemon.live(24 * HOUR).await;
    assert!(world.truth(|truth| truth.places.values().all(|slot| slot.value.is_none())), "something was published");
    let made = world.truth(|truth| truth.keys.len());
    assert!((3..=6).contains(&made), "{made} keys were made");
    world.truth(|truth| truth.acceptance = Duration::ZERO);
    daemon.live(24 * HOUR).await;
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_down_for_hours_is_survived() {
    let (world, daemon) = settled().await;
    for sink in ["one", "two"] {
        world.down(sink, true);
        daemon.ask("billing", Ask::Rotate);
        daemon.live(5 * HOUR).await;
        assert!(daemon.waiting("billing").contains("failed"), "{}", daemon.waiting("billing"));
        world.down(sink, false);
        daemon.live(5 * HOUR).await;
        daemon.converged();
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_goes_down_between_verifying_and_publishing_costs_at_most_a_stray() {
    let (world, daemon) = settled().await;
    daemon.ask("billing", Ask::Rotate);
    daemon.live(Duration::from_secs(35)).await;
    world.down("one", true);
    world.down("two", true);
    daemon.live(5 * HOUR).await;
    world.down("one", false);
    world.down("two", false);
    daemon.live(10 * HOUR).await;
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn twilio_down_for_hours_is_survived() {
    let (world, daemon) = settled().await;
    world.down("twilio", true);
    daemon.live(30 * HOUR).await;
    world.down("twilio", false);
    daemon.live(5 * HOUR).await;
    daemon.converged();
    assert!(daemon.state("billing").completed >= 2, "{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn a_refused_main_key_pauses_the_account_and_its_return_is_enough() {
    let (world, daemon) = settled().await;
    world.truth(|truth| truth.main_key_refused = true);
    daemon.ask("billing", Ask::Rotate);
    daemon.live(5 * HOUR).await;
    assert!(daemon.waiting("billing").contains("main_key_refused"), "{}", daemon.waiting("billing"));
    let made = world.truth(|truth| truth.keys.len());
    assert_eq!(made, 1);
    world.truth(|truth| truth.main_key_refused = false);
    daemon.live(3 * HOUR).await;
    daemon.converged();
    assert_eq!(daemon.state("billing").completed, 2);
}

#[tokio::test(start_paused = true)]
async fn a_create_without_an_answer_is_looked_for_and_its_key_removed() {
    let (world, daemon) = settled().await;
    world.doom_all("create", Some(Fate::LoseAnswer));
    daemon.ask("billing", Ask::Rotate);
    daemon.live(2 * MINUTE).await;
    world.doom_all("create", None);
    daemon.live(4 * HOUR).await;
    daemon.converged();
    assert!(daemon.words("billing").contains(&"removed"), "{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_turns_up_late_is_found_and_removed() {
    let (world, daemon) = settled().await;
    world.doom_all("create", Some(Fate::VeryLate));
    daemon.ask("billing", Ask::Rotate);
    daemon.live(2 * MINUTE).await;
    world.doom_all("create", None);
    daemon.live(6 * HOUR).await;
    daemon.converged();
    let words = daemon.words("billing");
    assert!(words.contains(&"unsettled") && words.contains(&"found"), "{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn twins_with_one_label_are_reported_and_left_alone() {
    let (world, daemon) = settled().await;
    let ambush = async {
        tokio::time::sleep(MINUTE).await;
        world.doom_all("create", Some(Fate::LoseAnswer));
        world.doom_all("list", Some(Fate::Refuse));
        daemon.ask("billing", Ask::Rotate);
        tokio::time::sleep(MINUTE).await;
        let label = world.truth(|truth| truth.keys.values().last().unwrap().label.clone());
        world.doom_all("create", None);
        world.doom_all("list", None);
        world.truth(|truth| truth.foreign_key(label.as_deref()))
    };
    let (_, copy) = tokio::join!(daemon.live(6 * HOUR), ambush);
    assert!(daemon.words("billing").contains(&"ambiguous"), "{}", daemon.story());
    assert!(world.truth(|truth| truth.fetch(&copy)).is_some());
    unbroken(&world);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_wrong_only_delays() {
    for ahead in [-3600 * 24 * 365 * 10, -400, 400, 3600 * 24 * 365 * 10] {
        let (world, daemon) = settled().await;
        daemon.ask("billing", Ask::Rotate);
        daemon.live(10 * MINUTE).await;
        world.truth(|truth| truth.wall_ahead = ahead);
        daemon.live(3 * HOUR).await;
        unbroken(&world);
        assert_eq!(world.truth(|truth| truth.deleted.len()), 0, "a key was deleted while the clocks disagreed");
        world.truth(|truth| truth.wall_ahead = 0);
        daemon.live(3 * HOUR).await;
        daemon.converged();
    }
}

#[tokio::test(start_paused = true)]
async fn one_delete_an_hour_is_the_limit_even_with_a_stray() {
    let (world, daemon) = settled().await;
    daemon.ask("billing", Ask::Rotate);
    daemon.live(35 * MINUTE).await;
    daemon.live(30 * HOUR).await;
    let times: Vec<Duration> = world.truth(|truth| truth.deleted.iter().map(|(_, at)| *at).collect());
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= HOUR), "{times:?}");
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_an_account_holds_over_its_credentials() {
    let names: Vec<String> = (0..30).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut policy = policy_with(&names, |_| {});
    policy.limits.account_deletes_per_hour = AccountDeletes::AtMost(10);
    let (world, daemon) = settled_with(policy).await;
    daemon.live(48 * HOUR).await;
    unbroken(&world);
    let times: Vec<Duration> = world.truth(|truth| truth.deleted.iter().map(|(_, at)| *at).collect());
    assert!(times.len() >= 30, "{}", times.len());
    for (index, time) in times.iter().enumerate() {
        let within = times[..index].iter().filter(|earlier| *time - **earlier < HOUR).count();
        assert!(within < 10, "{within} deletes in the hour before {time:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restored_journal_halts_what_it_missed_and_holds_deletes_for_a_day_only() {
    let world = World::new();
    let daemon = Daemon::new(&world, policy_with(&["alerts", "billing"], |_| {}));
    daemon.live(2 * HOUR).await;
    let backup = daemon.disk.lock().unwrap().clone();
    daemon.ask("billing", Ask::Rotate);
    daemon.live(3 * HOUR).await;
    daemon.converged();
    *daemon.disk.lock().unwrap() = backup;

    daemon.ask("alerts", Ask::Rotate);
    daemon.live(23 * HOUR).await;
    assert_eq!(halt_of(&daemon), Some(Halt::JournalStale), "{}", daemon.story());
    assert!(daemon.state("alerts").rotation.is_some(), "its old key went while deletes were to be held");
    // The key that this journal never heard of is never touched, and does not hold the others for ever.
    daemon.live(6 * HOUR).await;
    assert!(daemon.state("alerts").rotation.is_none(), "{}: {}", daemon.waiting("alerts"), daemon.story());
    assert_eq!(world.truth(|truth| truth.ours().len()), 2);
    unbroken(&world);
}

#[tokio::test(start_paused = true)]
async fn a_sink_added_to_the_policy_gets_the_pair_without_a_new_key() {
    let world = World::new();
    let mut daemon = Daemon::new(&world, policy_with(&["billing"], |rules| drop(rules.places.pop())));
    daemon.live(HOUR).await;
    daemon.policy = Arc::new(policy());
    daemon.live(HOUR).await;
    daemon.converged();
    assert_eq!(world.truth(|truth| truth.keys.len()), 1, "{}", daemon.story());
}

#[tokio::test(start_paused = true)]
async fn a_sink_added_during_grace_is_written_before_the_old_key_goes() {
    let world = World::new();
    let mut daemon = Daemon::new(&world, policy_with(&["billing"], |rules| drop(rules.places.pop())));
    daemon.live(HOUR).await;
    daemon.ask("billing", Ask::Rotate);
    daemon.live(20 * MINUTE).await;
    daemon.policy = Arc::new(policy());
    daemon.live(3 * HOUR).await;
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn a_place_taken_out_of_the_policy_blocks_the_old_key_until_it_is_forgotten() {
    let (world, mut daemon) = settled().await;
    daemon.policy = Arc::new(policy_with(&["billing"], |rules| drop(rules.places.pop())));
    daemon.ask("billing", Ask::Rotate);
    daemon.live(5 * HOUR).await;
    assert_eq!(halt_of(&daemon), Some(Halt::SinkRemoved));
    assert_eq!(world.truth(|truth| truth.ours().len()), 2);
    daemon.ask("billing", Ask::Resume { overwrite: false, forget: BTreeSet::from([place("two")]) });
    daemon.live(2 * HOUR).await;
    assert_eq!(world.truth(|truth| truth.ours().len()), 1, "{}", daemon.story());
    assert_eq!(halt_of(&daemon), None);
}

#[tokio::test(start_paused = true)]
async fn a_credential_taken_out_of_the_policy_loses_nothing() {
    let (world, mut daemon) = settled().await;
    daemon.ask("billing", Ask::Rotate);
    daemon.live(10 * MINUTE).await;
    daemon.policy = Arc::new(policy_with(&[], |_| {}));
    daemon.live(100 * HOUR).await;
    assert_eq!(world.truth(|truth| truth.ours().len()), 2);
    daemon.policy = Arc::new(policy());
    daemon.live(3 * HOUR).await;
    daemon.converged();
}

#[tokio::test(start_paused = true)]
async fn renamed_members_take_effect_with_the_next_rotation() {
    let (world, mut daemon) = settled().await;
    daemon.policy = Arc::new(policy_with(&["billing"], |rules| rules.members.stamp = "managedBy".into()));
    daemon.ask("billing", Ask::Rotate);
    daemon.live(3 * HOUR).await;
    daemon.converged();
    let value = world.truth(|truth| truth.places[&place("one")].value.clone().unwrap());
    assert!(value.contains_key("managedBy") && !value.contains_key("rekeyd"), "{value:?}");
}

#[tokio::test(start_paused = true)]
async fn a_changed_account_halts() {
    let (_world, mut daemon) = settled().await;
    let elsewhere = Home::us1(AccountSid::new("AC00000000000000000000000000000002").unwrap());
    daemon.policy = Arc::new(policy_with(&["billing"], move |rules| rules.home = elsewhere.clone()));
    daemon.live(26 * HOUR).await;
    assert_eq!(halt_of(&daemon), Some(Halt::AccountChanged));
}

#[tokio::test(start_paused = true)]
async fn a_changed_region_halts_and_nothing_of_the_old_one_is_touched_until_it_is_changed_back() {
    let (world, mut daemon) = settled().await;
    let (before, served) = (daemon.policy.clone(), world.truth(|truth| (truth.ours(), truth.serves(&place("one")))));
    daemon.policy = Arc::new(policy_with(&["billing"], |rules| rules.home.region = Region::new("ie1").unwrap()));
    daemon.ask("billing", Ask::Rotate);
    daemon.live(26 * HOUR).await;
    assert_eq!(halt_of(&daemon), Some(Halt::AccountChanged));
    assert_eq!(world.truth(|truth| (truth.ours(), truth.serves(&place("one")))), served);
    daemon.policy = before;
    daemon.ask("billing", resume());
    daemon.live(3 * HOUR).await;
    daemon.converged();
    assert_ne!(world.truth(|truth| truth.serves(&place("one"))), served.1, "it was rotated as was asked");
    unbroken(&world);
}

#[tokio::test(start_paused = true)]
async fn credentials_of_one_account_in_two_regions_have_nothing_to_do_with_each_other() {
    let world = World::new();
    let ireland = Region::new("ie1").unwrap();
    let mut policy = policy_with(&["billing", "ireland"], |_| {});
    let abroad = policy.credentials.values_mut().find(|rules| rules.name.as_str() == "ireland").unwrap();
    abroad.home.region = ireland.clone();
    let daemon = Daemon::new(&world, policy);
    for _ in 0..3 {
        daemon.live(26 * HOUR).await;
    }
    daemon.converged();
    let living = |region: &Region| {
        world.truth(|truth| truth.keys.values().filter(|made| made.live && made.home.region == *region).count())
    };
    assert_eq!((living(&Region::us1()), living(&ireland)), (1, 1));
    // In the other region its key is unknown, and so is what vanishes there.
    let theirs = daemon.state("ireland").current.unwrap().sid;
    world.truth(|truth| truth.human_deletes(&theirs));
    daemon.live(26 * HOUR).await;
    assert!(daemon.words("ireland").contains(&"missing") && !daemon.words("billing").contains(&"missing"));
    daemon.converged();
    unbroken(&world);
}

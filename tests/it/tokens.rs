//! Auth tokens in the fake world: what a rotation of one does, and what people can do to it meanwhile.

use crate::crash::play;
use crate::life::HOUR;
use crate::support::world::{Daemon, Fate, Shows, World, policy_with};
use rekeyd::model::document::Members;
use rekeyd::model::key::KeySid;
use rekeyd::model::names::Place;
use rekeyd::model::policy::{KeyKind, Policy};
use rekeyd::model::reason::Halt;
use rekeyd::ports::Ask;
use std::collections::BTreeSet;
use std::time::Duration;

const SETTLE: Duration = Duration::from_secs(15 * 60);

fn policy() -> Policy {
    policy_with(&["billing"], |rules| {
        (rules.kind, rules.members) = (KeyKind::AuthToken { quiet: true }, Members::of_tokens());
    })
}

/// An account whose places serve its token, and the daemon.
fn scene() -> (World, Daemon, KeySid) {
    let world = World::new();
    let policy = policy();
    let places = policy.credentials.values().next().unwrap().places.clone();
    let before = world.truth(|truth| truth.with_token(&places, false));
    let daemon = Daemon::new(&world, policy);
    (world, daemon, before)
}

fn primary(world: &World) -> KeySid {
    world.truth(|truth| truth.tokens.clone().unwrap().primary)
}

fn secondary(world: &World) -> Option<KeySid> {
    world.truth(|truth| truth.tokens.clone().unwrap().secondary)
}

fn halted(daemon: &Daemon) -> Option<Halt> {
    daemon.state("billing").halted.map(|halted| halted.halt)
}

fn resume(daemon: &Daemon, overwrite: bool) {
    daemon.ask("billing", Ask::Resume { overwrite, forget: BTreeSet::new() });
}

fn count(world: &World, call: &str) -> usize {
    world.log().iter().filter(|logged| *logged == call).count()
}

#[test]
fn the_token_that_is_served_makes_the_next_one_and_the_next_one_is_promoted_after_the_grace() {
    play(async {
        let (world, daemon, before) = scene();
        daemon.live(HOUR / 2).await;
        assert_eq!(primary(&world), before, "both work during the grace period");
        let new = secondary(&world).unwrap();
        let place = daemon.policy.credentials.values().next().unwrap().places[0].clone();
        assert_eq!(world.truth(|truth| truth.serves(&place)), Some(new.clone()));
        daemon.live(2 * HOUR).await;
        assert_eq!((primary(&world), secondary(&world)), (new, None));
        daemon.converged();
        assert_eq!((count(&world, "twilio create"), count(&world, "twilio promote")), (1, 1));
    });
}

#[test]
fn rotations_follow_one_another() {
    play(async {
        let (world, daemon, before) = scene();
        daemon.live(75 * HOUR).await;
        daemon.converged();
        assert_eq!(daemon.state("billing").completed, 4);
        assert_ne!(primary(&world), before);
    });
}

#[test]
fn where_nothing_serves_a_token_a_main_key_makes_the_first_or_people_are_asked() {
    play(async {
        for allowed in [true, false] {
            let world = World::new();
            world.truth(|truth| truth.with_token(&[], allowed));
            let daemon = Daemon::new(&world, policy());
            daemon.live(3 * HOUR).await;
            if allowed {
                daemon.converged();
            } else {
                assert_eq!(halted(&daemon), Some(Halt::CreateRefused));
            }
        }
    });
}

#[test]
fn a_secondary_token_of_a_person_is_never_deleted() {
    play(async {
        let (world, daemon, before) = scene();
        let theirs = world.truth(|truth| truth.human_makes_token());
        daemon.live(5 * HOUR).await;
        assert_eq!(halted(&daemon), Some(Halt::CreateRefused));
        assert_eq!((primary(&world), secondary(&world)), (before, Some(theirs)));
        world.truth(|truth| truth.human_discards());
        resume(&daemon, false);
        daemon.live(5 * HOUR).await;
        daemon.converged();
    });
}

#[test]
fn a_token_whose_answer_was_lost_is_deleted_once_nothing_can_be_on_its_way_any_more() {
    play(async {
        for fate in [Fate::LoseAnswer, Fate::Lose, Fate::VeryLate, Fate::CrashAfter, Fate::CrashBefore] {
            let (world, daemon, before) = scene();
            world.doom_in_turn([("twilio create".to_owned(), 1, fate)]);
            daemon.live(SETTLE - Duration::from_secs(60)).await;
            assert_eq!(count(&world, "twilio discard"), 0, "{fate:?}");
            assert_eq!(primary(&world), before);
            daemon.live(6 * HOUR).await;
            daemon.converged();
            assert_eq!(count(&world, "twilio discard"), 1, "{fate:?}");
        }
    });
}

#[test]
fn a_deletion_that_is_on_its_way_does_not_meet_the_next_token() {
    play(async {
        let (world, daemon, _) = scene();
        let turn = |call: &str, fate| (format!("twilio {call}"), 1, fate);
        world.doom_in_turn([turn("create", Fate::LoseAnswer), turn("discard", Fate::VeryLate)]);
        daemon.live(8 * HOUR).await;
        daemon.converged();
        assert!(count(&world, "twilio discard") >= 2);
    });
}

#[test]
fn a_promotion_without_an_answer_is_looked_for_and_not_repeated_blindly() {
    play(async {
        for (fate, sent) in [(Fate::LoseAnswer, 1), (Fate::Lose, 2), (Fate::VeryLate, 2), (Fate::CrashAfter, 1)] {
            let (world, daemon, before) = scene();
            world.doom_in_turn([("twilio promote".to_owned(), 1, fate)]);
            daemon.live(4 * HOUR).await;
            daemon.converged();
            assert_ne!(primary(&world), before);
            assert_eq!(count(&world, "twilio promote"), sent, "{fate:?}");
        }
    });
}

#[test]
fn what_a_person_promotes_is_not_promoted_again() {
    play(async {
        let (world, daemon, _) = scene();
        daemon.live(HOUR / 2).await;
        world.truth(|truth| truth.human_promotes());
        let theirs = world.truth(|truth| truth.human_makes_token());
        daemon.live(3 * HOUR).await;
        assert_eq!(count(&world, "twilio promote"), 0);
        assert_eq!(secondary(&world), Some(theirs), "neither promoted nor deleted");
        assert_eq!(daemon.state("billing").completed, 1);
    });
}

#[test]
fn a_secondary_token_that_a_person_deletes_is_not_promoted_and_people_are_asked() {
    play(async {
        let (world, daemon, before) = scene();
        daemon.live(HOUR / 2).await;
        world.truth(|truth| truth.human_discards());
        daemon.live(3 * HOUR).await;
        assert_eq!(halted(&daemon), Some(Halt::PairRefused));
        assert_eq!(primary(&world), before);
        resume(&daemon, true);
        daemon.live(HOUR).await;
        assert_eq!(halted(&daemon), Some(Halt::CreateRefused), "no place serves a token that works");
        let places = &daemon.policy.credentials.values().next().unwrap().places;
        world.truth(|truth| truth.human_writes_token(places, &before));
        resume(&daemon, true);
        daemon.live(5 * HOUR).await;
        daemon.converged();
        assert_ne!(primary(&world), before);
    });
}

#[test]
fn a_token_that_a_person_puts_under_our_stamp_is_not_taken_for_ours() {
    for edited in [0, 1] {
        play(async move {
            let (world, daemon, before) = scene();
            daemon.live(HOUR / 2).await;
            let new = secondary(&world).unwrap();
            let place = daemon.policy.credentials.values().next().unwrap().places[edited].clone();
            world.truth(|truth| truth.human_edits_token(&place, &before));
            daemon.live(4 * HOUR).await;
            assert_eq!(halted(&daemon), Some(Halt::ForeignContent));
            assert_eq!((primary(&world), secondary(&world)), (before, Some(new)), "consumers of both go on");
            assert_eq!(daemon.state("billing").completed, 0);
        });
    }
}

#[test]
fn a_secondary_token_that_places_serve_is_not_deleted_for_a_lost_create_whatever_is_allowed() {
    play(async {
        let (world, daemon, _) = scene();
        daemon.live(3 * HOUR).await;
        world.doom_in_turn([("twilio create".to_owned(), 1, Fate::Lose)]);
        daemon.ask("billing", Ask::Rotate);
        daemon.live(SETTLE / 2).await;
        let theirs = world.truth(|truth| truth.human_makes_token());
        let places = daemon.policy.credentials.values().next().unwrap().places.clone();
        world.truth(|truth| truth.human_writes_token(&places, &theirs));
        for overwrite in [false, true] {
            daemon.live(3 * HOUR).await;
            assert_eq!(secondary(&world), Some(theirs.clone()), "{overwrite}");
            resume(&daemon, overwrite);
        }
        daemon.live(3 * HOUR).await;
        assert_eq!((secondary(&world), count(&world, "twilio discard")), (Some(theirs), 0));
    });
}

#[test]
fn a_new_token_that_was_refused_for_a_while_is_promoted_before_another_one_is_asked_for() {
    for overwrite in [false, true] {
        play(async move {
            let (world, daemon, before) = scene();
            daemon.live(HOUR / 2).await;
            let new = secondary(&world).unwrap();
            world.truth(|truth| truth.acceptance = 100 * HOUR);
            daemon.live(3 * HOUR).await;
            assert_eq!((halted(&daemon), primary(&world)), (Some(Halt::PairRefused), before));
            world.truth(|truth| truth.acceptance = Duration::ZERO);
            resume(&daemon, overwrite);
            daemon.live(5 * HOUR).await;
            daemon.converged();
            // Who allows what is served to be replaced asks for a rotation, and that comes after.
            let (again, discards) = (primary(&world) != new, count(&world, "twilio discard"));
            assert_eq!((again, discards), (overwrite, 0));
            assert_eq!(count(&world, "twilio create"), 1 + usize::from(overwrite));
        });
    }
}

#[test]
fn nothing_is_published_where_twilio_does_not_tell_the_tokens_apart() {
    play(async {
        for shows in [Shows::Caller, Shows::Nothing] {
            let (world, daemon, before) = scene();
            world.truth(|truth| truth.tokens.as_mut().unwrap().shows = shows);
            daemon.live(3 * HOUR).await;
            assert_eq!(halted(&daemon), Some(Halt::TokensUntold));
            let place: &Place = &daemon.policy.credentials.values().next().unwrap().places[0];
            assert_eq!(world.truth(|truth| truth.serves(place)), Some(before));
            assert_eq!(count(&world, "one publish") + count(&world, "twilio promote"), 0);
        }
    });
}

#[test]
fn keys_and_tokens_do_not_take_each_others_place() {
    play(async {
        let (world, mut daemon, before) = scene();
        daemon.live(3 * HOUR).await;
        let token = primary(&world);
        daemon.policy = std::sync::Arc::new(policy_with(&["billing"], |_| {}));
        daemon.live(3 * HOUR).await;
        assert_eq!(halted(&daemon), Some(Halt::KindChanged));
        assert_eq!(primary(&world), token);
        assert_ne!(token, before);
    });
}

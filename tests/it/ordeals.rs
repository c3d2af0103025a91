//! Lives in which operators, strangers and bad luck do their worst at the worst time: what somebody tried who wanted to
//! break the protocol. Most of it once did.

pub(crate) mod chance;
mod lies;
mod pairs;
mod places;
pub(crate) mod time;

use crate::life::{HOUR, MINUTE, halt_of, object, place, resume};
use crate::support::world::{Daemon, Fate, World, policy, policy_with};
use rekeyd::model::key::KeySid;
use rekeyd::model::names::{Place, SinkName};
use rekeyd::model::policy::Policy;
use rekeyd::model::reason::Halt;
use rekeyd::model::rotation::Phase;
use rekeyd::ports::Ask;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn overwrite() -> Ask {
    Ask::Resume { overwrite: true, forget: BTreeSet::new() }
}

fn forget(sink: &str) -> Ask {
    Ask::Resume { overwrite: false, forget: BTreeSet::from([place(sink)]) }
}

async fn settled_with(policy: Policy) -> (World, Daemon) {
    let world = World::new();
    let daemon = Daemon::new(&world, policy);
    daemon.live(2 * HOUR).await;
    daemon.converged();
    (world, daemon)
}

async fn settled() -> (World, Daemon) {
    settled_with(policy()).await
}

fn only(sink: &str) -> Policy {
    policy_with(&["billing"], |rules| rules.places.retain(|place| place.sink.as_str() == sink))
}

/// As `only`, and the other sink is not configured at all.
fn only_sink(sink: &str) -> Policy {
    let mut policy = only(sink);
    policy.sinks.retain(|name, _| name.as_str() == sink);
    policy
}

fn serves(world: &World, sink: &str) -> Option<KeySid> {
    world.truth(|truth| truth.serves(&place(sink)))
}

fn alive(world: &World, sid: &KeySid) -> bool {
    world.truth(|truth| truth.ours().contains(sid))
}

fn unbroken(world: &World, daemon: &Daemon) {
    let broken = world.truth(|truth| truth.broken.clone());
    assert!(broken.is_empty(), "{broken:#?}\n{}\nwaiting: {}", daemon.story(), daemon.waiting("billing"));
}

/// Waits, in a task beside the daemon, for a phase.
async fn until(daemon: &Daemon, phase: Phase) {
    while daemon.state("billing").phase() != Some(phase) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn lie(world: &World, sid: &KeySid, gone: bool) {
    world.truth(|truth| {
        let made = truth.keys.get_mut(sid).unwrap();
        (made.live, made.killed_by_human) = (!gone, gone);
    });
}

/// Waits, in a task beside the daemon, for an event.
async fn until_told(daemon: &Daemon, word: &str) {
    while !daemon.words("billing").contains(&word) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until a rotation is confirming, with every read of a sink failing since it was verified.
async fn until_unread_in_confirming(world: &World, daemon: &Daemon) {
    until(daemon, Phase::Verifying).await;
    world.doom_all("read", Some(Fate::Lose));
    until(daemon, Phase::Confirming).await;
}

/// The daemon dies while a write is under way that it has not noted to be unanswered; it arrives very late.
async fn crash_with_a_write_in_flight(world: &World, daemon: &Daemon, call: &str) {
    until(daemon, Phase::Verifying).await;
    world.doom_all("publish", Some(Fate::VeryLate));
    while world.log().last().is_none_or(|last| last != call) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.doom(world.calls(), Fate::CrashBefore);
    world.doom_all("publish", None);
}

/// Lives so long; `two` goes down when a rotation comes to this phase.
async fn live_with_two_down_from(world: &World, daemon: &Daemon, phase: Phase, time: Duration) {
    let ambush = async {
        until(daemon, phase).await;
        world.down("two", true);
    };
    tokio::join!(daemon.live(time), ambush);
}

/// Lives so long; Twilio neither lists the key nor shows it until the daemon believes that it is gone.
async fn live_with_a_lie(world: &World, daemon: &Daemon, sid: &KeySid, time: Duration) {
    let ambush = async {
        while !daemon.words("billing").contains(&"missing") {
            lie(world, sid, true);
            tokio::time::sleep(SECOND).await;
        }
        lie(world, sid, false);
    };
    tokio::join!(daemon.live(time), ambush);
}

/// An operator asks one thing after the other, and leaves the daemon five hours for each.
async fn ask_all(daemon: &Daemon, asks: impl IntoIterator<Item = Ask>) {
    for ask in asks {
        daemon.ask("billing", ask);
        daemon.live(5 * HOUR).await;
    }
}

/// L5: an hour without a hot loop.
async fn calm_hour(world: &World, daemon: &Daemon, most: usize) {
    let calls = world.calls();
    daemon.live(HOUR).await;
    assert!(world.calls() - calls <= most, "{} calls in an hour", world.calls() - calls);
}

fn a_person_edits_one(world: &World, edit: impl Fn(&mut Map<String, Value>)) {
    world.truth(|truth| {
        let mut value = truth.places[&place("one")].value.clone().unwrap();
        edit(&mut value);
        truth.human_writes(&place("one"), Some(value));
    });
}

fn a_person_writes_another_key(world: &World, sink: &str) {
    let theirs = format!("SK{}", "b".repeat(32));
    world.truth(|truth| truth.human_writes(&place(sink), object(json!({"apiKeySid": theirs}))));
}

//! Lives in which operators, strangers and bad luck do their worst at the worst time. Each test was a way to break the
//! protocol, found by somebody who tried to.

mod chance;
mod lies;
mod pairs;
mod places;
mod time;

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

//! What each row of the matrix is, and at which calls of a step it can strike.

use crate::life::{HOUR, MINUTE, object, place};
use crate::support::world::{Fate, Strike, World, policy_with};
use rekeyd::model::names::{Place, SinkName};
use rekeyd::model::policy::SinkPolicy;
use rekeyd::ports::Standing;
use serde_json::json;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One case of the matrix.
pub struct Case {
    pub step: char,
    /// Which calls can be struck; any if there is none.
    pub ops: &'static [&'static str],
    pub act: Strike,
    pub replicas: usize,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}", self.step)
    }
}

/// How a cell is tested.
pub enum Act {
    /// Here, in the fake world.
    Played(Box<Case>),
    /// By the test of this name in this file: what the fake world has not.
    Elsewhere(&'static str, &'static str),
}

/// The call that a step is about.
fn ops(step: char) -> &'static [&'static str] {
    match step {
        'I' | 'G' => &["read"],
        'C' => &["create"],
        'V' => &["probe"],
        'W' => &["publish"],
        'B' => &["read", "probe"],
        'D' => &["delete"],
        _ => &["fence", "delete"],
    }
}

fn fate(fate: Fate) -> Strike {
    Arc::new(move |_, _| Some(fate))
}

fn once(change: impl Fn(&World) + Send + Sync + 'static) -> Strike {
    Arc::new(move |world, _| {
        change(world);
        None
    })
}

/// Something is so for a while.
fn during(time: Duration, set: impl Fn(&World, bool) + Send + Sync + 'static) -> Strike {
    let set = Arc::new(set);
    Arc::new(move |world, _| {
        set(world, true);
        let (world, set) = (world.clone(), set.clone());
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            set(&world, false);
        });
        None
    })
}

/// The newest key of ours, and the one before it.
fn newest(world: &World, back: usize) -> Option<rekeyd::model::key::KeySid> {
    world.truth(|truth| truth.ours().into_iter().rev().nth(back))
}

fn another_sink(world: &World) {
    let mut policy = policy_with(&["billing"], |rules| {
        rules.places.push(Place::new(SinkName::new("three").unwrap(), "billing"));
    });
    policy.sinks.insert(SinkName::new("three").unwrap(), SinkPolicy::Directory { path: "/nowhere".into() });
    policy.timing.tick = MINUTE;
    policy.timing.reconcile = HOUR;
    world.change_policy(policy);
}

fn another_installation(world: &World) {
    let theirs = json!({
        "apiKeySid": format!("SK{}", "c".repeat(32)), "apiKeySecret": "theirs",
        "rekeyd": {"instance": "other", "credential": "billing", "seq": 4, "attempt": "018f0000-0000-7000-8000-000000000001"},
    });
    world.truth(|truth| truth.human_writes(&place("one"), object(theirs)));
}

/// The case of a cell; none if nobody has thought of it.
pub fn act(fault: &str, step: char) -> Option<Act> {
    calls(fault, step).or_else(|| people(fault, step)).or_else(|| times(fault, step))
}

fn played(step: char, ops: &'static [&'static str], act: Strike) -> Option<Act> {
    Some(Act::Played(Box::new(Case { step, ops, act, replicas: 1 })))
}

fn shared(step: char, act: Strike) -> Option<Act> {
    Some(Act::Played(Box::new(Case { step, ops: &[], act, replicas: 2 })))
}

/// What happens to one call.
fn calls(fault: &str, step: char) -> Option<Act> {
    let call = |strike| played(step, ops(step), strike);
    let any = |strike| played(step, &[], strike);
    let shared = |strike| shared(step, strike);
    match (fault, step) {
        ("1", 'C'..='W') => call(fate(Fate::CrashBefore)),
        ("38" | "39", 'I') => any(fate(Fate::CrashAfter)),
        ("3" | "4" | "5" | "6" | "8" | "9" | "35", 'I') => None,
        ("4", _) => call(fate(Fate::LoseAnswer)),
        ("1", _) => call(fate(Fate::CrashBefore)),
        ("2", _) => call(fate(Fate::CrashAfter)),
        ("3", _) => call(fate(Fate::Lose)),
        ("5", _) => call(fate(Fate::Twice)),
        ("6", _) => call(fate(Fate::VeryLate)),
        // Our own write came first, without our knowing it.
        ("7", 'W' | 'O') => call(fate(Fate::Twice)),
        ("7", _) => any(once(|world| world.truth(|truth| truth.human_touches(&place("one"))))),
        ("8", _) => call(fate(Fate::Refuse)),
        ("9", _) => call(fate(Fate::Broken)),
        ("15" | "43", _) => shared(fate(Fate::Stop)),
        // One sink is written, and then the daemon is gone.
        ("28", 'W') => call(fate(Fate::CrashAfter)),
        ("33", 'C') => call(fate(Fate::Quota)),
        ("34", 'C') => call(fate(Fate::Garble)),
        ("35", _) => call(fate(Fate::Garble)),
        ("45", 'I') => any(fate(Fate::Slow)),
        _ => None,
    }
}

/// What people do.
fn people(fault: &str, step: char) -> Option<Act> {
    let any = |strike| played(step, &[], strike);
    match (fault, step) {
        ("16", _) => any(once(another_installation)),
        ("17", _) => any(once(another_sink)),
        ("18", _) => any(once(|world| {
            newest(world, 0).inspect(|sid| world.truth(|truth| truth.human_deletes(sid)));
        })),
        ("19", _) => any(once(|world| {
            newest(world, 1).inspect(|sid| world.truth(|truth| truth.human_deletes(sid)));
        })),
        ("20", _) => any(once(|world| {
            world.truth(|truth| truth.human_writes(&place("one"), object(json!({"user": "x"}))));
        })),
        ("21", _) => any(once(|world| {
            let copy = newest(world, 0).and_then(|sid| world.truth(|truth| truth.keys[&sid].label.clone()));
            world.truth(|truth| truth.foreign_key(copy.as_deref()));
        })),
        ("24", _) => {
            any(once(|world| drop(world.truth(|truth| truth.foreign_key(Some("rekeyd:test:billing:theirs"))))))
        }
        ("26" | "41", _) => any(Arc::new(|world, _| {
            world.restore();
            Some(Fate::CrashBefore)
        })),
        ("31", _) => any(once(|world| world.truth(|truth| truth.human_writes(&place("one"), None)))),
        _ => None,
    }
}

/// What goes on for a while, and what is tested elsewhere.
fn times(fault: &str, step: char) -> Option<Act> {
    let any = |strike| played(step, &[], strike);
    let shared = |strike| shared(step, strike);
    match (fault, step) {
        ("10", _) => any(during(40 * MINUTE, |world, on| world.truth(|truth| truth.main_key_refused = on))),
        ("11", _) => any(during(HOUR, |world, on| {
            let time = if on { 1000 * HOUR } else { Duration::ZERO };
            world.truth(|truth| truth.acceptance = time);
        })),
        ("12", _) => any(during(HOUR, |world, on| {
            world.truth(|truth| truth.wall_ahead = if on { 10 * 365 * 86_400 } else { 0 });
        })),
        ("13", _) => any(during(10 * MINUTE, |world, on| world.down("journal", on))),
        ("14", _) => Some(Act::Elsewhere("journal/sqlite.rs", "a_damaged_journal_is_refused_at_the_start")),
        ("22", _) => any(during(5 * MINUTE, |world, on| world.truth(|truth| truth.one_edge_refuses = on))),
        ("23a", _) => any(during(HOUR, |world, on| {
            world.truth(|truth| truth.standing = on.then_some(Standing::Suspended));
        })),
        ("23b", _) => any(during(HOUR, |world, on| {
            world.truth(|truth| truth.standing = on.then_some(Standing::Closed));
        })),
        ("25", _) => any(during(HOUR, |world, on| world.truth(|truth| truth.list_hides = on))),
        ("27" | "44", _) => any(during(15 * MINUTE, |world, on| {
            ["twilio", "one", "two"].iter().for_each(|peer| world.down(peer, on));
        })),
        ("28", _) => any(during(HOUR, |world, on| world.down("two", on))),
        ("29", _) => any(during(2 * HOUR, |world, on| world.down("one", on))),
        ("30", _) => any(during(HOUR, |world, on| {
            ["read", "publish", "fence"].iter().for_each(|call| world.doom_all(call, on.then_some(Fate::Forbid)));
        })),
        ("32", _) => any(during(10 * MINUTE, |world, on| world.truth(|truth| truth.stale_reads = on))),
        ("36", 'C') => {
            Some(Act::Elsewhere("twilio/create.rs", "a_key_without_a_usable_secret_is_not_known_to_be_made"))
        }
        ("37", 'I') => Some(Act::Elsewhere(
            "daemon/main_job.rs",
            "sigterm_finishes_the_call_in_hand_and_leaves_within_ten_seconds",
        )),
        ("40", 'I') => Some(Act::Elsewhere("table.rs", "an_event_of_another_version_is_refused")),
        ("42", 'I') => shared(Arc::new(|world, who| {
            world.cut_off(who, true);
            let world = world.clone();
            tokio::spawn(async move {
                tokio::time::sleep(10 * MINUTE).await;
                world.cut_off(who, false);
            });
            None
        })),
        ("46", 'I') => {
            Some(Act::Elsewhere("daemon/main_job.rs", "a_reader_of_the_log_that_stands_still_stops_nothing"))
        }
        ("47", 'I') => any(during(20 * MINUTE, |world, on| world.truth(|truth| truth.all_vanish = on))),
        _ => None,
    }
}

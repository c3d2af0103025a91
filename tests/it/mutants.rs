//! Each safety rule is switched off in turn, and the simulation must notice: what no test misses is not kept by tests.

use crate::crash::play;
use crate::ordeals::chance;
use crate::schedules;
use crate::support::world::{Daemon, World, policy};
use rekeyd::model::rule::Rule;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Switches a rule off for as long as it lives.
struct Without;

impl Without {
    fn rule(rule: Rule) -> Self {
        Rule::switch_off(Some(rule));
        Self
    }
}

impl Drop for Without {
    fn drop(&mut self) {
        Rule::switch_off(None);
    }
}

/// What noticed that a rule is missing, and after how many stories.
fn caught(rule: Rule) -> Option<(String, u64)> {
    let _without = Without::rule(rule);
    for seed in 0..400 {
        if let Err(what) =
            catch_unwind(AssertUnwindSafe(|| schedules::verdict(seed))).unwrap_or_else(|_| Err("panic".into()))
        {
            return Some((what, seed + 1));
        }
        if seed % 4 == 0
            && let Err(what) = chance::tell(seed / 4).0
        {
            return Some((what, seed + 1));
        }
    }
    None
}

#[test]
fn every_rule_that_is_switched_off_is_missed() {
    let mut survived = Vec::new();
    let rules = Rule::ALL.iter();
    std::thread::scope(|scope| {
        let hunts: Vec<_> = rules.map(|rule| (rule, scope.spawn(|| caught(*rule)))).collect();
        for (rule, hunt) in hunts {
            match hunt.join().unwrap() {
                Some((what, stories)) => {
                    println!("{rule:?} was missed in story {stories}: {}", what.lines().next().unwrap_or(""))
                }
                None => survived.push(*rule),
            }
        }
    });
    println!("counted: rules switched off {}", Rule::ALL.len());
    assert!(survived.is_empty(), "nobody misses {survived:?}");
}

#[test]
fn with_every_rule_on_nothing_is_missed() {
    let daemon = play(async {
        let world = World::new();
        let daemon = Daemon::new(&world, policy());
        daemon.live(std::time::Duration::from_secs(86_400)).await;
        daemon
    });
    daemon.converged();
}

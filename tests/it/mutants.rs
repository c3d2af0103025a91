//! Each safety rule is switched off in turn, and the simulation must notice: what no test misses is not kept by tests.

use crate::crash::on_all_cores;
use crate::ordeals::chance;
use crate::schedules;
use rekeyd::model::rule::Rule;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// So many stories are told before a rule counts as one that nobody misses.
const MOST: u64 = 500;

/// Stories that are known to show the absence of a rule, so that the hunt need not begin at the first; a seed is always the
/// same story.
const FIRST: [(Rule, u64); 2] = [(Rule::Fence, 1126), (Rule::Unique, 299)];

/// Rules whose absence these stories show too rarely to be waited for; they need stories of their own.
const NOT_YET: [Rule; 3] = [Rule::FreshRead, Rule::FetchNotList, Rule::Limits];

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

/// Both kinds of story with this seed; what was wrong, if something was.
fn stories(seed: u64) -> Result<(), String> {
    let schedule = catch_unwind(AssertUnwindSafe(|| schedules::verdict(seed)));
    schedule.unwrap_or_else(|_| Err("a panic".into()))?;
    if seed.is_multiple_of(4) { chance::tell(seed / 4).0 } else { Ok(()) }
}

/// What noticed that a rule is missing, and in which story.
fn caught(rule: Rule) -> Option<(String, u64)> {
    let _without = Without::rule(rule);
    let first = FIRST.iter().find(|(of, _)| *of == rule).map_or(0, |(_, seed)| *seed);
    (first..first + MOST).find_map(|seed| stories(seed).err().map(|what| (what, seed)))
}

#[test]
fn every_rule_that_is_switched_off_is_missed() {
    let missed = Mutex::new(Vec::new());
    let hunted = Rule::ALL.into_iter().filter(|rule| !NOT_YET.contains(rule));
    on_all_cores(hunted, |rule| {
        let Some((what, seed)) = caught(*rule) else { panic!("nobody misses {rule:?}") };
        println!("{rule:?} was missed in story {seed}: {}", what.lines().next().unwrap_or_default());
        missed.lock().unwrap().push(seed);
    });
    let missed = missed.into_inner().unwrap();
    println!("counted: rules switched off {}", missed.len());
    // It is the missing rule that was noticed: with all of them the same stories end well.
    on_all_cores(missed.into_iter(), |seed| assert_eq!((*seed, stories(*seed)), (*seed, Ok(()))));
}

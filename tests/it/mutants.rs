//! Each safety rule is switched off in turn, and the simulation must notice: what no test misses is not kept by tests.

use crate::crash::on_all_cores;
use crate::ordeals::{chance, time};
use crate::support::counted::counted;
use crate::{life, matrix, restarts, schedules};
use rekeyd::model::rule::Rule;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// So many stories are told before a rule counts as one that nobody misses.
const MOST: u64 = 500;

/// Stories that are known to show the absence of a rule, so that the hunt need not begin at the first; a seed is always the
/// same story.
const FIRST: [(Rule, u64); 2] = [(Rule::Fence, 1126), (Rule::Unique, 299)];

/// Stories that go wrong without a rule, where stories by chance show it too rarely to be waited for.
const OWN: [(Rule, fn()); 4] = [
    (Rule::Rollout, restarts::no_pod_holds_a_key_that_is_deleted),
    (Rule::FreshRead, time::the_last_look_is_at_most_two_seconds_old_when_a_delete_leaves),
    (Rule::FetchNotList, lists_hide_every_key),
    (Rule::Limits, life::keys_that_never_work_are_removed_and_the_limits_hold),
];

fn lists_hide_every_key() {
    assert_eq!(matrix::row("25"), Ok(()));
}

fn own(rule: Rule) -> Option<fn()> {
    OWN.iter().find(|(of, _)| *of == rule).map(|(_, story)| *story)
}

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

/// What a story says is wrong; a panic says it too.
fn told<T>(story: impl FnOnce() -> T) -> Result<T, String> {
    let said = |panic: Box<dyn Any + Send>| panic.downcast_ref::<String>().cloned().unwrap_or("a panic".into());
    catch_unwind(AssertUnwindSafe(story)).map_err(said)
}

/// Both kinds of story with this seed; what was wrong, if something was.
fn stories(seed: u64) -> Result<(), String> {
    told(|| schedules::verdict(seed)).flatten()?;
    if seed.is_multiple_of(4) { chance::tell(seed / 4).0 } else { Ok(()) }
}

/// What the story of a rule, or the first one by chance, has to say against a world in which the rule is missing.
fn caught(rule: Rule) -> Option<(String, Option<u64>)> {
    let _without = Without::rule(rule);
    if let Some(story) = own(rule) {
        return told(story).err().map(|what| (what, None));
    }
    let first = FIRST.iter().find(|(of, _)| *of == rule).map_or(0, |(_, seed)| *seed);
    (first..first + MOST).find_map(|seed| stories(seed).err().map(|what| (what, Some(seed))))
}

#[test]
fn every_rule_that_is_switched_off_is_missed() {
    let missed = Mutex::new(Vec::new());
    on_all_cores(Rule::ALL.into_iter(), |rule| {
        let Some((what, seed)) = caught(*rule) else { panic!("nobody misses {rule:?}") };
        let story = seed.map_or("its own story".to_owned(), |seed| format!("story {seed}"));
        println!("{rule:?} was missed in {story}: {}", what.lines().next().unwrap_or_default());
        missed.lock().unwrap().push((*rule, seed));
    });
    let missed = missed.into_inner().unwrap();
    counted("rules switched off", missed.len());
    // It is the missing rule that was noticed: with all of them the same stories end well.
    on_all_cores(missed.into_iter(), |(rule, seed)| match seed {
        Some(seed) => assert_eq!((*seed, stories(*seed)), (*seed, Ok(()))),
        None => assert_eq!(own(*rule).map(told), Some(Ok(()))),
    });
}

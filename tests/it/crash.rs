//! One fault at every call of a life that has a first rotation and a second: the daemon dies before or after it, or the
//! call is refused, lost, answered to nobody, or applied late. Then the faults stop, and all must be well.

use crate::support::world::{Daemon, Fate, World, policy};
use rekeyd::model::policy::Policy;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
/// The first rotation, the second with its grace, and time to clean up; the third comes at 48 h.
const LIFE: Duration = Duration::from_secs(40 * 3600);

/// Rare looks around, so that the calls are those of the rotations.
fn quiet() -> Policy {
    let mut policy = policy();
    policy.timing.tick = Duration::from_secs(300);
    policy.timing.sweep = 8 * HOUR;
    policy.timing.reconcile = 20 * HOUR;
    policy
}

/// Runs one life with the faults; panics with the whole story if anything was broken or did not heal.
async fn one_life(faults: &[(usize, Fate)]) -> Daemon {
    let world = World::new();
    for (call, fate) in faults {
        world.doom(*call, *fate);
    }
    let daemon = Daemon::new(&world, quiet());
    daemon.live(LIFE).await;
    daemon
}

fn run(faults: &[(usize, Fate)]) -> Daemon {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(one_life(faults))
}

/// Runs every set of faults on all cores and reports the first that fails.
fn all(sets: impl Iterator<Item = Vec<(usize, Fate)>>) -> usize {
    let sets: Vec<_> = sets.collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, Into::into) {
            scope.spawn(|| {
                while let Some(set) = sets.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    let checked = std::panic::catch_unwind(|| run(set).converged());
                    assert!(checked.is_ok(), "with the faults {set:?}");
                }
            });
        }
    });
    sets.len()
}

#[test]
fn one_fault_at_any_call_breaks_nothing_and_heals() {
    let undisturbed = run(&[]);
    undisturbed.converged();
    let calls = undisturbed.world.calls();
    assert!(calls > 50, "{:?}", undisturbed.world.log());
    let sets = (0..calls).flat_map(|call| Fate::ALL.map(|fate| vec![(call, fate)]));
    let runs = all(sets);
    println!("{calls} calls, {runs} lives with one fault each");
}

/// A crash can follow on a crash, and on anything else; the second may hit the recovery from the first.
#[test]
fn a_crash_after_any_other_fault_breaks_nothing_and_heals() {
    let calls = run(&[]).world.calls();
    let firsts = (0..calls).flat_map(|call| Fate::ALL.map(|fate| (call, fate)));
    // Recovery makes some more calls; from there on the second fault is one that the test above has had alone.
    let seconds = |first: usize| {
        (first + 1..first + 13).flat_map(|call| [Fate::CrashBefore, Fate::CrashAfter].map(|fate| (call, fate)))
    };
    let sets = firsts.flat_map(|first| seconds(first.0).map(move |second| vec![first, second]));
    let runs = all(sets);
    println!("{runs} lives with two faults each");
}

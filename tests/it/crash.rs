//! One fault at every call of a life that has a first rotation and a second: the daemon dies before or after it, or the
//! call is refused, lost, answered to nobody, or applied late. Then the faults stop, and all must be well.

use crate::support::counted::counted;
use crate::support::world::{Daemon, Fate, World, policy};
use rekeyd::model::policy::Policy;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
/// The first rotation, the second with its grace, and time to clean up; the third comes at 48 h.
pub(crate) const LIFE: Duration = Duration::from_secs(40 * 3600);

/// Rare looks around, so that the calls are those of the rotations.
pub(crate) fn quiet() -> Policy {
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

/// Plays something in virtual time.
pub(crate) fn play<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(story)
}

fn run(faults: &[(usize, Fate)]) -> Daemon {
    play(one_life(faults))
}

/// Every fault at every call of an undisturbed life, but for a create that is delivered twice: its twins can not be told
/// apart and are left to people, which is a case of its own.
pub(crate) fn every_fault(undisturbed: &World) -> impl Iterator<Item = (usize, Fate)> {
    let calls = undisturbed.log().into_iter().enumerate();
    calls.flat_map(|(call, name)| {
        let fates = Fate::ALL.into_iter().filter(move |fate| *fate != Fate::Twice || name != "twilio create");
        fates.map(move |fate| (call, fate))
    })
}

fn all(sets: impl Iterator<Item = Vec<(usize, Fate)>>) -> usize {
    on_all_cores(sets, |set| run(set).converged())
}

/// Tells every story on all cores and reports the first that fails; answers how many there were.
pub(crate) fn on_all_cores<S: Debug + Sync + Send>(sets: impl Iterator<Item = S>, tell: impl Fn(&S) + Sync) -> usize {
    let sets: Vec<_> = sets.collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, Into::into) {
            scope.spawn(|| {
                while let Some(set) = sets.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tell(set)));
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
    let sets = every_fault(&undisturbed.world).map(|fault| vec![fault]);
    let runs = all(sets);
    counted("crash points", calls * 2);
    counted("lives with one fault", runs);
}

/// A crash can follow on a crash, and on anything else; the second may hit the recovery from the first.
#[test]
fn a_crash_after_any_other_fault_breaks_nothing_and_heals() {
    let undisturbed = run(&[]);
    let firsts = every_fault(&undisturbed.world);
    // Recovery makes some more calls; from there on the second fault is one that the test above has had alone.
    let seconds = |first: usize| {
        (first + 1..first + 13).flat_map(|call| [Fate::CrashBefore, Fate::CrashAfter].map(|fate| (call, fate)))
    };
    let sets = firsts.flat_map(|first| seconds(first.0).map(move |second| vec![first, second]));
    let runs = all(sets);
    counted("lives with two faults", runs);
}

/// Every place at which the daemon can die, by name: before and after each kind of call and each kind of entry, in the first
/// rotation and in the second.
fn points(undisturbed: &World) -> Vec<(String, usize, Fate)> {
    let log = undisturbed.log();
    let creates: Vec<usize> =
        log.iter().enumerate().filter(|(_, call)| *call == "twilio create").map(|(n, _)| n).collect();
    let second = creates[1].saturating_sub(4);
    let mut points = Vec::new();
    for name in log.iter().collect::<BTreeSet<_>>() {
        let count = |calls: &[String]| calls.iter().filter(|call| *call == name).count();
        let before = count(&log[..second]);
        let mut times = vec![1];
        times.extend((count(&log[second..]) > 0 && before > 0).then_some(before + 1));
        for time in times {
            points.extend([Fate::CrashBefore, Fate::CrashAfter].map(|fate| (name.clone(), time, fate)));
        }
    }
    points
}

#[test]
fn every_ordered_pair_of_crash_points_breaks_nothing_and_heals() {
    let points = points(&run(&[]).world);
    assert!(points.len() > 60, "{points:?}");
    let seconds: Vec<_> = points.iter().filter(|(_, time, _)| *time == 1).cloned().collect();
    let pairs = points.iter().flat_map(|first| seconds.iter().map(move |second| [first.clone(), second.clone()]));
    let hit = std::sync::atomic::AtomicUsize::new(0);
    let lives = on_all_cores(pairs, |pair| {
        play(async {
            let world = World::new();
            world.doom_in_turn(pair.clone());
            let daemon = Daemon::new(&world, quiet());
            let crashes = daemon.live(LIFE).await;
            daemon.converged();
            hit.fetch_add(usize::from(crashes == 2), std::sync::atomic::Ordering::Relaxed);
        });
    });
    let hit = hit.into_inner();
    counted("named crash points", points.len());
    counted("ordered pairs of crash points", lives);
    counted("of them with both crashes", hit);
    assert!(hit * 10 > lives * 6, "in only {hit} of {lives} lives did the second point come");
}

//! One of two replicas is stopped just before each thing it does, loses its claim to the other, and is let go on when the
//! work is done: what it does late must change nothing that it should not.

use super::ground::{CALM, Ground, HASTY, Keys, Ledger, Store};
use super::kills::{many, of_two_rotations};
use crate::daemon::rig::signal;
use crate::support::counted::counted;
use rustix::process::Signal;
use std::fs;
use std::time::Duration;

/// Whether every thread of a process stands still (proc(5), `stat`).
fn stands_still(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

async fn stopped_at(store: Store, number: usize, what: &str) {
    let ground = Ground::new(Ledger::Postgres, store).await;
    let mut late = ground.start(&HASTY, &format!("stop:{number}"));
    late.until(what, |daemon| stands_still(daemon.process.child.id())).await;
    // For the server the claim has run out, and the stopped one has no way to know: worse than a minute of truth, after
    // which its own clock would tell it so.
    ground.a_minute_passes().await;
    let mut other = ground.start(&CALM, "");
    ground.until_at_rest(&mut other).await;
    signal(&late.process, Signal::CONT);
    // It says its word, is refused or not, and whatever it left behind is found by the next sweeps.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    drop(late);
    // It was killed in whatever it was doing by then, which is another death, and costs another minute.
    ground.a_minute_passes().await;
    // A create that leaves later than its key would be looked for makes a key that nobody can tell from a copy.
    let left = usize::from(what.ends_with("before create"));
    ground.until_at_rest_but(left, &mut other).await;
    drop(other);
    ground.expect_sound(&CALM, what).await;
    ground.clear().await;
}

async fn stopped_everywhere(store: Store) {
    let points = of_two_rotations((Ledger::Postgres, store, Keys::Standard)).await;
    let numbered = (1..).zip(points).filter(|(_, point)| point.starts_with("before"));
    let numbered: Vec<_> = numbered.collect();
    let lives = numbered.len();
    many(numbered, move |(number, point)| async move {
        stopped_at(store, number, &format!("stopped at {number}, {point}")).await;
        1
    })
    .await;
    counted("torture runs", lives);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_wakes_up_after_its_claim_ran_out_does_no_harm_on_openbao() {
    stopped_everywhere(Store::Vault).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_wakes_up_after_its_claim_ran_out_does_no_harm_on_secrets_manager() {
    stopped_everywhere(Store::Aws).await;
}

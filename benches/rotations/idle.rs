//! An hour in which nothing is due, from two minutes of real time.
//!
//! Whatever recurs in an hour recurs in every minute of it, but for the sweeps of the account, of which an hour has four.
//! So one minute is measured without a sweep, and one with as many as there is time for: the hour is sixty of the first,
//! and four of what a sweep adds to the second. Clocks that run faster would be simpler and are not honest: libfaketime
//! rounds the runtime's short waits down to nothing, and the daemon turns in circles that it does not know in earnest.

use crate::report::Idle;
use crate::rig::Rig;
use crate::server::free_port;
use crate::watched::Watched;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// Sweeps in an hour, by the policy's default.
const SWEEPS: u32 = 4;

/// Measures it, with the policy's own default times.
pub fn measure(rig: &Rig) -> Idle {
    let (quiet, none) = minute(rig, "15m");
    let (swept, sweeps) = minute(rig, "15s");
    assert!(none == 0 && sweeps > 0, "{none} and {sweeps} sweeps");
    let each = swept.saturating_sub(quiet) / sweeps;
    let told = format!(
        "{:.1} ms each minute, {:.1} ms each sweep ({sweeps} measured)",
        quiet.as_secs_f64() * 1000.0,
        each.as_secs_f64() * 1000.0
    );
    Idle { cpu: quiet * 60 + each * SWEEPS, told }
}

/// The CPU time of one minute, and how many sweeps there were in it.
fn minute(rig: &Rig, sweep: &str) -> (Duration, u32) {
    let (port, path) = (free_port(), rig.folder.path().join("idle.toml"));
    let policy = rig.policy(port, None).replace("tick = \"1s\"\n", &format!("sweep = \"{sweep}\"\n"));
    std::fs::write(&path, policy).unwrap();
    let daemon = Watched::start(rig.command(&path));
    rig.readied(&daemon, port);
    // The first sweep belongs to the start.
    std::thread::sleep(Duration::from_secs(5));
    let before_it = sweeps(rig);
    // A thread that ends takes its count with it, so each is asked again and again.
    let mut counted = BTreeMap::new();
    daemon.count(&mut counted);
    let (before, start) = (total(&counted), Instant::now());
    while start.elapsed() < MINUTE {
        std::thread::sleep(Duration::from_millis(500));
        daemon.count(&mut counted);
    }
    let cpu = Duration::from_nanos(total(&counted) - before);
    let sweeps = sweeps(rig) - before_it;
    daemon.stop();
    (cpu, sweeps)
}

fn total(counted: &BTreeMap<String, u64>) -> u64 {
    counted.values().sum()
}

/// Each begins with the account's standing.
fn sweeps(rig: &Rig) -> u32 {
    let calls = rig.sandbox.calls().get("fetch_account").copied().unwrap_or_default();
    u32::try_from(calls).unwrap()
}

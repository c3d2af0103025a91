//! The script beside which rekeyd is measured: `benches/plain.py`, in the same minute against the same counterparts.

use crate::report::Beside;
use crate::rig::{Rig, Sink};
use crate::sandbox::{ACCOUNT, LATENCY, MAIN_KEY, MAIN_SECRET};
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;

/// What the run with many threads is called in the table.
pub const SCRIPT: &str = "script, 32 threads";

/// Rotates with 32 threads, and a tenth as many one after the other.
pub fn measure(rig: &Rig, rotations: usize) -> Vec<Beside> {
    let one = |name: &'static str, threads: usize, rotations| run(rig, name, threads, rotations);
    vec![one("script, 32 threads", 32, rotations), one("script, one thread", 1, rotations / 10)]
}

fn run(rig: &Rig, name: &'static str, threads: usize, rotations: usize) -> Beside {
    let Sink::Emulator(emulator) = &rig.sink else { panic!("the script publishes to Secrets Manager") };
    let mut python = Rig::python();
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/plain.py"));
    python.arg(format!("http://127.0.0.1:{}", rig.sandbox.port)).args([emulator.as_str(), ACCOUNT, MAIN_KEY]);
    python.args([rotations.to_string(), threads.to_string(), LATENCY.to_string()]);
    python.env("MAIN_SECRET", MAIN_SECRET).env("AWS_ACCESS_KEY_ID", "GOOD").env("AWS_SECRET_ACCESS_KEY", "x");
    let output = python.stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "the script failed");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let time = |member: &str| Duration::from_secs_f64(told[member].as_f64().unwrap());
    let calls = told["calls"].as_u64().unwrap();
    Beside { name, rotations, took: time("seconds"), cpu: time("cpu"), calls }
}

//! The figures of each run, as two tables and as JSON: what was measured, and which goals that reaches.

use crate::rig::{FLEET, MANY, ONE, PAIRS, THREE};
use crate::sandbox::LATENCY;
use crate::year::Year;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// What one run took.
pub struct Figures {
    pub name: &'static str,
    pub replicas: usize,
    /// Calls that all replicas together may have under way.
    pub in_flight: u64,
    pub rotations: usize,
    /// From the first decision to the last completed rotation.
    pub took: Duration,
    /// Of all replicas, from the moment they were ready.
    pub cpu: Duration,
    /// Of one replica, until it was ready.
    pub start_cpu: Duration,
    /// Of the first replica, start included: CPU time by the names of its threads.
    pub threads: BTreeMap<String, Duration>,
    /// The share of all processors that was busy, whatever with.
    pub busy: f64,
    pub peak: f64,
    pub ready: Duration,
    /// Calls of Twilio, sweeps included.
    pub calls: u64,
}

/// Calls that one rotation of a key of ours needs by the protocol: the create, three trials of the new key, one of what
/// the sink serves; the look for the old key, one more trial and the delete; and the look that finds it gone.
pub const NEEDED: u64 = 9;
/// Calls at the same time, of each process in one account: the policy's default.
pub const IN_FLIGHT: u64 = 32;
/// Rotations at the same time, of each process: the engine's tasks.
pub const TASKS: u64 = 256;

impl Figures {
    fn per_second(&self) -> f64 {
        self.rotations as f64 / self.took.as_secs_f64()
    }

    fn share(&self) -> f64 {
        let limit = self.in_flight as f64 * 1000.0 / (NEEDED * LATENCY) as f64;
        100.0 * self.per_second() / limit
    }

    fn cpu_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1000.0 / self.rotations as f64
    }

    /// The shares of the threads in the CPU time: the runtime's (engine, HTTP, files), SQLite's, the log's, the start's.
    fn shares(&self) -> String {
        let all: f64 = self.threads.values().map(Duration::as_secs_f64).sum();
        let shares = self.threads.iter().map(|(name, cpu)| format!("{name} {:.0} %", 100.0 * cpu.as_secs_f64() / all));
        shares.collect::<Vec<_>>().join(", ")
    }
}

/// The same job, or a part of it, done by something else.
pub struct Beside {
    pub name: &'static str,
    pub rotations: usize,
    pub took: Duration,
    pub cpu: Duration,
    pub calls: u64,
}

impl Beside {
    fn per_second(&self) -> f64 {
        self.rotations as f64 / self.took.as_secs_f64()
    }

    fn cpu_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1000.0 / self.rotations as f64
    }
}

/// The hour in which nothing is due.
pub struct Idle {
    pub cpu: Duration,
    pub told: String,
}

/// All of them.
#[derive(Default)]
pub struct Report {
    pub runs: Vec<Figures>,
    pub beside: Vec<Beside>,
    pub idle: Option<Idle>,
    pub year: Option<Year>,
}

/// One goal: what, what is wanted, what was measured, and whether that is enough.
type Goal = (String, String, String, bool);

impl Report {
    /// Prints the tables, and writes the JSON beside the build.
    pub fn print(&self) {
        if !self.runs.is_empty() {
            self.table();
            println!("\n| goal | wanted | measured | reached |\n|---|---|---|---|");
        }
        for (goal, wanted, measured, reached) in self.goals() {
            println!("| {goal} | {wanted} | {measured} | {} |", if reached { "yes" } else { "**no**" });
        }
        if let Some(year) = &self.year {
            year.print();
        }
        println!();
        for f in &self.runs {
            println!("Where it goes, {}: {}.", f.name, f.shares());
        }
        if let Some(Idle { told, .. }) = &self.idle {
            println!("The idle hour: {told}.");
        }
        for (one, other) in PAIRS {
            if let (Some(one_rate), Some(other_rate)) = (self.rate(one), self.rate(other)) {
                println!("{other}: {:.2} times the rotations of {one}.", other_rate / one_rate);
            }
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench.jsonl");
        std::fs::write(path, self.lines()).unwrap();
    }

    fn table(&self) {
        println!(
            "| run | rotations/s | of the limit | CPU each, ms | machine busy | peak, MiB | ready, s | CPU of the start, s | Twilio calls each |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        for f in &self.runs {
            let (rate, share, cpu) = (f.per_second(), f.share(), f.cpu_each());
            let (ready, start) = (f.ready.as_secs_f64(), f.start_cpu.as_secs_f64());
            let (name, busy, peak, calls) = (f.name, f.busy, f.peak, f.calls as f64 / f.rotations as f64);
            println!(
                "| {name} | {rate:.1} | {share:.1} % | {cpu:.2} | {busy:.0} % | {peak:.1} | {ready:.2} | {start:.2} | {calls:.2} |"
            );
        }
        for b in &self.beside {
            let (rate, cpu, calls) = (b.per_second(), b.cpu_each(), b.calls as f64 / b.rotations as f64);
            println!("| {} | {rate:.1} | - | {cpu:.2} | - | - | - | - | {calls:.2} |", b.name);
        }
    }

    fn goals(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        for f in &self.runs {
            if f.name != PAIRS[0].1 && f.name != FLEET && f.replicas == 1 {
                let share = f.share();
                goals.push((
                    format!("share of the limit, {}", f.name),
                    "95 %".into(),
                    format!("{share:.1} %"),
                    share >= 95.0,
                ));
            }
        }
        for f in self.runs.iter().filter(|f| f.replicas == 1 && f.name != PAIRS[0].1) {
            let cpu = f.cpu_each();
            let measured = match self.calls_alone() {
                Some(calls) => format!("{cpu:.2} ms, of it {calls:.2} for the nine calls"),
                None => format!("{cpu:.2} ms"),
            };
            goals.push((format!("CPU per rotation, {}", f.name), "0.5 ms".into(), measured, cpu <= 0.5));
        }
        for f in self.runs.iter().filter(|f| f.name == MANY) {
            goals.push((
                "peak memory, 10,000 known".into(),
                "64 MiB".into(),
                format!("{:.1} MiB", f.peak),
                f.peak <= 64.0,
            ));
            let ready = f.ready.as_secs_f64();
            goals.push(("start to ready, 10,000 known".into(), "1 s".into(), format!("{ready:.2} s"), ready <= 1.0));
        }
        if let Some(idle) = &self.idle {
            let cpu = idle.cpu.as_secs_f64();
            goals.push(("CPU of an idle hour, 10,000 known".into(), "1 s".into(), format!("{cpu:.2} s"), cpu <= 1.0));
        }
        if let (Some(one), Some(three)) = (self.rate(ONE), self.rate(THREE)) {
            let times = three / one;
            goals.push(("three replicas".into(), "2.7 times one".into(), format!("{times:.2} times"), times >= 2.7));
        }
        goals
    }

    /// CPU of the nine calls without anything around them, in milliseconds.
    fn calls_alone(&self) -> Option<f64> {
        self.beside.iter().find(|beside| beside.name == crate::calls::NAME).map(Beside::cpu_each)
    }

    fn lines(&self) -> String {
        let mut lines = String::new();
        for f in &self.runs {
            let value = json!({"run": f.name, "replicas": f.replicas, "rotations_per_second": f.per_second(),
                "share_percent": f.share(), "cpu_ms": f.cpu_each(), "busy_percent": f.busy, "peak_mib": f.peak,
                "ready_s": f.ready.as_secs_f64(), "start_cpu_s": f.start_cpu.as_secs_f64(),
                "calls": f.calls as f64 / f.rotations as f64});
            lines += &format!("{value}\n");
        }
        for b in &self.beside {
            let value = json!({"run": b.name, "rotations_per_second": b.per_second(), "cpu_ms": b.cpu_each(),
                "calls": b.calls as f64 / b.rotations as f64});
            lines += &format!("{value}\n");
        }
        if let Some(year) = &self.year {
            lines += &format!("{}\n", year.told);
        }
        if let Some(idle) = &self.idle {
            lines += &format!("{}\n", json!({"run": "idle hour", "cpu_s": idle.cpu.as_secs_f64()}));
        }
        lines
    }

    fn rate(&self, name: &str) -> Option<f64> {
        let run = self.runs.iter().find(|run| run.name == name).map(Figures::per_second);
        run.or_else(|| self.beside.iter().find(|beside| beside.name == name).map(Beside::per_second))
    }
}

//! The figures of each run, as a table and as JSON.

use crate::sandbox::LATENCY;
use serde_json::json;
use std::time::Duration;

/// What one run took.
pub struct Figures {
    pub name: String,
    pub replicas: usize,
    pub rotations: usize,
    /// From the first decision to the last completed rotation.
    pub took: Duration,
    pub cpu: Duration,
    pub peak: f64,
    pub ready: Duration,
    pub calls: u64,
}

/// Calls that one rotation of a key of ours needs by the protocol: the create, three trials of the new key, one of what
/// the sink serves; the look for the old key, one more trial and the delete; and the look that finds it gone.
const NEEDED: u64 = 9;
/// Calls at the same time, of each process: the policy's default.
const IN_FLIGHT: u64 = 32;

impl Figures {
    fn per_second(&self) -> f64 {
        self.rotations as f64 / self.took.as_secs_f64()
    }

    fn share(&self) -> f64 {
        let limit = (IN_FLIGHT * self.replicas as u64) as f64 * 1000.0 / (NEEDED * LATENCY) as f64;
        100.0 * self.per_second() / limit
    }

    fn cpu_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1000.0 / self.rotations as f64
    }
}

/// The same job done by the script.
pub struct Plain {
    pub name: String,
    pub rotations: usize,
    pub took: Duration,
    pub cpu: Duration,
    pub calls: u64,
}

/// The hour in which nothing is due.
pub struct Idle {
    pub cpu: Duration,
    pub told: String,
}

/// A line of the table.
pub enum Line {
    Rekeyd(Figures),
    Plain(Plain),
}

impl From<Figures> for Line {
    fn from(figures: Figures) -> Self {
        Line::Rekeyd(figures)
    }
}

impl From<Plain> for Line {
    fn from(plain: Plain) -> Self {
        Line::Plain(plain)
    }
}

/// All of them.
#[derive(Default)]
pub struct Report {
    lines: Vec<Line>,
    pub idle: Option<Idle>,
}

impl Report {
    pub fn add(&mut self, line: impl Into<Line>) {
        self.lines.push(line.into());
    }

    /// Prints the table, and writes the JSON beside the build.
    pub fn print(&self) {
        println!("| run | rotations/s | of the limit | CPU each, ms | peak, MiB | ready, s | Twilio calls each |");
        println!("|---|---|---|---|---|---|---|");
        let mut lines = String::new();
        for line in &self.lines {
            let value = match line {
                Line::Rekeyd(f) => {
                    let (rate, share, cpu) = (f.per_second(), f.share(), f.cpu_each());
                    let (ready, calls) = (f.ready.as_secs_f64(), f.calls as f64 / f.rotations as f64);
                    let name = &f.name;
                    println!(
                        "| {name} | {rate:.1} | {share:.1} % | {cpu:.2} | {:.1} | {ready:.2} | {calls:.2} |",
                        f.peak
                    );
                    json!({"run": name, "replicas": f.replicas, "rotations_per_second": rate, "share_percent": share,
                           "cpu_ms": cpu, "peak_mib": f.peak, "ready_s": ready, "calls": calls})
                }
                Line::Plain(p) => {
                    let count = p.rotations as f64;
                    let (rate, cpu) = (count / p.took.as_secs_f64(), p.cpu.as_secs_f64() * 1000.0 / count);
                    let (name, calls) = (&p.name, p.calls as f64 / count);
                    println!("| {name} | {rate:.1} | - | {cpu:.2} | - | - | {calls:.2} |");
                    json!({"run": name, "rotations_per_second": rate, "cpu_ms": cpu, "calls": calls})
                }
            };
            lines += &format!("{value}\n");
        }
        if let Some(Idle { cpu, told }) = &self.idle {
            let seconds = cpu.as_secs_f64();
            println!("\nAn idle hour with 10,000 credentials: {seconds:.2} s of CPU ({told}).");
            lines += &format!("{}\n", json!({"run": "idle hour", "cpu_s": seconds}));
        }
        for pair in [
            ("PostgreSQL, one replica", "PostgreSQL, three replicas", "Three replicas do"),
            ("script, 32 threads", "SQLite, Secrets Manager", "Beside the script with 32 threads, rekeyd does"),
        ] {
            if let (Some(one), Some(other)) = (self.rate(pair.0), self.rate(pair.1)) {
                println!("{} {:.2} times as many rotations.", pair.2, other / one);
            }
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench.jsonl");
        std::fs::write(path, lines).unwrap();
    }

    fn rate(&self, name: &str) -> Option<f64> {
        self.lines.iter().find_map(|line| match line {
            Line::Rekeyd(figures) if figures.name == name => Some(figures.per_second()),
            Line::Plain(plain) if plain.name == name => Some(plain.rotations as f64 / plain.took.as_secs_f64()),
            _ => None,
        })
    }
}

//! Rotates many credentials against the sandbox and prints what that took: see `docs/bench.md`. Started by `benches/run`.

#![expect(clippy::unwrap_used, reason = "a measurement that can not be made fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "the bench is the world that the daemon lives in")]
#![expect(clippy::print_stdout, reason = "its result is a table")]
#![expect(clippy::print_stderr, reason = "and it says how far it has come")]
#![expect(unreachable_pub, reason = "one binary: everything in it is its own public")]

#[path = "../../tests/it/support/emulator.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod emulator;
#[path = "../../tests/it/support/fake_sink.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod fake_sink;
#[path = "../../tests/it/support/peers.rs"]
mod peers;
#[path = "../../tests/it/support/postgres.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod postgres;
#[path = "../../tests/it/support/server.rs"]
mod server;

mod calls;
mod idle;
mod plain;
mod report;
mod rig;
mod sandbox;
mod watched;
mod year;

use report::Report;
use rig::{Rig, Sink};
use std::alloc::System;
use zeroizing_alloc::ZeroAlloc;

/// Credentials that are rotated in each run.
const DUE: usize = 1_000;
/// Credentials that are known where many are.
const KNOWN: usize = 10_000;

/// As in the daemon, so that calls made here cost what they cost there.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() {
    // `cargo bench` adds switches of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [calls::ARGUMENT, port, rotations] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return calls::make(port, rotations);
    }
    if let [year::ARGUMENT, subaccounts] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return year::make(subaccounts);
    }
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|other| other == name);
    let mut report = Report { year: year::wanted(&arguments).map(year::measure), ..Report::default() };
    let server = (wanted("postgres") || wanted("replicas")).then(|| postgres::start(&["shared_buffers=64MB"]));
    let emulator = wanted("plain").then(emulator::shared);

    // First everything that is not measured: each credential gets its first key.
    let mut rigs = Vec::new();
    if wanted("sqlite") {
        rigs.push(Rig::new(rig::SQLITE, DUE, 1, None, Sink::Files));
    }
    if wanted("known") || wanted("idle") {
        rigs.push(Rig::new(rig::MANY, KNOWN, 1, None, Sink::Files));
    }
    if let Some(server) = &server {
        let runs = [("postgres", rig::ONE, 1), ("replicas", rig::THREE, 3)];
        for (_, name, replicas) in runs.into_iter().filter(|(word, ..)| wanted(word)) {
            rigs.push(Rig::new(name, DUE, replicas, Some(server), Sink::Files));
        }
    }
    if wanted("fleet") {
        rigs.push(Rig::new(rig::FLEET, KNOWN, 1, None, Sink::Fleets));
    }
    if let Some(emulator) = emulator {
        rigs.push(Rig::new(rig::SECRETS_MANAGER, DUE, 1, None, Sink::Emulator(emulator.url())));
    }

    if rigs.is_empty() {
        return report.print();
    }
    let minute = rig::next_minute();
    for rig in &rigs {
        report.runs.push(rig.measure(minute, DUE));
        if rig.name == rig::SQLITE {
            report.beside.push(calls::measure(rig, DUE));
        }
        if matches!(rig.sink, Sink::Emulator(_)) {
            report.beside.extend(plain::measure(rig, DUE));
        }
        if rig.name == rig::MANY && wanted("idle") {
            report.idle = Some(idle::measure(rig));
        }
    }
    report.print();
}

//! All tests that look at the program from outside, in one binary. Every file beside this one is listed here; the last
//! test fails when one is forgotten.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests are the world that the daemon lives in")]
#![expect(unreachable_pub, reason = "one binary: everything in it is its own public")]

mod answers;
mod crash;
mod daemon;
mod edges;
mod fuzz;
mod http;
mod journal;
mod kubernetes;
mod life;
mod manifests;
mod matrix;
mod mutants;
mod ordeals;
mod packaged;
mod policy;
mod prometheus;
mod replicas;
mod restarts;
mod sandbox;
mod schedules;
mod sinks;
mod subaccount;
mod support;
mod systemd;
mod table;
mod tokens;
mod torture;
mod twilio;
mod watch;
mod waves;

#[test]
fn every_file_beside_this_one_is_listed() {
    let main = include_str!("main.rs");
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    for entry in std::fs::read_dir(here).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        let listed = main.contains(&format!("mod {module};"));
        assert!(listed || ["main", "snapshots"].contains(&module), "tests/it/{name} is not listed in tests/it/main.rs");
    }
}

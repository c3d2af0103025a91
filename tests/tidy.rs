//! The house rules, as a test: which way the arrows point, how long a file may be, what every file begins with.
//! What fails here says in a sentence what to do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The floors, from the ground up: what each part of the house may use. Arrows run downwards only; the engine and the
/// adapters never meet.
const FLOORS: [(&str, &[&str]); 14] = [
    ("model", &[]),
    ("ports", &["model"]),
    ("decide", &["model", "ports"]),
    ("engine", &["model", "ports", "decide"]),
    ("adapters", &["model", "ports"]),
    ("config", &["model"]),
    ("describe", &["model"]),
    ("hardening", &[]),
    ("sandbox", &["model"]),
    ("metrics", &["model", "ports", "decide"]),
    ("telemetry", &["model", "ports", "describe"]),
    ("http", &["metrics", "ports"]),
    (
        "cli",
        &[
            "model",
            "ports",
            "decide",
            "engine",
            "adapters",
            "config",
            "describe",
            "hardening",
            "sandbox",
            "metrics",
            "telemetry",
            "http",
        ],
    ),
    ("main", &["cli"]),
];

/// What the ground floor and the first floor must not know: the world.
const WORLDLY: [&str; 8] = [
    "tokio::",
    "std::fs",
    "std::env",
    "std::time::Instant",
    "std::time::SystemTime",
    "reqwest::",
    "sqlx::",
    "tracing::",
];

/// More lines than this are not read in one sitting.
const LONGEST: usize = 350;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under a folder, with its path from the root and its text.
fn files(folder: &str) -> BTreeMap<String, String> {
    fn walk(dir: &Path, found: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&root().join(folder), &mut found);
    assert!(!found.is_empty());
    found
}

/// `src/engine/pass.rs` and `src/engine.rs` are both of `engine`.
fn part(file: &str) -> &str {
    let inside = file.strip_prefix("src/").unwrap();
    inside.split('/').next().unwrap().trim_end_matches(".rs")
}

/// The text without its tests, which may know more.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

#[test]
fn arrows_run_downwards() {
    for (file, text) in files("src") {
        let part = part(&file);
        if part == "lib" {
            continue;
        }
        let floor = FLOORS.iter().find(|(name, _)| *name == part);
        let (_, may) = floor.unwrap_or_else(|| panic!("{file}: `{part}` has no floor; give it one in tests/tidy.rs"));
        for line in production(&text).lines().filter(|line| !line.trim_start().starts_with("//")) {
            for used in line.split("crate::").skip(1) {
                let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                let known = FLOORS.iter().any(|(name, _)| *name == used);
                let allowed = used == part || may.contains(&used);
                assert!(!known || allowed, "{file} uses `crate::{used}`, but `{part}` may use only {may:?}: {line}");
            }
        }
    }
}

#[test]
fn the_nouns_and_the_verbs_know_nothing_of_the_world() {
    for (file, text) in files("src").iter().filter(|(file, _)| matches!(part(file), "model" | "decide")) {
        for word in WORLDLY {
            assert!(!production(text).contains(word), "{file} mentions `{word}`: effects belong behind a port");
        }
        assert!(!production(text).contains("async fn"), "{file} has an async function: decisions are pure");
    }
}

#[test]
fn no_file_is_longer_than_one_sitting() {
    for (file, text) in files("src") {
        let lines = text.lines().count();
        assert!(lines <= LONGEST, "{file} has {lines} lines; {LONGEST} are allowed: find the seam and cut there");
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (file, text) in files("src").into_iter().chain(files("tests")) {
        assert!(text.starts_with("//! "), "{file} does not begin with `//!` and what it is for");
    }
}

#[test]
fn names_are_plain() {
    let vague = ["manager", "utils", "util", "helpers", "helper", "common", "misc"];
    for (file, text) in files("src") {
        let stem = Path::new(&file).file_stem().unwrap().to_str().unwrap();
        assert!(!vague.contains(&stem), "{file}: `{stem}` says nothing about what is inside");
        assert!(!text.contains("fn get_"), "{file} has a `get_`: name what it answers");
    }
}

#[test]
fn every_step_says_what_happens_when_it_is_repeated_or_stale() {
    let text = std::fs::read_to_string(root().join("src/decide/mod.rs")).unwrap();
    let body = text.split("pub enum Step {").nth(1).unwrap().split("\n}\n").next().unwrap();
    let mut doc = String::new();
    let mut variants = 0;
    for line in body.lines() {
        let indent = line.len() - line.trim_start().len();
        if line.trim_start().starts_with("///") && indent == 4 {
            doc += line;
        } else if indent == 4 && line.trim_start().starts_with(char::is_uppercase) {
            variants += 1;
            for promise in ["**If repeated:**", "**If stale:**"] {
                assert!(doc.contains(promise), "the step `{}` does not say {promise}", line.trim());
            }
            doc.clear();
        }
    }
    assert!(variants >= 10, "{variants} steps were found");
}

#[test]
fn the_architecture_shows_the_transition_table_that_the_program_has() {
    let snapshot = root().join("tests/it/snapshots/it__table__every_event_meets_every_state.snap");
    let snapshot = std::fs::read_to_string(snapshot).unwrap();
    let table = snapshot.splitn(3, "---\n").nth(2).unwrap().trim_end();
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(text.contains(table), "copy the table of tests/it/snapshots/ into ARCHITECTURE.md");
}

#[test]
fn the_architecture_is_short_and_names_every_part() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(text.lines().count() <= 150, "ARCHITECTURE.md has more than 150 lines");
    for (name, _) in FLOORS {
        assert!(text.contains(&format!("`{name}`")), "ARCHITECTURE.md does not say what `{name}` is");
    }
}

#[test]
fn the_ordeal_is_in_debug_builds_only() {
    let mut mentions = 0;
    for (file, text) in files("src").iter().filter(|(file, _)| *file != "src/cli/ordeal.rs") {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.to_lowercase().contains("ordeal")) {
            let before = number.checked_sub(1).map(|before| lines[before].trim());
            assert_eq!(before, Some("#[cfg(debug_assertions)]"), "{file}: a release build would have it: {line}");
            mentions += 1;
        }
    }
    assert!(mentions >= 2, "{mentions} mentions were found");
}

#[test]
fn decisions_are_numbered_without_gaps() {
    let mut names: Vec<_> = std::fs::read_dir(root().join("docs/decisions"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for (index, name) in names.iter().enumerate() {
        assert!(name.starts_with(&format!("{:04}-", index + 1)), "docs/decisions/{name} is out of order");
    }
    assert!(!names.is_empty());
}

#[test]
fn one_tls_stack_and_one_provider() {
    let tree = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none"])
        .current_dir(root())
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.contains("rustls v0.23"), "cargo tree answered:\n{tree}");
    for banned in
        ["openssl-sys ", "native-tls ", "ring ", "rsa ", "protobuf ", "hyper v0.14", "rustls v0.21", "http v0.2"]
    {
        let found = tree.lines().find(|line| line.starts_with(banned));
        assert!(found.is_none(), "{found:?} has come in: `cargo tree -i` says through whom");
    }
}

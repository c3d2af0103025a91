//! Fuzz targets: random input for a bounded time, and for each target a property that must hold whatever comes.
//!
//! They are ordinary tests, a few seconds each. `tests/run --fuzz SECONDS` gives each of them that long, with a seed of
//! its own each time; a failure shows the smallest input that was found, and `FUZZ_SEED=N` plays the same ones again.
//! Why proptest and no other engine: `docs/decisions/0009-fuzz-targets-are-tests.md`.

mod journal;
mod kv;
mod label;
mod page;
mod planner;
mod policy;
mod twilio;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::time::{Duration, Instant};

/// How long each target is played where nobody says otherwise.
const USUAL: Duration = Duration::from_secs(2);
/// Fewer cases than this in that time mean that a target has become too slow to find anything.
const FEWEST: u32 = 200;
/// So many cases are played between two looks at the clock.
const BATCH: u32 = 50;

#[expect(clippy::disallowed_methods, reason = "asks the person at the keyboard")]
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Plays random values until the time is over; every one must pass the check.
#[expect(clippy::print_stdout, reason = "the count is for whoever reports what was tested")]
fn play<S: Strategy>(target: &str, values: &S, check: impl Fn(S::Value)) {
    let asked_for = asked("FUZZ_SECONDS");
    let chance = || asked_for.map_or(0, |_| u64::from(std::process::id()) ^ uuid::Uuid::new_v4().as_u64_pair().0);
    let seed = asked("FUZZ_SEED").unwrap_or_else(chance);
    let (until, mut cases) = (Instant::now() + asked_for.map_or(USUAL, Duration::from_secs), 0);
    for batch in 0_u64.. {
        let bytes: Vec<u8> = [seed, batch, 0, 0].iter().flat_map(|part| part.to_le_bytes()).collect();
        let config = Config { cases: BATCH, failure_persistence: None, max_shrink_time: 20_000, ..Config::default() };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let played = TestRunner::new_with_rng(config, rng).run(values, |value| {
            check(value);
            Ok::<(), TestCaseError>(())
        });
        assert!(played.is_ok(), "FUZZ_SEED={seed}, batch {batch} of {target}: {}", played.unwrap_err());
        cases += BATCH;
        if Instant::now() > until && cases >= FEWEST {
            break;
        }
    }
    println!("counted: fuzz {target} {cases} cases");
}

/// A change to a text: where, how many letters are taken out, and what is put there.
type Change = (Index, usize, &'static str);

/// One of the texts with some changes; often with none, so that what is good is played too.
fn changed(texts: Vec<String>, snippets: &'static [&'static str]) -> impl Strategy<Value = String> {
    let change = (any::<Index>(), select(vec![0_usize, 0, 1, 1, 2, 8, 60]), select(snippets));
    (select(texts), prop::collection::vec(change, 0..5)).prop_map(|(text, changes)| altered(&text, &changes))
}

fn altered(text: &str, changes: &[Change]) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for (at, taken, put) in changes {
        let at = at.index(letters.len() + 1);
        let end = (at + taken).min(letters.len());
        letters.splice(at..end, put.chars());
    }
    letters.into_iter().collect()
}

/// Pieces of JSON that turn one thing into another.
const JSON: &[&str] = &[
    "",
    "\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "0",
    "-1",
    "1e400",
    "1.5",
    "\\u0000",
    "\\ud800",
    "\\n",
    "\u{feff}",
    "\u{202e}",
    "é",
    "\u{1b}[2J",
    "\"code\":20404,",
    "\"code\":70051,",
    "\"code\":20003,",
    "20404",
    "404",
    "{\"a\":",
    "SK00000000000000000000000000000001",
    "SK0000000000000000000000000000000b",
    "AC",
    "\"secret\":null,",
    "\"status\":404",
    "[[[[[[[[",
    "\"apiKeySid\":",
    "\"version\":18446744073709551615",
    "Mon, 13 Jun 2016 22:50:08 +0000",
];

/// The bodies of the answers of these tables, as far as they are text and not too long to be changed often.
fn bodies(tables: &[&str]) -> Vec<String> {
    let cases = tables.iter().flat_map(|table| crate::answers::table(table));
    let texts = cases.flat_map(|case| case.bodies).filter_map(|body| String::from_utf8(body).ok());
    texts.filter(|text| text.len() < 4_000).collect()
}

/// A runtime for targets that go over the wire.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

//! Answers of Twilio, Vault and AWS as bytes on a loopback connection, each with the exact outcome that the engine sees.
//!
//! Each file of `answers/` is a table of cases; `answers/file.rs` says how one is written. `UPDATE_EXPECT=1` writes the
//! outcomes anew; read each one before you commit it: could the call have taken effect, and does the outcome admit it
//! (protocol, rule 2)?

mod file;
mod peers;

use crate::support::counted::counted;
pub(crate) use file::{Case, cases};
use futures_util::StreamExt as _;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Fewer answers than this are not enough to say that bad answers are known.
const FEWEST: usize = 300;
/// So many calls are under way at the same time.
const AT_ONCE: usize = 24;
/// The tables, each played by a test of its own.
const FILES: [&str; 10] = [
    "aws-create",
    "aws-promote",
    "aws-put",
    "aws-read",
    "twilio-create",
    "twilio-keys",
    "twilio-list",
    "twilio-pairs",
    "vault-read",
    "vault-write",
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/answers/{name}.txt"))
}

#[expect(clippy::disallowed_methods, reason = "asks the person at the keyboard")]
fn updating() -> bool {
    std::env::var_os("UPDATE_EXPECT").is_some()
}

/// The cases of one table.
pub(crate) fn table(name: &str) -> Vec<Case> {
    cases(&std::fs::read_to_string(path(name)).unwrap())
}

/// Plays every case of a table and shows those that came out wrong.
async fn play(name: &str) {
    let played = futures_util::stream::iter(table(name)).map(async |case| {
        let found = peers::outcome(&case).await;
        (case, found)
    });
    let played: Vec<_> = played.buffered(AT_ONCE).collect().await;
    if updating() {
        let text = std::fs::read_to_string(path(name)).unwrap();
        let mut lines: Vec<_> = text.lines().map(ToOwned::to_owned).collect();
        played.iter().for_each(|(case, found)| lines[case.line] = format!("= {found}"));
        std::fs::write(path(name), lines.join("\n") + "\n").unwrap();
        return;
    }
    let wrong = played.iter().filter(|(case, found)| case.expected != *found);
    let wrong: Vec<_> = wrong
        .map(|(case, found)| format!("{}, {}\n  expected {}\n  found    {found}", case.call, case.name, case.expected))
        .collect();
    assert!(
        wrong.is_empty(),
        "in answers/{name}.txt (UPDATE_EXPECT=1 writes the outcomes anew):\n{}",
        wrong.join("\n")
    );
}

macro_rules! tables {
    ($($test:ident: $name:literal;)*) => {$(
        #[tokio::test]
        async fn $test() {
            assert!(FILES.contains(&$name));
            play($name).await;
        }
    )*};
}

tables! {
    a_create_at_twilio_has_happened_or_not_or_nobody_knows: "twilio-create";
    a_list_of_twilio_is_whole_or_none: "twilio-list";
    a_key_at_twilio_is_there_or_gone_or_nobody_knows: "twilio-keys";
    a_pair_or_an_account_is_judged_by_twilio_alone: "twilio-pairs";
    what_vault_serves_is_read_as_a_consumer_would: "vault-read";
    a_write_to_vault_has_happened_or_not_or_nobody_knows: "vault-write";
    what_secrets_manager_serves_is_read_as_a_consumer_would: "aws-read";
    a_new_secret_is_made_or_not_or_nobody_knows: "aws-create";
    a_version_is_put_or_not_or_nobody_knows: "aws-put";
    a_version_is_promoted_or_not_or_nobody_knows: "aws-promote";
}

#[test]
fn every_table_is_played_and_there_are_enough_answers() {
    let here = std::fs::read_dir(path("x").parent().unwrap()).unwrap();
    let there = here
        .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".txt").map(str::to_owned));
    assert_eq!(there.collect::<BTreeSet<_>>(), FILES.iter().map(ToString::to_string).collect());
    let mut seen = BTreeSet::new();
    for (table, case) in FILES.iter().flat_map(|name| table(name).into_iter().map(move |case| (name, case))) {
        assert!(seen.insert((table, case.call.clone(), case.name.clone())), "{table}: {} is there twice", case.name);
    }
    counted("answers", seen.len());
    assert!(seen.len() >= FEWEST, "{} answers are too few", seen.len());
}

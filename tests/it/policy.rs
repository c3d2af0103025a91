//! The policy file from outside: what is wrong in a file is told exactly, and all of it at once.
//!
//! Each `policy/files/*.toml` is a bad file, and the `.txt` beside it is what its operator reads; each
//! `policy/accepted/*.toml` is a good one, and the `.txt` says what was made of it. `UPDATE_EXPECT=1` writes the texts
//! anew; read each one before you commit it: would it help somebody at three in the morning?

pub(crate) mod accepted;
mod edges;
mod example;
mod fleets;
mod places;
pub(crate) mod properties;
mod schema;
mod secrets;
mod times;

use crate::support::counted::counted;
use rekeyd::config::{self, Diagnostic, Loaded, PolicyErrors, Severity};
use rekeyd::model::names::CredentialName;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(crate) const MINIMAL: &str = include_str!("../../config/policy.minimal.toml");

/// Fewer files than this, good and bad together, are not enough to say that bad input is known.
const FEWEST: usize = 300;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/policy").join(name)
}

fn files(name: &str, end: &str) -> BTreeSet<PathBuf> {
    let all = std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|found| found == end)).collect()
}

#[expect(clippy::disallowed_methods, reason = "asks the person at the keyboard")]
fn updating() -> bool {
    std::env::var_os("UPDATE_EXPECT").is_some()
}

/// Every bad file, with its name and its errors.
pub(crate) fn bad_files() -> Vec<(PathBuf, String, PolicyErrors)> {
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let (text, read) = read(&path, &name);
        let errors = read.err().unwrap_or_else(|| panic!("{name} was accepted"));
        (path, text, errors)
    };
    files("files", "toml").into_iter().map(read).collect()
}

/// What a file says, and what was made of it. Only what is not text has to be read from the disk.
fn read(path: &Path, name: &str) -> (String, Result<Loaded, PolicyErrors>) {
    match String::from_utf8(std::fs::read(path).unwrap()) {
        Ok(text) => (text.clone(), config::parse(&text, name)),
        Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), config::load(path)),
    }
}

/// Compares a text with the one beside a file, or writes it there; what differs is returned to be shown.
fn differs(path: &Path, told: String) -> Option<String> {
    let beside = path.with_extension("txt");
    // What was read from the disk is called by its whole path, which is another one on each machine.
    let told = told.replace(&format!("{}/", path.parent().unwrap().display()), "");
    if updating() {
        std::fs::write(&beside, told).unwrap();
        return None;
    }
    (std::fs::read_to_string(&beside).unwrap_or_default() != told).then(|| format!("{}:\n{told}", path.display()))
}

/// The policy that this text makes; the test fails with the errors if it makes none.
pub(crate) fn accepted(text: &str) -> Loaded {
    config::parse(text, "policy.toml").unwrap_or_else(|errors| panic!("{errors}\n\n{text}"))
}

/// What is wrong with this text.
pub(crate) fn errors(text: &str) -> Vec<Diagnostic> {
    config::parse(text, "policy.toml").err().map(|errors| errors.list().to_vec()).unwrap_or_default()
}

#[test]
fn every_bad_file_is_answered_with_the_exact_text_beside_it() {
    let compare = |(path, _, errors): (PathBuf, _, PolicyErrors)| differs(&path, format!("{errors}\n"));
    let wrong: Vec<_> = bad_files().into_iter().filter_map(compare).collect();
    assert!(wrong.is_empty(), "these texts differ (UPDATE_EXPECT=1 writes them anew):\n\n{}", wrong.join("\n"));
}

#[test]
fn every_text_belongs_to_a_file_and_there_are_enough_of_them() {
    let mut count = 0;
    for name in ["files", "accepted"] {
        let texts: BTreeSet<_> = files(name, "txt").iter().map(|path| path.with_extension("toml")).collect();
        let alone: Vec<_> = texts.symmetric_difference(&files(name, "toml")).cloned().collect();
        assert!(alone.is_empty(), "these have no file or no text beside them: {alone:?}");
        count += texts.len();
    }
    counted("policy files", count);
    assert!(count >= FEWEST, "{count} policy files are too few");
}

#[test]
fn every_error_names_its_place_and_what_would_be_accepted() {
    for (path, text, errors) in bad_files() {
        let told = errors.to_string();
        for error in errors.list() {
            let (line, column) = (error.line, error.column);
            assert!(told.contains(&format!("> {}:{line}:{column}\n", error.file)), "{}: {error:?}", path.display());
            let at = text.trim_start_matches('\u{feff}').split('\n').nth(line - 1).unwrap();
            assert!((1..=at.chars().count() + 1).contains(&column), "{}: {error:?}", path.display());
            assert!(!error.message.is_empty() && error.severity == Severity::Error);
        }
        let count =
            if errors.list().len() == 1 { "1 error".to_owned() } else { format!("{} errors", errors.list().len()) };
        assert_eq!(told.lines().last().unwrap(), count, "{}", path.display());
    }
}

#[test]
fn an_error_is_a_plain_struct_for_machines() {
    let text = MINIMAL.replace("billing-sms\"\n", "billing-sms\"\ngrace = \"40d\"\n");
    let told = serde_json::to_value(errors(&text)).unwrap();
    let expected = serde_json::json!([{
        "severity": "error", "file": "policy.toml", "line": 21, "column": 9, "key": "credentials.\"billing-sms\".grace",
        "message": "the grace period of 40d is not over when the next rotation comes, 30d later",
        "accepts": "a grace period shorter than 30d, or rotations further apart",
    }]);
    assert_eq!(told, expected);
}

#[test]
fn colours_are_for_terminals_only() {
    let errors = config::parse("", "policy.toml").err().unwrap();
    assert!(!errors.to_string().contains('\u{1b}'));
    assert!(errors.render(true).contains('\u{1b}'));
}

#[test]
fn of_very_many_errors_the_first_are_shown_and_all_are_counted() {
    let text: String = (0..500).map(|n| format!("unknown{n} = 1\n")).collect();
    let told = format!("{}", config::parse(&text, "policy.toml").err().unwrap());
    assert_eq!(told.matches("unknown key").count(), 98);
    assert!(told.ends_with("\n502 errors; the first 100 are shown"), "{told}");
}

#[test]
fn ten_thousand_credentials_are_accepted_and_one_more_is_not() {
    let (head, _) = MINIMAL.split_once("[[credentials]]").unwrap();
    let credential =
        |n| format!("[[credentials]]\nname = \"c{n}\"\npublish_to = [{{ sink = \"files\", name = \"c{n}.json\" }}]\n");
    let most: String = (0..10_000).map(credential).collect();
    assert_eq!(accepted(&format!("{head}{most}")).policy.credentials.len(), 10_000);
    let refused = errors(&format!("{head}{most}{}", credential(10_000)));
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].message, "these are too many credentials: 10001");
}

#[test]
fn places_that_can_stage_a_value_come_first_and_the_others_keep_their_order() {
    let example = include_str!("../../config/policy.example.toml");
    let policy = accepted(example).policy;
    let rules = &policy.credentials[&CredentialName::new("billing-sms").unwrap()];
    let places: Vec<_> = rules.places.iter().map(ToString::to_string).collect();
    let expected =
        ["aws:twilio/billing-sms", "vault-prod:twilio/billing-sms", "cluster:billing-sms", "files:billing-sms.json"];
    assert_eq!(places, expected);
}

#[test]
fn what_can_hardly_be_meant_is_a_warning_and_not_an_error() {
    let odd = std::fs::read_to_string(folder("files").join("accepted_but.odd")).unwrap();
    let told: Vec<_> = accepted(&odd).warnings.iter().map(ToString::to_string).collect();
    let told = format!("{}\n", told.join("\n\n"));
    let beside = folder("files").join("accepted_but.warnings");
    if updating() {
        std::fs::write(beside, told).unwrap();
    } else {
        assert_eq!(told, std::fs::read_to_string(beside).unwrap());
    }
    assert!(accepted(MINIMAL).warnings.is_empty());
}

#[test]
fn a_policy_without_credentials_is_a_warning() {
    let (head, _) = MINIMAL.split_once("[[credentials]]").unwrap();
    let told: Vec<_> = accepted(head).warnings.into_iter().map(|warning| warning.message).collect();
    assert_eq!(told, ["there is nothing to rotate", "no credential is published here"]);
}

#[test]
fn a_file_that_can_not_be_read_is_told_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent.toml");
    let told = config::load(&absent).err().unwrap().to_string();
    assert!(told.contains("No such file") && told.contains("absent.toml"), "{told}");
    let told = config::load(folder.path()).err().unwrap().to_string();
    assert!(told.contains("can not be read: Is a directory"), "{told}");
}

#[test]
fn a_file_of_eight_mebibytes_is_read_and_one_byte_more_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let fill = |size: usize| {
        let comment = "#".repeat(size - MINIMAL.len());
        std::fs::write(&file, format!("{MINIMAL}{comment}")).unwrap();
        config::load(&file)
    };
    assert!(fill(8 * 1024 * 1024).is_ok());
    let told = fill(8 * 1024 * 1024 + 1).err().unwrap();
    assert_eq!(told.list()[0].message, "the policy is larger than 8 MiB");
}

#[test]
fn a_file_that_is_not_text_is_told_where() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    std::fs::write(&file, b"[daemon]\ninstance = \"pr\xf6d\"\n").unwrap();
    let errors = config::load(&file).err().unwrap();
    assert_eq!((errors.list()[0].line, errors.list()[0].column), (2, 15));
    assert!(errors.to_string().contains("is not text in UTF-8"), "{errors}");
}

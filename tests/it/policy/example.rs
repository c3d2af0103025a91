//! `config/policy.example.toml` is the users' reference: it shows every key that the reader knows, and no other.
//!
//! What the reader knows is asked of the reader itself: to a key that nobody knows it answers with those it accepts.

use super::{MINIMAL, accepted, errors};
use std::collections::BTreeSet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) const EXAMPLE: &str = include_str!("../../../config/policy.example.toml");

/// The example, and the same with each line that stands behind a `#` in force: in place of a line with the same key, or
/// of the one that it is an alternative to.
pub(super) fn variants() -> Vec<String> {
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    let key = |line: &str| line.split_once(" = ").map(|(key, _)| key.to_owned()).filter(|key| !key.contains(' '));
    let mut variants = vec![EXAMPLE.to_owned()];
    for (number, line) in lines.iter().enumerate() {
        let Some(now) = line.strip_prefix("# ").filter(|line| key(line).is_some()) else { continue };
        let section = (0..=number).rev().find(|n| lines[*n].starts_with('[')).unwrap();
        let end = (number..lines.len()).find(|n| lines[*n].starts_with('[')).unwrap_or(lines.len());
        let own = key(now).unwrap();
        let rivals: &[&str] = match own.as_str() {
            "main_key_secret_env" => &["main_key_secret_file"],
            "auth_token_file" | "auth_token_env" | "main_key_file" | "main_key_at" => {
                &["main_key_sid", "main_key_secret_file"]
            }
            "schedule" => &["rotate_every"],
            "state_password_env" => &["state_password_file"],
            "region" => &["base_url"],
            "allow" | "clone_policy_of" => &["allow", "clone_policy_of"],
            same => &[same],
        };
        let mut variant: Vec<&str> = Vec::new();
        for (n, line) in lines.iter().enumerate() {
            let dropped = (section..end).contains(&n) && key(line).is_some_and(|key| rivals.contains(&key.as_str()));
            variant.push(if n == number {
                now
            } else if dropped {
                ""
            } else {
                line
            });
        }
        let variant = variant.join("\n");
        // Permissions are for Restricted keys only, and those for nothing else.
        let restricted =
            ["type = \"restricted\"", "allow = ", "clone_policy_of = "].iter().any(|key| now.starts_with(key));
        let variant = match restricted {
            true => {
                let listed = if now.starts_with("type") { "allow = [\"/twilio/a/b/read\"]\n" } else { "" };
                let typed = variant.replace("\ntype = \"standard\"\n", "\n").replace("\ntype = \"restricted\"\n", "\n");
                typed.replace(
                    "name = \"billing-sms\"\n",
                    &format!("name = \"billing-sms\"\ntype = \"restricted\"\n{listed}"),
                )
            }
            false => variant,
        };
        // A certificate has a key, and some sign in with it.
        let own = ["client_cert_file", "client_key_file"];
        let shown = own.iter().any(|key| now.starts_with(key)) || now.contains("method = \"cert\"");
        let pair =
            own.map(|key| lines.iter().find_map(|line| line.strip_prefix("# ").filter(|line| line.starts_with(key))));
        let bare = own.iter().fold(variant.clone(), |variant, key| variant.replace(&format!("\n{key} = "), "\n# "));
        let variant = match pair {
            [Some(one), Some(two)] if shown => {
                bare.replacen("kind = \"vault\"\n", &format!("kind = \"vault\"\n{one}\n{two}\n"), 1)
            }
            _ => variant,
        };
        // A certificate and its key belong together.
        let listens = ["listen_cert_file", "listen_key_file"];
        let variant = match listens.iter().any(|key| now.starts_with(key)) {
            true => listens.iter().fold(variant, |text, key| text.replace(&format!("# {key}"), key)),
            false => variant,
        };
        // A password is for a server only.
        let server = lines.iter().find_map(|line| line.strip_prefix("# state = ")).unwrap();
        let file = lines.iter().find(|line| line.starts_with("state = ")).unwrap();
        let needs_server = now.starts_with("state_password");
        variants.push(if needs_server { variant.replace(file, &format!("state = {server}")) } else { variant });
    }
    variants
}

/// Where each table of the document begins, with its name; and what keys it has.
fn tables(
    name: &str,
    value: &Spanned<DeValue<'_>>,
    found: &mut Vec<(String, usize)>,
    shown: &mut BTreeSet<(String, String)>,
) {
    match value.get_ref() {
        DeValue::Table(rows) => {
            found.push((name.to_owned(), value.span().start));
            for (key, value) in rows {
                shown.insert((name.to_owned(), key.get_ref().to_string()));
                tables(key.get_ref(), value, found, shown);
            }
        }
        DeValue::Array(items) => items.iter().for_each(|item| tables(name, item, found, shown)),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => (),
    }
}

/// The keys that the reader accepts in the table that begins there.
pub(super) fn known_keys(text: &str, start: usize) -> BTreeSet<String> {
    let inline = text[start..].starts_with('{');
    let at = if inline { start + 1 } else { start + text[start..].find('\n').unwrap() + 1 };
    let (stray, end) = ("stray-key = 1", if inline { "," } else { "\n" });
    let told = errors(&format!("{}{stray}{end}{}", &text[..at], &text[at..]));
    let told = told.iter().find(|error| error.key.ends_with("\"stray-key\"")).unwrap_or_else(|| panic!("{told:?}"));
    told.accepts.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_example_and_each_of_its_commented_lines_are_accepted_without_a_warning() {
    for variant in variants() {
        assert_eq!(
            accepted(&variant).warnings.iter().map(|w| w.message.as_str()).collect::<Vec<_>>(),
            Vec::<&str>::new()
        );
    }
    assert!(variants().len() > 12);
}

#[test]
fn every_key_that_the_reader_knows_is_in_the_example() {
    let (mut known, mut shown) = (BTreeSet::new(), BTreeSet::new());
    for variant in variants() {
        let document = DeTable::parse(&variant).unwrap();
        let mut found = Vec::new();
        for (key, value) in document.get_ref() {
            shown.insert(("".to_owned(), key.get_ref().to_string()));
            tables(key.get_ref(), value, &mut found, &mut shown);
        }
        for (name, start) in found
            .into_iter()
            .filter(|(name, _)| !["sinks", "accounts", "regions", "custom_metadata"].contains(&name.as_str()))
        {
            known.extend(known_keys(&variant, start).into_iter().map(|key| (name.clone(), key)));
            let rest = &variant[start..];
            let body =
                if rest.starts_with('{') { rest.split('}').next().unwrap() } else { rest.split("\n[").next().unwrap() };
            let keys =
                body.split(['\n', '{', ',']).filter_map(|part| part.split_once(" = ")).map(|(key, _)| key.trim());
            shown.extend(keys.map(|key| (name.clone(), key.trim_start_matches("# ").to_owned())));
        }
    }
    // What can be said of a credential is shown there, and can be said of a fleet in the same words.
    let of_credentials = |(table, key): &&(String, String)| {
        let there = ("credentials".to_owned(), key.clone());
        !(table == "fleets" && known.contains(&there) && shown.contains(&there))
    };
    let missing: Vec<_> = known.difference(&shown).filter(of_credentials).collect();
    assert!(missing.is_empty(), "config/policy.example.toml does not show these keys (table, key): {missing:?}");
    assert!(known.len() > 50, "{known:?}");
    let root: BTreeSet<_> = errors("stray-key = 1\n")
        .iter()
        .flat_map(|e| e.accepts.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    assert!(root.iter().filter(|key| shown.contains(&("".to_owned(), (*key).clone()))).count() >= 7, "{root:?}");
}

#[test]
fn every_choice_that_the_reader_knows_is_in_the_example() {
    for (key, value) in [("kind", "directory"), ("method", "token")] {
        let line = format!("{key} = \"{value}\"");
        let told = errors(&EXAMPLE.replacen(&line, &format!("{key} = \"stray\""), 1));
        let told = told.iter().find(|error| error.key.ends_with(key)).unwrap();
        for choice in told.accepts.split(" or ") {
            assert!(EXAMPLE.contains(&format!("{key} = {choice}")), "the example does not show {key} = {choice}");
        }
    }
}

#[test]
fn the_values_of_the_example_are_the_defaults() {
    let (example, minimal) = (accepted(EXAMPLE).policy, accepted(MINIMAL).policy);
    assert_eq!(format!("{:?}", example.timing), format!("{:?}", minimal.timing));
    assert_eq!(format!("{:?}", example.limits), format!("{:?}", minimal.limits));
    assert_eq!((example.state, example.listen), (minimal.state, minimal.listen));
    assert_eq!(example.twilio.access.base_url, minimal.twilio.access.base_url);
    let (mut full, plain) =
        (example.credentials.into_values().next().unwrap(), minimal.credentials.into_values().next().unwrap());
    full.places = plain.places.clone();
    assert_eq!(full, plain);
}

#[test]
fn every_worked_example_is_accepted_without_a_warning() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut read = 0;
    for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        let text = std::fs::read_to_string(&file).unwrap();
        // The policies of the sandbox and of the demo are templates.
        if file.extension().is_some_and(|end| end == "toml") && !text.contains("{account}") && !text.contains("{dir}") {
            let mut warnings = accepted(&text).warnings;
            // Whoever rotates an auth token is always told what that means.
            let of_tokens = |warning: &rekeyd::config::Diagnostic| {
                warning.key.ends_with(".kind") && text.contains("kind         = \"auth-token\"")
            };
            warnings.retain(|warning| !of_tokens(warning));
            assert_eq!(warnings, Vec::new(), "{}", file.display());
            read += 1;
        }
    }
    assert!(read >= 5, "{read}");
}

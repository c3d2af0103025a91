//! `config/policy.schema.json` is for editors. It is written by hand, and held to the reader from both sides: it knows the
//! keys that the reader knows, no fewer and no more, refuses nothing that the reader accepts, and sees what a schema can
//! see. Its descriptions are the comments of `config/policy.example.toml`; `UPDATE_EXPECT=1` copies them.

use super::accepted::good_files;
use super::example::{EXAMPLE, known_keys, variants};
use super::{bad_files, folder, updating};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What a fault is called that a schema sees: a wrong key, type or choice, or one that is not there.
const VISIBLE: [&str; 6] = [
    "unknown key",
    "this key is missing",
    "this table is missing",
    "this must be ",
    "there is no such choice",
    "this is not the SID",
];

/// Faults of these names that are none by themselves: what is a known key, or the SID of the right thing, depends there on
/// the `kind` of the credential.
const OF_A_KIND: [&str; 4] = [
    "api_key_in_place_of_a_key_pair.toml",
    "key_pair_in_place_of_an_api_key.toml",
    "key_pair_with_the_members_of_an_api_key.toml",
    "token_with_the_member_of_an_api_key.toml",
];

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/policy.schema.json")
}

fn schema() -> Value {
    serde_json::from_str(&std::fs::read_to_string(file()).unwrap()).unwrap()
}

/// Follows a reference.
fn plain<'s>(schema: &'s Value, node: &'s Value) -> &'s Value {
    match node["$ref"].as_str() {
        Some(to) => plain(schema, schema.pointer(to.trim_start_matches('#')).unwrap_or_else(|| panic!("{to}"))),
        None => node,
    }
}

/// The nodes of the schema for a value; of several forms the one whose constants the value has.
fn form<'s>(schema: &'s Value, node: &'s Value, value: &DeValue<'_>) -> &'s Value {
    let node = plain(schema, node);
    let said = |key: &String| value.as_table()?.get(key.as_str())?.get_ref().as_str();
    let fits = |form: &&Value| {
        let constants = form["properties"].as_object().into_iter().flatten();
        let mut constants = constants.filter_map(|(key, node)| Some((key, node["const"].as_str()?)));
        constants.all(|(key, word)| said(key) == Some(word))
    };
    match node["oneOf"].as_array().filter(|_| node["properties"].is_null()) {
        Some(forms) => forms.iter().map(|form| plain(schema, form)).find(fits).unwrap_or(node),
        None => node,
    }
}

/// Every table of a document, where it begins, and what the schema says of it.
fn tables<'s>(schema: &'s Value, node: &'s Value, value: &Spanned<DeValue<'_>>, found: &mut Vec<(usize, &'s Value)>) {
    let node = form(schema, node, value.get_ref());
    match value.get_ref() {
        DeValue::Table(rows) => {
            found.push((value.span().start, node));
            for (key, value) in rows {
                let below = &node["properties"][key.get_ref().as_ref()];
                tables(schema, if below.is_null() { &node["additionalProperties"] } else { below }, value, found);
            }
        }
        DeValue::Array(items) => items.iter().for_each(|item| tables(schema, &node["items"], item, found)),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => (),
    }
}

/// All tables with keys of their own, each with what a document says there.
fn of_document<'s>(schema: &'s Value, text: &str) -> Vec<(usize, &'s Map<String, Value>)> {
    let document = DeTable::parse(text).unwrap();
    let mut found = Vec::new();
    for (key, value) in document.get_ref() {
        tables(schema, &schema["properties"][key.get_ref().as_ref()], value, &mut found);
    }
    found.into_iter().filter_map(|(start, node)| Some((start, node["properties"].as_object()?))).collect()
}

/// Every table that the schema describes.
fn described<'s>(node: &'s Value, found: &mut Vec<&'s Map<String, Value>>) {
    match node {
        Value::Object(members) => {
            found.extend(members.get("properties").and_then(Value::as_object));
            members.values().for_each(|node| described(node, found));
        }
        Value::Array(items) => items.iter().for_each(|node| described(node, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
    }
}

#[test]
fn the_schema_knows_the_keys_that_the_reader_knows_and_no_others() {
    let schema = schema();
    // By the table of the schema: what the reader knows in those tables of documents that it stands for.
    let mut known: BTreeMap<*const Map<String, Value>, BTreeSet<String>> = BTreeMap::new();
    // Which members there are depends on the kind of the credential, which some of the good files say.
    let good = good_files().into_iter().map(|(_, text, _)| text);
    let good = good.filter(|text| text.contains("members = {") && !text.contains('\r'));
    let mut asked = BTreeSet::new();
    for text in variants().into_iter().chain(good) {
        for (start, keys) in of_document(&schema, &text) {
            // Most variants differ in one table only.
            let end = if text[start..].starts_with('{') { "}" } else { "\n[" };
            let said = text[start..].split(end).next().unwrap();
            if !asked.insert((std::ptr::from_ref(keys), said.to_owned())) {
                continue;
            }
            known.entry(std::ptr::from_ref(keys)).or_default().extend(known_keys(&text, start));
        }
    }
    let mut all = Vec::new();
    described(&schema, &mut all);
    for keys in all {
        let said: BTreeSet<_> = keys.keys().cloned().collect();
        let known = if std::ptr::eq(keys, schema["properties"].as_object().unwrap()) {
            let told = &super::errors("stray-key = 1\n");
            let told =
                told.iter().find(|error| error.key.ends_with("stray-key\"") || error.key == "stray-key").unwrap();
            told.accepts.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        } else {
            known.remove(&std::ptr::from_ref(keys)).unwrap_or_else(|| panic!("no document has a table with {said:?}"))
        };
        assert_eq!(said, known, "config/policy.schema.json, and what the reader knows in the same table");
    }
}

/// A document as the schema's checker takes it.
fn json(text: &str) -> Option<Value> {
    toml::from_str(text.trim_start_matches('\u{feff}')).ok()
}

#[test]
fn the_schema_refuses_nothing_that_the_reader_accepts() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let named = variants().into_iter().map(|text| ("policy.example.toml".to_owned(), text));
    let good = good_files().into_iter().map(|(path, text, _)| (path.display().to_string(), text));
    for (name, text) in named.chain(good) {
        let policy = json(&text).unwrap_or_else(|| panic!("{name}"));
        let wrong: Vec<_> = validator.iter_errors(&policy).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
    }
}

#[test]
fn the_schema_sees_what_a_schema_can_see() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut beyond = String::new();
    for (path, text, errors) in bad_files() {
        // What is no TOML is no case for a schema.
        let Some(policy) = json(&text).filter(|policy| validator.is_valid(policy)) else { continue };
        let visible = errors.list().iter().find(|error| VISIBLE.iter().any(|word| error.message.starts_with(word)));
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(visible.is_none() != OF_A_KIND.contains(&name), "{name}: {visible:?} is not seen: {policy}");
        beyond += &format!("{name}: {}\n", errors.list()[0].message);
    }
    let list = folder("files").with_file_name("beyond_the_schema.txt");
    if updating() {
        std::fs::write(list, beyond).unwrap();
    } else {
        let told = "the schema takes these bad files (UPDATE_EXPECT=1 writes the list anew)";
        assert_eq!(std::fs::read_to_string(list).unwrap(), beyond, "{told}");
    }
}

#[test]
fn no_key_takes_whatever_it_is_given() {
    let schema = schema();
    let mut all = Vec::new();
    described(&schema, &mut all);
    for (key, node) in all.into_iter().flatten() {
        let alone = serde_json::json!({ "$defs": schema["$defs"], "allOf": [node] });
        // No key of a policy has a fraction for its value.
        assert!(!jsonschema::is_valid(&alone, &serde_json::json!(1.5)), "the schema does not say what `{key}` is");
    }
}

/// The comments of the example: by where a table begins and key.
fn comments() -> BTreeMap<(usize, String), String> {
    let (mut comments, mut said, mut table, mut at) = (BTreeMap::new(), Vec::new(), 0, 0);
    for line in EXAMPLE.lines() {
        let (start, shown) = (at, line.strip_prefix("# ").unwrap_or(line));
        at += line.len() + 1;
        let key = shown.split_once(" = ").map(|(key, _)| key).filter(|key| !key.contains([' ', '`']));
        match key {
            _ if line.is_empty() => said.clear(),
            _ if line.starts_with('[') => (table, said) = (start, Vec::new()),
            Some(key) => {
                let behind = line.split_once("  # ").map(|(_, words)| words.trim().to_owned());
                let words = behind.unwrap_or_else(|| said.join(" "));
                let first = comments.entry((table, key.to_owned())).or_insert_with(String::new);
                if first.is_empty() {
                    *first = words;
                }
            }
            None => said.push(shown.trim().to_owned()),
        }
    }
    comments
}

#[test]
fn the_descriptions_of_the_schema_are_the_comments_of_the_example() {
    let (read, comments) = (schema(), comments());
    let mut words: BTreeMap<(*const Map<String, Value>, String), String> = BTreeMap::new();
    // What the example told last of such a key in another table, it does not tell again.
    let mut told: Vec<(&String, Value, String)> = Vec::new();
    let mut documents = of_document(&read, EXAMPLE);
    documents.sort_by_key(|(start, _)| *start);
    for (start, keys) in documents {
        for (key, node) in keys {
            let mut bare = node.clone();
            bare.as_object_mut().unwrap().remove("description");
            let own = comments.get(&(start, key.clone())).filter(|comment| !comment.is_empty());
            let before =
                || told.iter().rev().find(|(name, node, _)| *name == key && *node == bare).map(|(.., words)| words);
            if let Some(comment) = own.or_else(before).cloned() {
                told.push((key, bare, comment.clone()));
                words.entry((std::ptr::from_ref(keys), key.clone())).or_insert(comment);
            }
        }
    }
    let mut written = read.clone();
    describe(&read, &mut written, &words);
    let written = serde_json::to_string_pretty(&written).unwrap() + "\n";
    if updating() {
        std::fs::write(file(), written).unwrap();
    } else {
        assert!(
            std::fs::read_to_string(file()).unwrap() == written,
            "a comment of the example has changed: UPDATE_EXPECT=1 copies it into the schema"
        );
    }
    assert!(words.len() > 50, "{}", words.len());
}

/// Puts the words to the keys of every table; `read` is the same as `written`, and stays as it is.
fn describe(read: &Value, written: &mut Value, words: &BTreeMap<(*const Map<String, Value>, String), String>) {
    match (read, written) {
        (Value::Object(read), Value::Object(written)) => {
            if let (Some(Value::Object(keys)), Some(Value::Object(told))) =
                (read.get("properties"), written.get_mut("properties"))
            {
                for (key, node) in told.iter_mut() {
                    let node = node.as_object_mut().unwrap();
                    node.remove("description");
                    if let Some(words) = words.get(&(std::ptr::from_ref(keys), key.clone())) {
                        node.insert("description".to_owned(), words.clone().into());
                    }
                }
            }
            for (key, node) in read {
                describe(node, &mut written[key], words);
            }
        }
        (Value::Array(read), Value::Array(written)) => {
            read.iter().zip(written).for_each(|(read, written)| describe(read, written, words));
        }
        _ => (),
    }
}

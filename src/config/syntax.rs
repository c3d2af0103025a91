//! TOML itself: every fault of syntax that the parser can tell apart, in words.

use super::fault::{Fault, Faults, Kind};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, Error};

/// Behind the first fault of syntax, so many bytes are searched for more: garbage would have millions.
const SEARCHED: usize = 256 * 1024;

/// Reads the document. What was read of a file with faults is a guess.
pub(super) fn document<'t>(text: &'t str, faults: &Faults<'_>) -> Spanned<DeTable<'t>> {
    let first = match DeTable::parse(text) {
        Ok(document) => return document,
        Err(first) => first.span().map_or(0, |span| span.start),
    };
    let enough = text.char_indices().map(|(at, _)| at).find(|at| *at >= first + SEARCHED).unwrap_or(text.len());
    let (document, errors) = DeTable::parse_recoverable(&text[..enough]);
    for error in errors {
        let span = error.span().unwrap_or_else(|| deepest(text));
        // What is wrong near the cut may be wrong because of the cut.
        if enough == text.len() || span.start < first + SEARCHED / 2 {
            faults.push(in_words(&error, text));
        }
    }
    document
}

fn in_words(error: &Error, text: &str) -> Fault {
    let span = error.span().unwrap_or_else(|| deepest(text));
    let (what, expected) = error.message().split_once(", expected ").unwrap_or((error.message(), ""));
    let before = text.get(..span.start).unwrap_or_default().trim_end_matches([' ', '\t']);
    let colon = before.ends_with(':') || text.get(span.start..).is_some_and(|rest| rest.starts_with(':'));
    if let Some(odd) = text.get(span.start..).and_then(|rest| rest.chars().next()).filter(|c| is_odd(*c)) {
        let message = format!("this character means nothing in TOML: U+{:04X}", u32::from(odd));
        let accepts = "plain blanks, quotes and signs; any other character only inside quotes".to_owned();
        return Fault { span, key: String::new(), message, accepts, kind: Kind::Syntax };
    }
    let (message, accepts) = match what {
        _ if what.contains("recurs") => ("this is nested too deeply", "tables and arrays as the example file has them"),
        "duplicate key" => {
            ("this is in the file twice, or is a table and something else", "each key and each table once")
        }
        "key with no value" | "invalid unquoted key" if colon => ("a key is followed by `=`, not by `:`", "`=`"),
        "key with no value" => ("this key has no value", "`=` and a value"),
        "invalid key-value pair" => ("this is neither a key nor a table", "`key = value` or `[table]`"),
        "string values must be quoted" => ("text must stand in quotes", "\"text\""),
        "unclosed table" | "unclosed array table" => {
            ("the brackets around the name of a table are not closed", expected)
        }
        "unclosed array" => ("this array is not closed", expected),
        "unclosed inline table" => ("this table is not closed", expected),
        "invalid basic string" | "invalid literal string" if !expected.contains(' ') => {
            ("the closing quote is missing", expected)
        }
        "invalid multi-line basic string" | "invalid multi-line literal string" if !expected.contains(' ') => {
            ("the three closing quotes are missing", expected)
        }
        _ if expected == "nothing" => (what, ""),
        _ => (what, expected),
    };
    let key = if what == "duplicate key" { text.get(span.clone()).unwrap_or_default() } else { "" };
    let (key, message, accepts) = (key.to_owned(), message.to_owned(), accepts.to_owned());
    Fault { span, key, message, accepts, kind: Kind::Syntax }
}

/// A blank, a quote or a sign of some word processor, or nothing that can be seen: it looks right and is not.
fn is_odd(c: char) -> bool {
    !c.is_ascii() && !c.is_alphanumeric()
}

/// Where the nesting is deepest, as far as one line shows it: the parser gives up on it without saying where.
fn deepest(text: &str) -> Range<usize> {
    let mut start = 0;
    let lines = text.split_inclusive('\n').map(|line| {
        start += line.len();
        (line.bytes().filter(|byte| b".[{".contains(byte)).count(), start - line.len())
    });
    let found = lines.max_by_key(|(depth, start)| (*depth, std::cmp::Reverse(*start)));
    found.map_or(0..0, |(_, start)| start..start)
}

//! TOML itself: every fault of syntax that the parser can tell apart, in words.

use super::fault::{Fault, Faults, Kind};
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
        let span = error.span().unwrap_or(0..0);
        // What is wrong at the cut is wrong because of the cut.
        if span.start < enough || enough == text.len() {
            faults.push(in_words(&error, text));
        }
    }
    document
}

fn in_words(error: &Error, text: &str) -> Fault {
    let span = error.span().unwrap_or(0..0);
    let (what, expected) = error.message().split_once(", expected ").unwrap_or((error.message(), ""));
    let (message, accepts) = match (what, expected) {
        ("string values must be quoted", _) => ("text must stand in quotes", "\"text\""),
        ("duplicate key", _) => {
            let key = text.get(span.clone()).unwrap_or_default().trim().to_owned();
            let message = "this is in the file twice, or is a table and something else".to_owned();
            let accepts = "each key and each table once".to_owned();
            return Fault { span, key, message, accepts, kind: Kind::Syntax };
        }
        (what, "nothing") => (what, ""),
        other => other,
    };
    Fault { span, key: String::new(), message: message.to_owned(), accepts: accepts.to_owned(), kind: Kind::Syntax }
}

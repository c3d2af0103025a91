//! What the report of a full run adds up (`tests/report.py`).

use std::fmt::Display;

/// Says how many of these a test has played.
#[expect(clippy::print_stdout, reason = "the report reads it from what the tests say")]
pub(crate) fn counted(what: &str, number: impl Display) {
    println!("counted: {what} {number}");
}

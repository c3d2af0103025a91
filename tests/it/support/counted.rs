//! What the report of a full run adds up (`tests/report.py`).

/// Says how many of these a test has played.
#[expect(clippy::print_stdout, reason = "the report reads it from what the tests say")]
pub(crate) fn counted(what: &str, number: usize) {
    println!("counted: {what} {number}");
}

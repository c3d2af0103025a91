//! Standard output and error, where a reader that has gone away (`| head`) is no failure.

use comfy_table::{Table, presets};
use std::io::{IsTerminal, Write};

/// Writes a line to standard output.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes a line to standard error.
pub(super) fn error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether messages may have colours.
pub(super) fn styled() -> bool {
    std::io::stderr().is_terminal()
}

/// An empty table with this header, without lines.
pub(super) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

/// Shows how a long wait goes on: one line that changes on a terminal, a line per change elsewhere.
#[derive(Default)]
pub(super) struct Progress {
    last: String,
    turns: usize,
}

impl Progress {
    /// Shows what is going on now.
    pub(super) fn show(&mut self, text: &str) {
        let mut output = std::io::stdout().lock();
        if output.is_terminal() {
            self.turns += 1;
            let sign = ['-', '\\', '|', '/'][self.turns % 4];
            let _ = write!(output, "\r\x1b[K{sign} {text}");
            let _ = output.flush();
        } else if self.last != text {
            let _ = writeln!(output, "{text}");
        }
        text.clone_into(&mut self.last);
    }

    /// Writes a line that stays.
    pub(super) fn note(&mut self, text: &str) {
        let mut output = std::io::stdout().lock();
        let clear = if output.is_terminal() { "\r\x1b[K" } else { "" };
        let _ = writeln!(output, "{clear}{text}");
    }
}

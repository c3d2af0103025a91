//! Collects what is wrong while a policy is read, and turns it into diagnostics when everything was seen.

use super::diagnostic::{Diagnostic, Severity};
use super::mask;
use std::cell::RefCell;
use std::ops::Range;
use toml::de::DeTable;

/// Longer lines are not shown, only named.
const LONGEST_EXCERPT: usize = 2_000;

/// The byte order mark: U+FEFF, which UTF-8 does not need and TOML allows in front.
const MARK: char = '\u{feff}';

/// What was found so far. Readers push to it and go on, so that all faults of a file are told at once.
pub(super) struct Faults<'t> {
    text: Text<'t>,
    list: RefCell<Vec<Fault>>,
}

/// Something wrong at a place of the text.
pub(super) struct Fault {
    /// The bytes meant; empty at 0 if the fault is that something is missing.
    pub span: Range<usize>,
    /// The path of the key.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What would be accepted.
    pub accepts: String,
    /// What kind of finding it is.
    pub kind: Kind,
}

/// What kind of finding a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The file is not TOML there.
    Syntax,
    /// A value is wrong, whatever the rest of the file says.
    Value,
    /// The value is wrong beside the rest of the file; it may be right once a fault of syntax elsewhere is mended.
    Context,
    /// Nothing is wrong, but it can hardly be meant.
    Warning,
}

impl<'t> Faults<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self { text: Text::of(text), list: RefCell::default() }
    }

    pub(super) fn push(&self, fault: Fault) {
        self.list.borrow_mut().push(fault);
    }

    /// The line of a byte, for messages that point to another place.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.text.position(offset).0
    }

    /// All findings in the order of the file, the errors and the warnings.
    pub(super) fn diagnostics(self, file: &str, document: &DeTable<'_>) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let mut faults = self.list.into_inner();
        if faults.is_empty() {
            return (Vec::new(), Vec::new());
        }
        keep_certain(&mut faults, &self.text);
        faults.sort_by_key(|fault| (fault.span.start, fault.span.end));
        faults.dedup_by(|a, b| a.span == b.span && a.key == b.key && a.message == b.message);
        let hidden = mask::spans(self.text.whole, document);
        let mut counted = (0, 0);
        let told = faults.into_iter().map(|fault| self.text.diagnostic(file, fault, &hidden, &mut counted));
        told.partition(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Where the file is not TOML, what was read of the rest is a guess: keeps what is wrong in any case, and one fault of
/// syntax per line.
fn keep_certain(faults: &mut Vec<Fault>, text: &Text<'_>) {
    faults.sort_by_key(|fault| (fault.kind != Kind::Syntax, fault.span.start));
    let line = |fault: &Fault| text.position(fault.span.start).0;
    let broken: Vec<usize> = faults.iter().take_while(|fault| fault.kind == Kind::Syntax).map(line).collect();
    if broken.is_empty() {
        return;
    }
    let mut last = 0;
    faults.retain(|fault| match fault.kind {
        Kind::Syntax => std::mem::replace(&mut last, line(fault)) != line(fault),
        Kind::Value => broken.binary_search(&line(fault)).is_err(),
        Kind::Context | Kind::Warning => false,
    });
}

/// The text of the file, and where its lines begin.
struct Text<'t> {
    whole: &'t str,
    starts: Vec<usize>,
}

impl<'t> Text<'t> {
    fn of(whole: &'t str) -> Self {
        let after_newlines = whole.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { whole, starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// The line number from 1, and where the line begins.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        (line, self.starts[line - 1])
    }

    /// `counted` is a byte of which the letters before it on its line are known: lines may be long, and faults many.
    fn diagnostic(
        &self,
        file: &str,
        fault: Fault,
        hidden: &[Range<usize>],
        counted: &mut (usize, usize),
    ) -> Diagnostic {
        let (line, start) = self.position(fault.span.start);
        // The mark that some editors put before the text is none of its letters.
        let start = if line == 1 && self.whole.starts_with(MARK) { MARK.len_utf8() } else { start };
        let end = self.starts.get(line).map_or(self.whole.len(), |next| next - 1);
        let shown = self.whole[start..end].trim_end_matches('\r');
        let end = start + shown.len();
        let from = fault.span.start.clamp(start, end);
        let (known, letters) = if counted.0 >= start { *counted } else { (start, 0) };
        let column = letters + self.whole.get(known..from).map_or(0, |between| between.chars().count());
        *counted = (from, column);
        let first = hidden.partition_point(|span| span.end <= start);
        let key = match fault.kind {
            // It is a piece of the text, and may be a piece of a secret.
            Kind::Syntax if !fault.key.is_empty() => mask::stars(&fault.key, fault.span.start, &hidden[first..]),
            Kind::Syntax | Kind::Value | Kind::Context | Kind::Warning => mask::masked_path(&fault.key),
        };
        let missing = fault.span == (0..0) && fault.kind != Kind::Syntax;
        let excerpt = (!missing && shown.len() <= LONGEST_EXCERPT).then(|| {
            let masked = mask::stars(shown, start, &hidden[first..]);
            let width = self.whole.get(from..fault.span.end.clamp(from, end)).map_or(0, |meant| meant.chars().count());
            let byte = |letter: usize| masked.char_indices().nth(letter).map_or(masked.len(), |(at, _)| at);
            let span = byte(column)..byte(column + width);
            (masked, span)
        });
        Diagnostic {
            severity: if fault.kind == Kind::Warning { Severity::Warning } else { Severity::Error },
            file: file.to_owned(),
            line,
            column: column + 1,
            key,
            message: mask::masked(&fault.message),
            accepts: mask::masked(&fault.accepts),
            excerpt,
        }
    }
}

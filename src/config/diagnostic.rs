//! One thing that is wrong with a policy file: for machines as a struct, for people as rustc would show it.

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use serde::Serialize;
use std::fmt;
use std::ops::Range;

/// One thing that is wrong, or that looks wrong. No part of it ever holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether the policy can be used in spite of it.
    pub severity: Severity,
    /// The file, as it was named to us.
    pub file: String,
    /// The line, from 1; 0 if the file could not be read at all.
    pub line: usize,
    /// The column in characters, from 1; 0 if the file could not be read at all.
    pub column: usize,
    /// The offending key with its whole path, such as `credentials."billing-sms".grace`; empty if there is none.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What would be accepted.
    pub accepts: String,
    /// The line as it may be shown, and the bytes of it that are meant; none if the fault is that something is missing,
    /// or if the line is too long to be shown.
    #[serde(skip)]
    pub(super) excerpt: Option<(String, Range<usize>)>,
}

/// Whether a policy can be used in spite of a diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but is it what was meant?
    Warning,
}

impl Diagnostic {
    /// The text for people; `styled` adds colours, for a terminal.
    pub fn render(&self, styled: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(&self.message);
        let title = if self.key.is_empty() { title } else { title.id(&self.key) };
        let group = match &self.excerpt {
            Some((line, span)) => title.element(
                Snippet::source(line)
                    .path(&self.file)
                    .line_start(self.line)
                    .annotation(AnnotationKind::Primary.span(span.clone())),
            ),
            _ if self.line == 0 => title.element(Origin::path(&self.file)),
            _ => title.element(Origin::path(&self.file).line(self.line).char_column(self.column)),
        };
        let group = if self.accepts.is_empty() {
            group
        } else {
            let accepts = annotate_snippets::normalize_untrusted_str(&self.accepts);
            group.element(Level::HELP.with_name("accepts").message(accepts))
        };
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

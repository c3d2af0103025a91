//! The way to a value, as its key would be written in full: `credentials."billing-sms".grace`.

use std::fmt;

/// The way to a value: a list that grows at its end and is written out only when something is wrong there.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment<'a>,
}

/// One step of the way.
#[derive(Clone, Copy)]
pub(super) enum Segment<'a> {
    /// A key of a table.
    Key(&'a str),
    /// An item of an array, from 1.
    Item(usize),
}

impl<'a> Path<'a> {
    /// The whole document.
    pub(super) const ROOT: Path<'static> = Path { parent: None, segment: Segment::Key("") };

    /// The way to something inside.
    pub(super) fn below(&'a self, segment: Segment<'a>) -> Path<'a> {
        Path { parent: Some(self), segment }
    }

    /// The same way with another last step.
    pub(super) fn ending_in(self, segment: Segment<'a>) -> Path<'a> {
        Path { segment, ..self }
    }

    /// Whether this is the whole document.
    pub(super) fn is_root(&self) -> bool {
        self.parent.is_none()
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        if !parent.is_root() {
            write!(f, "{parent}.")?;
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        match self.segment {
            Segment::Item(number) => write!(f, "#{number}"),
            Segment::Key(key) if !key.is_empty() && key.bytes().all(is_plain) => f.write_str(key),
            Segment::Key(key) => write!(f, "\"{}\"", key.escape_debug()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Path, Segment};

    #[test]
    fn a_path_is_written_as_its_key_would_be() {
        let credentials = Path::ROOT.below(Segment::Key("credentials"));
        let third = credentials.below(Segment::Item(3));
        let named = third.ending_in(Segment::Key("billing-sms"));
        assert_eq!(Path::ROOT.to_string(), "");
        assert_eq!(third.below(Segment::Key("grace")).to_string(), "credentials.#3.grace");
        assert_eq!(named.below(Segment::Key("grace")).to_string(), "credentials.\"billing-sms\".grace");
        assert_eq!(Path::ROOT.below(Segment::Key("a\"\n")).to_string(), "\"a\\\"\\n\"");
    }
}

//! A small typed reader over TOML: each getter tells what is wrong and goes on, so that one look finds every fault.

use super::fault::{Fault, Faults, Kind};
use super::mask;
use super::path::{Path, Segment};
use super::suggest::{did_you_mean, within};
use std::cell::RefCell;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// A table that is being read: it remembers which keys it was asked for, and so knows which are unknown.
pub(super) struct Table<'a> {
    faults: &'a Faults<'a>,
    path: Path<'a>,
    span: Range<usize>,
    rows: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
}

/// A value that is being read, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    faults: &'a Faults<'a>,
    path: Path<'a>,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Table<'a> {
    /// The whole document.
    pub(super) fn root(document: &'a DeTable<'a>, faults: &'a Faults<'a>) -> Self {
        Self { faults, path: Path::ROOT, span: 0..0, rows: document, asked: RefCell::default() }
    }

    /// Calls the table by a name from now on, where it had only a number.
    pub(super) fn rename(&mut self, name: &'a str) {
        self.path = self.path.ending_in(Segment::Key(name));
    }

    /// The text of a key, for that name; it is read properly later.
    pub(super) fn peek(&self, key: &str) -> Option<&'a str> {
        self.rows.get(key)?.get_ref().as_str()
    }

    /// The value of a key, if it is there.
    pub(super) fn field(&self, key: &'static str) -> Option<Field<'_>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        let value = self.rows.get(key)?;
        Some(Field { faults: self.faults, path: self.below(key), value })
    }

    /// A key that must be there.
    pub(super) fn need<'s, T>(
        &'s self,
        key: &'static str,
        accepts: &str,
        read: impl FnOnce(Field<'s>) -> Option<T>,
    ) -> Option<T> {
        let field = self.field(key);
        if field.is_none() {
            let what = if self.path.is_root() { "table" } else { "key" };
            self.missing(key, format!("this {what} is missing"), accepts);
        }
        read(field?)
    }

    /// A key that may be left out: `Some(None)` if it is, `None` if it is wrong.
    pub(super) fn maybe<'s, T>(
        &'s self,
        key: &'static str,
        read: impl FnOnce(Field<'s>) -> Option<T>,
    ) -> Option<Option<T>> {
        self.field(key).map_or(Some(None), |field| read(field).map(Some))
    }

    /// A key with a default.
    pub(super) fn or<'s, T>(
        &'s self,
        key: &'static str,
        default: T,
        read: impl FnOnce(Field<'s>) -> Option<T>,
    ) -> Option<T> {
        self.field(key).map_or(Some(default), read)
    }

    /// The values in the order of the file, for tables whose keys are names.
    pub(super) fn named(&self) -> Vec<(&'a Spanned<DeString<'a>>, Field<'_>)> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|(key, _)| key.span().start);
        let field = |key, value| Field { faults: self.faults, path: self.below(key), value };
        rows.into_iter().map(|(key, value)| (key, field(key.get_ref(), value))).collect()
    }

    /// Says that something is missing here.
    pub(super) fn missing(&self, key: &str, message: impl Into<String>, accepts: &str) {
        let key = self.below(key).to_string();
        let (message, accepts) = (message.into(), accepts.to_owned());
        self.faults.push(Fault { span: self.span.clone(), key, message, accepts, kind: Kind::Context });
    }

    /// Says that what is missing here can hardly be meant to be.
    pub(super) fn doubt(&self, message: &str, accepts: &str) {
        let (message, accepts) = (message.to_owned(), accepts.to_owned());
        self.faults.push(Fault {
            span: self.span.clone(),
            key: self.path.to_string(),
            message,
            accepts,
            kind: Kind::Warning,
        });
    }

    /// Whether a secret was written here under a key of its own, which `finish` will tell about.
    pub(super) fn has_stray_secret(&self) -> bool {
        self.rows.keys().any(|key| mask::names_a_secret(key.get_ref()))
    }

    /// Tells about the keys that nobody asked for.
    pub(super) fn finish(&self) {
        self.finish_without_secrets("no secret: none is needed here");
    }

    /// The same, and says what to do instead of writing a secret here.
    pub(super) fn finish_without_secrets(&self, instead: &str) {
        let asked = self.asked.borrow();
        for (key, value) in self.rows {
            if !asked.contains(&key.get_ref().as_ref()) {
                self.unknown(key, value, &asked, instead);
            }
        }
    }

    fn unknown(
        &self,
        key: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
        asked: &[&'static str],
        instead: &str,
    ) {
        let (name, span) = (key.get_ref(), key.span());
        let path = self.below(name).to_string();
        let list =
            |keys: &mut dyn Iterator<Item = &&str>| keys.map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        let typo = within(2, name, asked.iter().copied()).is_some();
        if mask::names_a_secret(name) && !typo {
            let whereabouts = list(&mut asked.iter().filter(|key| mask::tells_where(key)));
            let accepts = if whereabouts.is_empty() {
                instead.to_owned()
            } else {
                format!("{whereabouts}, which say where it is")
            };
            let message = "a secret must not be written into this file".to_owned();
            return self.faults.push(Fault { span, key: path, message, accepts, kind: Kind::Value });
        }
        let message = format!("unknown key{}", did_you_mean(name, asked.iter().copied()));
        let accepts = list(&mut asked.iter());
        self.faults.push(Fault { span, key: path, message, accepts, kind: Kind::Context });
        Field { faults: self.faults, path: self.below(name), value }.refuse_secrets();
    }

    fn below<'s>(&'s self, key: &'s str) -> Path<'s> {
        self.path.below(Segment::Key(key))
    }
}

impl<'a> Field<'a> {
    /// Says that the value is wrong, whatever the rest of the file says.
    pub(super) fn wrong(&self, message: impl Into<String>, accepts: impl Into<String>) {
        self.tell(Kind::Value, message.into(), accepts.into());
    }

    /// Says that the key itself, a name that the operator chose, is wrong.
    pub(super) fn misnamed(&self, key: &Spanned<DeString<'_>>, message: &str, accepts: &str) {
        let (span, key) = (key.span(), self.path.to_string());
        let (message, accepts) = (message.to_owned(), accepts.to_owned());
        self.faults.push(Fault { span, key, message, accepts, kind: Kind::Value });
    }

    /// Says that the value does not go together with the rest of the file.
    pub(super) fn clashes(&self, message: impl Into<String>, accepts: impl Into<String>) {
        self.tell(Kind::Context, message.into(), accepts.into());
    }

    /// Says that the value can hardly be meant.
    pub(super) fn doubt(&self, message: impl Into<String>, accepts: impl Into<String>) {
        self.tell(Kind::Warning, message.into(), accepts.into());
    }

    /// Where the value begins.
    pub(super) fn offset(&self) -> usize {
        self.value.span().start
    }

    /// The line of another byte of the file.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.faults.line(offset)
    }

    /// A text; one that looks like a secret is refused.
    pub(super) fn text(&self, accepts: &str) -> Option<&'a str> {
        let text = self.words(accepts)?;
        let Some(what) = mask::looks_like(text) else { return Some(text) };
        self.wrong(format!("this looks like {what}: a secret must not be written into this file"), accepts);
        None
    }

    /// A text that people choose freely; only what is surely a secret is refused.
    pub(super) fn free_text(&self, accepts: &str) -> Option<&'a str> {
        let text = self.words(accepts)?;
        let Some(what) = mask::surely_holds(text) else { return Some(text) };
        self.wrong(format!("this looks like {what}: a secret must not be written into this file"), accepts);
        None
    }

    fn words(&self, accepts: &str) -> Option<&'a str> {
        let value = self.value.get_ref();
        value.as_str().or_else(|| self.not_a("text in quotes", accepts))
    }

    /// A text that a check turns into something; the check says what is wrong.
    pub(super) fn parse<T, E: fmt::Display>(
        &self,
        accepts: &str,
        check: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(accepts)?;
        check(text).map_err(|wrong| self.wrong(wrong.to_string(), accepts)).ok()
    }

    /// A whole number.
    pub(super) fn number<T: TryFrom<i128>>(&self, within: RangeInclusive<i128>) -> Option<T> {
        let accepts = format!("a whole number from {} to {}", within.start(), within.end());
        let DeValue::Integer(digits) = self.value.get_ref() else {
            return self.not_a("a whole number", &accepts);
        };
        let number = i128::from_str_radix(digits.as_str(), digits.radix()).ok();
        let number = number.filter(|number| within.contains(number)).and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            self.wrong("this number is out of range", accepts);
        }
        number
    }

    /// `true` or `false`.
    pub(super) fn switch(&self) -> Option<bool> {
        let value = self.value.get_ref();
        value.as_bool().or_else(|| self.not_a("`true` or `false`", "`true` or `false`, without quotes"))
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let accepts = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        let text = self.text(&accepts)?;
        let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        if chosen.is_none() {
            let hint = did_you_mean(text, choices.iter().map(|(word, _)| *word));
            self.wrong(format!("there is no such choice{hint}"), accepts);
        }
        chosen
    }

    /// A table.
    pub(super) fn table(&self, accepts: &str) -> Option<Table<'a>> {
        let value = self.value.get_ref();
        let rows = value.as_table().or_else(|| self.not_a("a table", accepts))?;
        Some(Table { faults: self.faults, path: self.path, span: self.value.span(), rows, asked: RefCell::default() })
    }

    /// The items of an array; they are numbered from 1.
    pub(super) fn items(&self, accepts: &str) -> Option<Vec<Field<'_>>> {
        let value = self.value.get_ref();
        let items = value.as_array().or_else(|| self.not_a("an array", accepts))?;
        let item =
            |(index, value)| Field { faults: self.faults, path: self.path.below(Segment::Item(index + 1)), value };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// Says that the value is of another type; `None` in every type, to be returned.
    pub(super) fn not_a<T>(&self, wanted: &str, accepts: &str) -> Option<T> {
        let found = match self.value.get_ref() {
            DeValue::String(text) if mask::looks_like(text).is_some() => "what looks like a secret",
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.wrong(format!("this must be {wanted}, and is {found}"), accepts);
        None
    }

    /// The raw value, for readers of their own.
    pub(super) fn value(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    /// Tells about each secret inside a value that nobody reads.
    fn refuse_secrets(&self) {
        match self.value.get_ref() {
            DeValue::String(_) => _ = self.text("no secret"),
            DeValue::Array(_) => self.items("no secret").into_iter().flatten().for_each(|item| item.refuse_secrets()),
            DeValue::Table(rows) => rows.iter().for_each(|(key, value)| {
                Field { faults: self.faults, path: self.path.below(Segment::Key(key.get_ref())), value }
                    .refuse_secrets();
            }),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => (),
        }
    }

    fn tell(&self, kind: Kind, message: String, accepts: String) {
        self.faults.push(Fault { span: self.value.span(), key: self.path.to_string(), message, accepts, kind });
    }
}

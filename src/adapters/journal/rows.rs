//! How values cross between a database and us; what cannot be right there is damage, and is never guessed at.

use super::index::unbroken;
use crate::model::event::Entry;
use crate::model::home::Home;
use crate::model::key::{AttemptId, KeySid};
use crate::model::names::CredentialName;
use crate::model::reason::Breaker;
use crate::model::rotation::State;
use crate::model::subaccount::{Making, SubaccountName};
use crate::ports::{Attempts, JournalError, KnownAttempt, KnownKey, Request, Row as CredentialRow};
use jiff::Timestamp;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

/// The columns of a row, whichever database it came from.
pub(super) trait Columns {
    fn text(&self, column: usize) -> String;
    fn maybe_text(&self, column: usize) -> Option<String>;
    fn number(&self, column: usize) -> i64;
    fn maybe_number(&self, column: usize) -> Option<i64>;
    fn bytes(&self, column: usize) -> Vec<u8>;
    fn maybe_bytes(&self, column: usize) -> Option<Vec<u8>>;
}

macro_rules! columns {
    ($row:ty) => {
        impl Columns for $row {
            fn text(&self, column: usize) -> String {
                self.get(column)
            }
            fn maybe_text(&self, column: usize) -> Option<String> {
                self.get(column)
            }
            fn number(&self, column: usize) -> i64 {
                self.get(column)
            }
            fn maybe_number(&self, column: usize) -> Option<i64> {
                self.get(column)
            }
            fn bytes(&self, column: usize) -> Vec<u8> {
                self.get(column)
            }
            fn maybe_bytes(&self, column: usize) -> Option<Vec<u8>> {
                self.get(column)
            }
        }
    };
}
columns!(SqliteRow);
columns!(PgRow);

pub(super) fn credential(row: &impl Columns) -> Result<CredentialRow, JournalError> {
    Ok(CredentialRow {
        name: name(row.text(0))?,
        home: home(&row.text(1))?,
        seq: count(row.number(2)),
        state: json::<State>(&row.text(3))?,
        wake: row.maybe_number(4).and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        waiting: row.text(5),
    })
}

/// The entries of one credential: each linked to the one before it, the last one that of its state.
pub(super) fn history(name: &CredentialName, rows: &[impl Columns]) -> Result<Vec<Entry>, JournalError> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let last = (count(first.number(0)), first.bytes(1));
    let history: Vec<_> = rows.iter().filter_map(|row| row.maybe_text(2).zip(row.maybe_bytes(3))).collect();
    unbroken(&history, (last.0, &last.1))
        .ok_or_else(|| JournalError::Corrupt(format!("an entry of `{name}` was changed or is missing")))
}

pub(super) fn known_key(row: &impl Columns) -> Result<KnownKey, JournalError> {
    let alive = key_alive(&row.text(0), row.text(1), row.maybe_text(2).as_deref())?;
    Ok(KnownKey { gone: row.number(3) != 0, ..alive })
}

/// Keys that are alive, as one text.
pub(super) fn known_keys(row: &impl Columns) -> Result<Vec<KnownKey>, JournalError> {
    let text = row.text(0);
    let keys: Vec<(&str, &str, Option<&str>)> = json(&text)?;
    keys.into_iter().map(|(sid, name, attempt)| key_alive(sid, name.to_owned(), attempt)).collect()
}

fn key_alive(sid: &str, credential: String, attempt: Option<&str>) -> Result<KnownKey, JournalError> {
    let attempt = attempt.map(|text| text.parse().map(AttemptId).map_err(|_| corrupt("an attempt is not a UUID")));
    Ok(KnownKey { sid: key_sid(sid)?, credential: name(credential)?, attempt: attempt.transpose()?, gone: false })
}

pub(super) fn known_attempt(row: &impl Columns) -> Result<KnownAttempt, JournalError> {
    Ok(KnownAttempt {
        credential: name(row.text(0))?,
        intended: json(&row.text(1))?,
        sid: row.maybe_text(2).map(|sid| key_sid(&sid)).transpose()?,
    })
}

pub(super) fn attempts(row: &impl Columns) -> Attempts {
    Attempts { started: clamp(row.number(0)), abandoned: clamp(row.number(1)) }
}

pub(super) fn request(row: &impl Columns) -> Result<(i64, Request), JournalError> {
    Ok((row.number(0), json(&row.text(1))?))
}

/// How far a subaccount has come, and the number of that entry.
pub(super) fn making(row: &impl Columns) -> Result<(u64, Making), JournalError> {
    Ok((count(row.number(0)), json(&row.text(1))?))
}

/// A subaccount, and how far it has come.
pub(super) fn named_making(row: &impl Columns) -> Result<(SubaccountName, Making), JournalError> {
    let name = row.text(0);
    let name = SubaccountName::new(&name).map_err(|error| JournalError::Corrupt(format!("`{name}`: {error}")))?;
    Ok((name, json(&row.text(1))?))
}

pub(super) fn open_breaker(row: &impl Columns) -> Result<(Home, Breaker), JournalError> {
    let word = row.text(1);
    let breaker = Breaker::ALL.into_iter().find(|breaker| breaker.word() == word);
    Ok((home(&row.text(0))?, breaker.ok_or_else(|| corrupt("a breaker is not known"))?))
}

fn home(text: &str) -> Result<Home, JournalError> {
    Home::parse(text).map_err(|error| JournalError::Corrupt(error.to_string()))
}

fn name(text: String) -> Result<CredentialName, JournalError> {
    CredentialName::new(&text).map_err(|error| JournalError::Corrupt(format!("`{text}`: {error}")))
}

fn key_sid(text: &str) -> Result<KeySid, JournalError> {
    KeySid::new(text).map_err(|error| JournalError::Corrupt(format!("`{text}`: {error}")))
}

fn json<'t, T: serde::Deserialize<'t>>(text: &'t str) -> Result<T, JournalError> {
    // An event or a field that is not known here was written by another version: not to be guessed at.
    serde_json::from_str(text).map_err(|error| JournalError::Corrupt(format!("an entry cannot be read: {error}")))
}

pub(super) fn corrupt(detail: &str) -> JournalError {
    JournalError::Corrupt(detail.to_owned())
}

pub(super) fn unavailable(error: sqlx::Error) -> JournalError {
    let damaged = error.as_database_error().and_then(|error| error.code()).is_some_and(|code| {
        // SQLITE_CORRUPT and SQLITE_NOTADB (SQLite docs, "Result and Error Codes").
        matches!(code.as_ref(), "11" | "26")
    });
    if damaged { JournalError::Corrupt(error.to_string()) } else { JournalError::Unavailable(error.to_string()) }
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) fn clamp(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

//! How values cross between SQLite and us; what cannot be right there is damage, and is never guessed at.

use crate::model::key::{AccountSid, AttemptId, KeySid};
use crate::model::names::CredentialName;
use crate::model::reason::Breaker;
use crate::model::rotation::State;
use crate::ports::{JournalError, KnownKey, Row as CredentialRow};
use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

pub(super) fn credential(row: &SqliteRow) -> Result<CredentialRow, JournalError> {
    let wake: Option<i64> = row.get(4);
    let account: String = row.get(1);
    Ok(CredentialRow {
        name: name(row.get(0))?,
        account: AccountSid::new(&account).map_err(|error| JournalError::Corrupt(error.to_string()))?,
        seq: count(row.get(2)),
        state: json::<State>(&row.get::<String, _>(3))?,
        wake: wake.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        waiting: row.get(5),
    })
}

pub(super) fn known_key(row: &SqliteRow) -> Result<KnownKey, JournalError> {
    let attempt: Option<String> = row.get(2);
    let attempt = attempt.map(|text| text.parse().map(AttemptId).map_err(|_| corrupt("an attempt is not a UUID")));
    Ok(KnownKey {
        sid: key_sid(&row.get::<String, _>(0))?,
        credential: name(row.get(1))?,
        attempt: attempt.transpose()?,
        gone: row.get(3),
    })
}

pub(super) fn open_breaker(row: &SqliteRow) -> Result<(AccountSid, Breaker), JournalError> {
    let (account, word): (String, String) = (row.get(0), row.get(1));
    let account = AccountSid::new(&account).map_err(|error| JournalError::Corrupt(error.to_string()))?;
    let breaker = Breaker::ALL.into_iter().find(|breaker| breaker.word() == word);
    Ok((account, breaker.ok_or_else(|| corrupt("a breaker is not known"))?))
}

pub(super) fn name(text: String) -> Result<CredentialName, JournalError> {
    CredentialName::new(&text).map_err(|error| JournalError::Corrupt(format!("`{text}`: {error}")))
}

pub(super) fn key_sid(text: &str) -> Result<KeySid, JournalError> {
    KeySid::new(text).map_err(|error| JournalError::Corrupt(format!("`{text}`: {error}")))
}

pub(super) fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, JournalError> {
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

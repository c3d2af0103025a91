//! One entry into the server's tables: the compare-and-set on (credential, seq), and on the fencing token.

use super::super::LEASE;
use super::super::append::{Append, Inserted, words};
use super::super::index::Note;
use super::super::rows::{count, signed};
use super::super::sql;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

/// Writes state and entry if the claim still holds and nobody appended since; the claim is renewed by it. The server links
/// the entry to the one before it, as `index::link` does.
/// [`noted`] puts what is noted beside the entry between this and [`DONE`]: one statement, one answer, one sync.
const APPEND: &str = "WITH mine AS ( \
        UPDATE credential SET seq = $2, chain = sha256(chain || convert_to($3, 'UTF8')), state = $4, \
               leased_until = clock_timestamp() + $6 * interval '1 second' \
        WHERE name = $1 AND seq = $2 - 1 AND token = $5 AND leased_until > clock_timestamp() \
        RETURNING id, chain), \
    entry AS (INSERT INTO event (credential, seq, token, body, chain) SELECT id, $2, $5, $3, chain FROM mine)";
const DONE: &str = " SELECT id FROM mine";

/// The entry with our number and our token, if it is still the last one: what an append whose answer was lost has left.
const OURS: &str = "SELECT c.id FROM credential c JOIN event e ON e.credential = c.id AND e.seq = c.seq \
                    WHERE c.name = $1 AND c.seq = $2 AND e.token = $3 AND e.body = $4";

pub(super) async fn append(
    connection: &mut PgConnection,
    append: &Append,
    token: u64,
) -> Result<Inserted, sqlx::Error> {
    let Some(spent) = &append.spent else {
        return match insert(connection, append, token).await? {
            Some(_) => Ok(Inserted::Fresh),
            None => ours(connection, append, token).await,
        };
    };
    let mut transaction = connection.begin().await?;
    // One decision to delete at a time in each account: who comes second sees the first.
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('rekeyd deletes ' || $1, 0))";
    sqlx::query(lock).bind(append.home.to_string()).execute(&mut *transaction).await?;
    let deletes = sqlx::query_scalar(sql::DELETES_SINCE).bind(append.home.to_string());
    let deletes = deletes.bind(signed(spent.since.0)).bind(spent.but.as_str());
    if count(deletes.fetch_one(&mut *transaction).await?) > u64::from(spent.room) {
        return Ok(Inserted::Overspent);
    }
    if insert(&mut transaction, append, token).await?.is_none() {
        return ours(&mut transaction, append, token).await;
    }
    transaction.commit().await?;
    Ok(Inserted::Fresh)
}

async fn insert(connection: &mut PgConnection, append: &Append, token: u64) -> Result<Option<i64>, sqlx::Error> {
    let mut statement = APPEND.to_owned();
    for (number, note) in append.notes.iter().enumerate() {
        statement += &format!(", note{number} AS ({})", noted(note, FIRST_NOTE + number * WORDS));
    }
    statement += DONE;
    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).bind(append.name.as_str()).bind(signed(append.seq));
    let query = query.bind(&append.body).bind(&append.state).bind(signed(token)).bind(signed(LEASE.as_secs()));
    let mut query = query.bind(append.home.to_string()).bind(&append.moment).bind(signed(append.at.uptime.0));
    for note in &append.notes {
        let (word, other) = words(note);
        query = query.bind(word).bind(other);
    }
    query.fetch_optional(connection).await
}

/// The number of the first parameter behind those that every entry has, and how many each note has.
const FIRST_NOTE: usize = 10;
const WORDS: usize = 2;

/// What notes this beside an entry: $7 is the account, $8 and $9 are the time, `$next` and the one after it the [`words`]
/// of the note.
fn noted(note: &Note, next: usize) -> String {
    let other = next + 1;
    match note {
        Note::Attempt(_) => format!(
            "INSERT INTO attempt (id, credential, account, intended, intended_ms) \
             SELECT ${next}, id, $7, $8, $9 FROM mine"
        ),
        Note::Unmade(_) => format!("DELETE FROM attempt USING mine WHERE attempt.id = ${next}"),
        Note::Abandoned(_) => format!("UPDATE attempt SET abandoned = 1 FROM mine WHERE attempt.id = ${next}"),
        Note::Key(..) => format!(
            "INSERT INTO key (sid, credential, account, attempt) SELECT ${next}, id, $7, ${other} FROM mine \
             ON CONFLICT (sid) DO UPDATE SET gone = 0"
        ),
        Note::Condemned(_) => format!("UPDATE key SET condemned_ms = $9 FROM mine WHERE sid = ${next}"),
        Note::Gone(_) => format!("UPDATE key SET gone = 1 FROM mine WHERE sid = ${next}"),
    }
}

async fn ours(connection: &mut PgConnection, append: &Append, token: u64) -> Result<Inserted, sqlx::Error> {
    let query = sqlx::query_scalar(OURS).bind(append.name.as_str()).bind(signed(append.seq));
    let found: Option<i64> = query.bind(signed(token)).bind(&append.body).fetch_optional(connection).await?;
    Ok(if found.is_some() { Inserted::Fresh } else { Inserted::Taken })
}

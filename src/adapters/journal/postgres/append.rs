//! One entry into the server's tables: the compare-and-set on (credential, seq), and on the fencing token.

use super::super::LEASE;
use super::super::append::{Append, Inserted};
use super::super::index::Note;
use super::super::rows::{count, signed};
use super::super::sql;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

/// Writes state and entry if the claim still holds and nobody appended since; the claim is renewed by it. The server links
/// the entry to the one before it, as `index::link` does.
const APPEND: &str = "WITH mine AS ( \
        UPDATE credential SET seq = $2, chain = sha256(chain || convert_to($3, 'UTF8')), state = $4, \
               leased_until = clock_timestamp() + $6 * interval '1 second' \
        WHERE name = $1 AND seq = $2 - 1 AND token = $5 AND leased_until > clock_timestamp() \
        RETURNING id, chain), \
    entry AS (INSERT INTO event (credential, seq, token, body, chain) SELECT id, $2, $5, $3, chain FROM mine) \
    SELECT id FROM mine";

/// The entry with our number and our token, if it is still the last one: what an append whose answer was lost has left.
const OURS: &str = "SELECT c.id FROM credential c JOIN event e ON e.credential = c.id AND e.seq = c.seq \
                    WHERE c.name = $1 AND c.seq = $2 AND e.token = $3 AND e.body = $4";

pub(super) async fn append(
    connection: &mut PgConnection,
    append: &Append,
    token: u64,
) -> Result<Inserted, sqlx::Error> {
    if append.notes.is_empty() && append.spent.is_none() {
        return match insert(connection, append, token).await? {
            Some(_) => Ok(Inserted::Fresh),
            None => ours(connection, append, token).await,
        };
    }
    let mut transaction = connection.begin().await?;
    if let Some(spent) = &append.spent {
        // One decision to delete at a time in each account: who comes second sees the first.
        let lock = "SELECT pg_advisory_xact_lock(hashtextextended('rekeyd deletes ' || $1, 0))";
        sqlx::query(lock).bind(append.account.as_str()).execute(&mut *transaction).await?;
        let deletes = sqlx::query_scalar(sql::DELETES_SINCE).bind(append.account.as_str());
        let deletes = deletes.bind(signed(spent.since.0)).bind(spent.but.as_str());
        if count(deletes.fetch_one(&mut *transaction).await?) > u64::from(spent.known) {
            return Ok(Inserted::Overspent);
        }
    }
    let Some(id) = insert(&mut transaction, append, token).await? else {
        return ours(&mut transaction, append, token).await;
    };
    for note in &append.notes {
        keep(&mut transaction, id, append, note).await?;
    }
    transaction.commit().await?;
    Ok(Inserted::Fresh)
}

async fn insert(connection: &mut PgConnection, append: &Append, token: u64) -> Result<Option<i64>, sqlx::Error> {
    let query = sqlx::query_scalar(APPEND).bind(append.name.as_str()).bind(signed(append.seq)).bind(&append.body);
    let query = query.bind(&append.state).bind(signed(token)).bind(signed(LEASE.as_secs()));
    query.fetch_optional(connection).await
}

async fn ours(connection: &mut PgConnection, append: &Append, token: u64) -> Result<Inserted, sqlx::Error> {
    let query = sqlx::query_scalar(OURS).bind(append.name.as_str()).bind(signed(append.seq));
    let found: Option<i64> = query.bind(signed(token)).bind(&append.body).fetch_optional(connection).await?;
    Ok(if found.is_some() { Inserted::Fresh } else { Inserted::Taken })
}

async fn keep(connection: &mut PgConnection, id: i64, append: &Append, note: &Note) -> Result<(), sqlx::Error> {
    let uptime = signed(append.at.uptime.0);
    let query = match note {
        Note::Attempt(attempt) => {
            let moment = serde_json::to_string(&append.at).map_err(|error| sqlx::Error::Encode(error.into()))?;
            let insert = sqlx::query(sql::NEW_ATTEMPT).bind(attempt.to_string()).bind(id);
            insert.bind(append.account.as_str()).bind(moment).bind(uptime)
        }
        Note::Unmade(attempt) => sqlx::query(sql::UNMADE).bind(attempt.to_string()),
        Note::Abandoned(attempt) => sqlx::query(sql::ABANDONED).bind(attempt.to_string()),
        Note::Key(sid, attempt) => {
            let insert = sqlx::query(sql::NEW_KEY).bind(sid.as_str()).bind(id).bind(append.account.as_str());
            insert.bind(attempt.map(|attempt| attempt.to_string()))
        }
        Note::Condemned(sid) => sqlx::query(sql::CONDEMNED).bind(sid.as_str()).bind(uptime),
        Note::Gone(sid) => sqlx::query(sql::GONE).bind(sid.as_str()),
    };
    query.execute(connection).await.map(drop)
}

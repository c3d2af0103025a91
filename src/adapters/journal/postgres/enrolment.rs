//! A row for each credential of the policy, in one statement, however many there are.

use super::super::rows::signed;
use crate::ports::Enrolled;
use jiff::Timestamp;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

/// What is not named is never due. A claim of another process is left to it.
const REST: &str = "UPDATE credential SET wake_ms = NULL, waiting = 'not in the policy' \
    WHERE wake_ms IS NOT NULL AND name <> ALL($1)";

const ENROL: &str = "INSERT INTO credential (name, account, seq, chain, state, wake_ms, waiting) \
    SELECT name, account, 0, ''::bytea, $4, wake_ms, 'starting' \
    FROM unnest($1, $2, $3) AS enrolled (name, account, wake_ms) \
    ON CONFLICT (name) DO NOTHING";

/// A row that has an entry more than was known here was told by its writer when to be looked at.
const WAKE: &str = "UPDATE credential \
    SET account = e.account, wake_ms = e.wake_ms, waiting = 'starting' \
    FROM unnest($1, $2, $3, $4) AS e (name, account, wake_ms, seq) \
    WHERE credential.name = e.name AND credential.seq = e.seq \
    AND (credential.account, credential.wake_ms) IS DISTINCT FROM (e.account, e.wake_ms)";

pub(super) async fn enrol(
    connection: &mut PgConnection,
    credentials: &[Enrolled],
    empty: String,
) -> Result<(), sqlx::Error> {
    let names: Vec<_> = credentials.iter().map(|enrolled| enrolled.name.as_str()).collect();
    let homes: Vec<_> = credentials.iter().map(|enrolled| enrolled.home.to_string()).collect();
    let times: Vec<_> = credentials.iter().map(|enrolled| enrolled.wake.map(Timestamp::as_millisecond)).collect();
    let seqs: Vec<_> = credentials.iter().map(|enrolled| signed(enrolled.seq)).collect();
    let mut transaction = connection.begin().await?;
    // Two processes that start together would wait for each other's rows.
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('rekeyd enrols', 0))";
    sqlx::query(lock).execute(&mut *transaction).await?;
    sqlx::query(REST).bind(&names).execute(&mut *transaction).await?;
    let enrol = sqlx::query(ENROL).bind(&names).bind(&homes).bind(&times).bind(empty);
    enrol.execute(&mut *transaction).await?;
    let wake = sqlx::query(WAKE).bind(&names).bind(&homes).bind(&times).bind(seqs);
    wake.execute(&mut *transaction).await?;
    transaction.commit().await
}

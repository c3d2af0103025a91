//! A row for each credential of the policy, in one statement, however many there are.

use sqlx::Connection;
use sqlx::postgres::PgConnection;

/// What is not named is never due. A claim of another process is left to it.
const REST: &str = "UPDATE credential SET wake_ms = NULL, waiting = 'not in the policy' \
    WHERE wake_ms IS NOT NULL AND name <> ALL($1)";

const ENROL: &str = "INSERT INTO credential (name, account, seq, chain, state, wake_ms, waiting) \
    SELECT name, account, 0, ''::bytea, $4, wake_ms, 'starting' \
    FROM unnest($1, $2, $3) AS enrolled (name, account, wake_ms) \
    ON CONFLICT (name) DO UPDATE \
    SET account = excluded.account, wake_ms = excluded.wake_ms, waiting = excluded.waiting";

pub(super) async fn enrol(
    connection: &mut PgConnection,
    names: Vec<String>,
    accounts: Vec<String>,
    wakes: Vec<Option<i64>>,
    empty: String,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    // Two processes that start together would wait for each other's rows.
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('rekeyd enrols', 0))";
    sqlx::query(lock).execute(&mut *transaction).await?;
    sqlx::query(REST).bind(&names).execute(&mut *transaction).await?;
    let enrol = sqlx::query(ENROL).bind(names).bind(accounts).bind(wakes).bind(empty);
    enrol.execute(&mut *transaction).await?;
    transaction.commit().await
}

//! A row for each credential of the policy, in one statement, however many there are.

use crate::model::key::AccountSid;
use crate::model::names::CredentialName;
use jiff::Timestamp;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

/// What is not named is never due. A claim of another process is left to it.
const REST: &str = "UPDATE credential SET wake_ms = NULL, waiting = 'not in the policy' \
    WHERE wake_ms IS NOT NULL AND name <> ALL($1)";

const ENROL: &str = "INSERT INTO credential (name, account, seq, chain, state, wake_ms, waiting) \
    SELECT name, account, 0, ''::bytea, $4, wake_ms, 'starting' \
    FROM unnest($1, $2, $3) AS enrolled (name, account, wake_ms) \
    ON CONFLICT (name) DO UPDATE \
    SET account = excluded.account, wake_ms = excluded.wake_ms, waiting = excluded.waiting \
    WHERE (credential.account, credential.wake_ms) IS DISTINCT FROM (excluded.account, excluded.wake_ms)";

pub(super) async fn enrol(
    connection: &mut PgConnection,
    wakes: Vec<(CredentialName, AccountSid, Option<Timestamp>)>,
    empty: String,
) -> Result<(), sqlx::Error> {
    let names: Vec<_> = wakes.iter().map(|(name, ..)| name.as_str()).collect();
    let accounts: Vec<_> = wakes.iter().map(|(_, account, _)| account.as_str()).collect();
    let times: Vec<_> = wakes.iter().map(|(.., wake)| wake.map(Timestamp::as_millisecond)).collect();
    let mut transaction = connection.begin().await?;
    // Two processes that start together would wait for each other's rows.
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('rekeyd enrols', 0))";
    sqlx::query(lock).execute(&mut *transaction).await?;
    sqlx::query(REST).bind(&names).execute(&mut *transaction).await?;
    let enrol = sqlx::query(ENROL).bind(&names).bind(&accounts).bind(times).bind(empty);
    enrol.execute(&mut *transaction).await?;
    transaction.commit().await
}

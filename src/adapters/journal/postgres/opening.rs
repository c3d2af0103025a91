//! Opening the journal on a server: how it is reached, its schema, and the checks that it is whole and ours.

use super::super::rows::{corrupt, count, unavailable};
use crate::adapters::secrets;
use crate::model::key::LabelKey;
use crate::model::names::Instance;
use crate::model::policy::PostgresState;
use crate::model::time::Uptime;
use crate::ports::JournalError;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Row, SqlSafeStr};
use std::str::FromStr;
use std::time::Duration;

const SCHEMA: &str = include_str!("schema.sql");
const SUBACCOUNTS: &str = include_str!("../subaccount.sql");
/// How long a connection is waited for, and an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Enough to keep a server busy that syncs its log for all of them together.
const CONNECTIONS: u32 = 12;

/// How the server is reached. A statement that takes longer than we wait for it must not take effect later, and a process
/// that is stopped in the middle of a transaction must not keep its locks (PostgreSQL docs, "Client Connection Defaults").
fn options(state: &PostgresState) -> Result<PgConnectOptions, JournalError> {
    let unreadable = |error: &dyn std::fmt::Display| JournalError::Unavailable(error.to_string());
    let mut options = PgConnectOptions::from_str(state.url.as_str()).map_err(|error| unreadable(&error))?;
    if let Some(source) = &state.password {
        let password = secrets::read(source).map_err(|error| unreadable(&error))?;
        options = options.password(password.expose());
    }
    let mode = if state.may_be_plain() { PgSslMode::Prefer } else { PgSslMode::VerifyFull };
    let asked = state.url.query_pairs().any(|(key, _)| key == "sslmode");
    let options = if asked { options } else { options.ssl_mode(mode) };
    Ok(options.application_name("rekeyd").disable_statement_logging().options([
        ("search_path", "rekeyd"),
        ("statement_timeout", "10s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "10s"),
        ("synchronous_commit", "on"),
    ]))
}

/// Connections to the server; the first is made now, so that a wrong address or password shows at once.
pub(super) async fn pool(state: &PostgresState) -> Result<PgPool, JournalError> {
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE).test_before_acquire(false);
    pool.connect_with(options(state)?).await.map_err(unavailable)
}

/// Makes the tables where they are missing; processes that start together take turns.
pub(super) async fn migrate(connection: &mut PgConnection) -> Result<(), JournalError> {
    let schema = sqlx::query("CREATE SCHEMA IF NOT EXISTS rekeyd");
    let there: bool = sqlx::query_scalar("SELECT to_regnamespace('rekeyd') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(unavailable)?;
    if !there && let Err(error) = schema.execute(&mut *connection).await {
        // Two that start together may both find it missing; the second is told so in one of two ways.
        let raced = error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code.starts_with("23"));
        if !raced {
            return Err(unavailable(error));
        }
    }
    let first = Migration::new(1, "the journal".into(), MigrationType::Simple, SCHEMA.into_sql_str(), false);
    let second = Migration::new(2, "subaccounts".into(), MigrationType::Simple, SUBACCOUNTS.into_sql_str(), false);
    // A journal written by a newer version holds a migration that is not known here, and is refused.
    Migrator::with_migrations(vec![first, second])
        .run_direct(None, connection, false)
        .await
        .map_err(|error| JournalError::Corrupt(format!("its schema does not fit this version of rekeyd: {error}")))
}

/// The last entry of every credential is the one that its state was made from.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), JournalError> {
    let broken: Option<String> =
        sqlx::query_scalar(super::super::sql::BROKEN).fetch_optional(connection).await.map_err(unavailable)?;
    match broken {
        Some(name) => Err(JournalError::Corrupt(format!("the state of `{name}` is not that of its last entry"))),
        None => Ok(()),
    }
}

/// A new journal gets its name and its key for labels.
pub(super) async fn found(
    connection: &mut PgConnection,
    instance: &Instance,
    key: [u8; 32],
) -> Result<(), JournalError> {
    let query = "INSERT INTO installation (id, instance, label_key, uptime_ms, ticked_ms) \
                 VALUES (1, $1, $2, 0, (extract(epoch FROM clock_timestamp()) * 1000)::bigint) ON CONFLICT DO NOTHING";
    let insert = sqlx::query(query).bind(instance.as_str()).bind(key.to_vec());
    insert.execute(connection).await.map_err(unavailable)?;
    Ok(())
}

/// What the journal is: whose, its key, and its running time.
pub(super) async fn installation(
    connection: &mut PgConnection,
    instance: &Instance,
) -> Result<(LabelKey, Uptime), JournalError> {
    let row = sqlx::query("SELECT instance, label_key, uptime_ms FROM installation").fetch_optional(connection).await;
    let row = row.map_err(unavailable)?.ok_or_else(|| JournalError::Unavailable("it was never begun".into()))?;
    let owner: String = row.get(0);
    if owner != instance.as_str() {
        let detail = format!("it belongs to the instance `{owner}`, the policy names `{instance}`");
        return Err(JournalError::Corrupt(detail));
    }
    let key = <[u8; 32]>::try_from(row.get::<Vec<u8>, _>(1));
    let key = LabelKey::new(key.map_err(|_| corrupt("its label key has a wrong length"))?);
    Ok((key, Uptime(count(row.get(2)))))
}

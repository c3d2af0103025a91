//! `state`: where the journal lies, in a file or on a PostgreSQL server.

use super::daemon::maybe_secret;
use super::reader::{Field, Table};
use super::suggest::did_you_mean;
use crate::model::policy::{PostgresState, StateUrl};
use std::path::{Component, Path, PathBuf};
use url::Url;

const STATE: &str = "sqlite:// and an absolute path, such as \"sqlite:///var/lib/rekeyd/journal.db\", or \
                     \"postgres://USER@HOST/DATABASE\"";
const SERVER: &str = "\"postgres://USER@HOST/DATABASE\", perhaps with a port, and with `sslrootcert`, `sslcert`, \
                      `sslkey`, `sslmode` or `host` behind a `?`";
/// What may stand behind the `?` (libpq's names: PostgreSQL docs, "Parameter Key Words").
const OPTIONS: [&str; 5] = ["host", "sslcert", "sslkey", "sslmode", "sslrootcert"];

/// Reads `state`, and where the password of a server is.
pub(super) fn state(table: &Table<'_>) -> Option<StateUrl> {
    let usual = StateUrl::Sqlite("/var/lib/rekeyd/journal.db".into());
    let state = table.or("state", usual, place);
    let (file, env) = ("state_password_file", "state_password_env");
    let password = maybe_secret(table, file, env);
    match state {
        Some(StateUrl::Postgres(server)) => Some(StateUrl::Postgres(PostgresState { password, ..server })),
        Some(StateUrl::Sqlite(path)) => {
            let given = table.field(file).or(table.field(env));
            let accepts = "this key beside `state = \"postgres://…\"` only";
            given.inspect(|field| field.doubt("a journal in a file has no password", accepts));
            Some(StateUrl::Sqlite(path))
        }
        None => None,
    }
}

fn place(field: Field<'_>) -> Option<StateUrl> {
    let text = field.value().as_str().unwrap_or_default();
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return field.parse(SERVER, server).map(StateUrl::Postgres);
    }
    field.parse(STATE, |text| {
        let path = text.strip_prefix("sqlite://").ok_or("this is not the place of a journal")?;
        if !path.starts_with('/') {
            return Err("the path of the journal must be absolute: three slashes behind `sqlite:`");
        }
        let file =
            matches!(Path::new(path).components().next_back(), Some(Component::Normal(_))) && !path.ends_with('/');
        if !file || path.contains(['?', '#', '%']) || path.contains(char::is_control) {
            return Err("this is not the path of a file; options (`?`, `#`, `%`) are not known here");
        }
        Ok(StateUrl::Sqlite(PathBuf::from(path)))
    })
}

fn server(text: &str) -> Result<PostgresState, String> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("an address has no blanks and no backslashes".into());
    }
    let url = Url::parse(text).map_err(|_| "this is not an address: postgres://, a user, @ and a host")?;
    if url.password().is_some() {
        return Err("a password does not belong here: `state_password_file` says where it is".into());
    }
    let mut unknown = url.query_pairs().filter(|(key, _)| !OPTIONS.contains(&key.as_ref()));
    if let Some((key, _)) = unknown.next() {
        return Err(format!("`{}` is not known behind the `?`{}", plain(&key), did_you_mean(&key, OPTIONS)));
    }
    let database = url.path().trim_start_matches('/');
    if url.username().is_empty() || database.is_empty() || database.contains('/') || url.fragment().is_some() {
        return Err("it needs a user before the @ and the name of one database behind the host".into());
    }
    let option = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    if url.host_str().is_none_or(str::is_empty) && option("host").is_none() {
        return Err("it needs a host, or `?host=/run/postgresql` for a socket".into());
    }
    for name in ["host", "sslcert", "sslkey", "sslrootcert"] {
        if option(name).is_some_and(|path| !path.starts_with('/')) {
            return Err(format!("`{name}` behind the `?` is an absolute path"));
        }
    }
    if option("sslcert").is_some() != option("sslkey").is_some() {
        return Err("`sslcert` and `sslkey` belong together".into());
    }
    let state = PostgresState { url: url.clone(), password: None };
    match option("sslmode").as_deref() {
        None | Some("verify-full" | "verify-ca") => Ok(state),
        Some("disable" | "allow" | "prefer" | "require") if state.may_be_plain() => Ok(state),
        Some("disable" | "allow" | "prefer" | "require") => Err(
            "somebody on the way could pose as the server: `sslmode` is verify-full, or verify-ca, but on this machine"
                .into(),
        ),
        Some(_) => {
            Err("`sslmode` is verify-full, verify-ca, or on this machine require, prefer, allow or disable".into())
        }
    }
}

/// As much of a name as may be shown.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || "-_[]".contains(*c)).take(32).collect()
}

//! `[daemon]`: the installation and its journal; and how any part of the file says where a secret is.

use super::reader::{Field, Table};
use super::state::state;
use crate::model::names::Instance;
use crate::model::policy::{Listen, ListenTls, SecretSource, StateUrl};
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

const PATH: &str = "the path of a file, beginning with /";
const VARIABLE: &str = "the name of an environment variable, of A-Z, a-z, 0-9 and _";

/// `[daemon]`, as far as it could be read.
#[derive(Default)]
pub(super) struct Daemon {
    pub instance: Option<Instance>,
    pub state: Option<StateUrl>,
    pub listen: Option<Listen>,
}

/// Reads `[daemon]`.
pub(super) fn daemon(root: &Table<'_>) -> Daemon {
    let accepts = "a table `[daemon]` with at least `instance = \"prod\"`";
    let Some(table) = root.need("daemon", accepts, |field| field.table(accepts)) else { return Daemon::default() };
    let instance = table.need("instance", Instance::ACCEPTS, |field| {
        field.parse(Instance::ACCEPTS, |text| Instance::new(text).map_err(|_| "this is no name for an installation"))
    });
    let state = state(&table);
    let listen = listen(&table);
    table.finish();
    Daemon { instance, state, listen }
}

/// Where a secret comes from that may be missing: a file or an environment variable, not both.
pub(super) fn maybe_secret(table: &Table<'_>, file: &'static str, env: &'static str) -> Option<SecretSource> {
    let given = table.field(file).or(table.field(env));
    given.and_then(|_| secret(table, file, env))
}

/// Where a secret comes from: exactly one of a file and an environment variable.
pub(super) fn secret(table: &Table<'_>, file: &'static str, env: &'static str) -> Option<SecretSource> {
    let (from_file, from_env) = (table.field(file), table.field(env));
    match (from_file, from_env) {
        (Some(field), None) => absolute_path(field).map(SecretSource::File),
        (None, Some(field)) => variable(field).map(SecretSource::Env),
        (Some(_), Some(second)) => {
            second.wrong(format!("there is a `{file}` already: it can not be known which is right"), "one of the two");
            None
        }
        (None, None) => {
            if !table.has_stray_secret() {
                table.missing(file, "it is not said where the secret is", &format!("one of `{file}` and `{env}`"));
            }
            None
        }
    }
}

/// An absolute path of a file.
pub(super) fn absolute_path(field: Field<'_>) -> Option<PathBuf> {
    field.parse(PATH, |text| {
        if !text.starts_with('/') {
            return Err("a path must be absolute; `~` and `$VARIABLE` are not known here");
        }
        let ends_in_name = matches!(Path::new(text).components().next_back(), Some(Component::Normal(_)));
        if text.ends_with('/') || !ends_in_name || text.contains(char::is_control) {
            return Err("this is not the path of a file");
        }
        Ok(PathBuf::from(text))
    })
}

fn variable(field: Field<'_>) -> Option<String> {
    field.parse(VARIABLE, |text| {
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let fits = text.chars().all(letters) && !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit());
        if fits { Ok(text.to_owned()) } else { Err("this is not the name of an environment variable") }
    })
}

/// Where the listener is, and what it shows and asks for.
fn listen(table: &Table<'_>) -> Option<Listen> {
    let names = ("listen_cert_file", "listen_key_file", "listen_token_file");
    let address = table.or("listen", SocketAddr::from(([127, 0, 0, 1], 9849)), address);
    let [certificate, key, token] = [names.0, names.1, names.2].map(|name| table.maybe(name, absolute_path));
    let tls = match (certificate?, key?) {
        (Some(certificate), Some(key)) => Some(ListenTls { certificate, key }),
        (None, None) => None,
        (Some(_), None) => return lacks(table, names.1, "the certificate has no private key beside it"),
        (None, Some(_)) => return lacks(table, names.0, "the private key has no certificate beside it"),
    };
    let (address, token) = (address?, token?);
    if tls.is_none() && !address.ip().is_loopback() {
        let accepts = format!("`{}` and `{}` beside it, or a loopback address", names.0, names.1);
        let asked = table.field(names.2);
        asked.inspect(|field| field.doubt("over http, everybody on the way can read the token", accepts));
    }
    Some(Listen { address, tls, token })
}

fn lacks<T>(table: &Table<'_>, key: &'static str, message: &str) -> Option<T> {
    table.missing(key, message, "both of `listen_cert_file` and `listen_key_file`, or none");
    None
}

fn address(field: Field<'_>) -> Option<SocketAddr> {
    field.parse("an IP address and a port, such as \"127.0.0.1:9849\" or \"[::1]:9849\"", |text| {
        text.parse::<SocketAddr>().map_err(|_| "this is not an IP address with a port")
    })
}

//! `[sinks.NAME]`: the places that serve secrets, and how to reach them.

use super::address::{SERVER, region};
use super::daemon::{absolute_path, secret};
use super::reader::{Field, Table};
use crate::model::names::SinkName;
use crate::model::policy::{SinkPolicy, VaultAuth};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Component, PathBuf};

/// The kinds of sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Vault,
    SecretsManager,
    Directory,
}

/// All sinks of the file.
#[derive(Default)]
pub(super) struct Sinks<'a> {
    /// The sinks that are right.
    pub right: BTreeMap<SinkName, SinkPolicy>,
    /// Every sink of the file by its name, right or not; none if the name itself is wrong.
    pub named: HashMap<&'a str, Option<Named<'a>>>,
}

/// A sink as the credentials refer to it.
pub(super) struct Named<'a> {
    /// Its name.
    pub name: SinkName,
    /// Its kind, if that could be read.
    pub kind: Option<Kind>,
    /// Equal numbers mean one store under two names; none if it could not be read.
    pub store: Option<usize>,
    /// Whether a credential is published there.
    pub used: Cell<bool>,
    /// Where it is defined.
    pub field: Field<'a>,
}

const TABLES: &str = "tables `[sinks.NAME]`, each with a `kind`";
const SEGMENTS: &str = "parts of a-z, A-Z, 0-9 and -_.~@:+=, with single slashes between";

/// Reads every sink; `table` is `[sinks]`.
pub(super) fn sinks<'a>(table: Option<&'a Table<'_>>) -> Sinks<'a> {
    let mut sinks = Sinks::default();
    let mut stores: HashMap<String, usize> = HashMap::new();
    for (key, field) in table.map(|table| table.named()).unwrap_or_default() {
        let Ok(name) = SinkName::new(key.get_ref()) else {
            field.misnamed(key, "this is no name for a sink", SinkName::ACCEPTS);
            sinks.named.insert(key.get_ref(), None);
            continue;
        };
        let (kind, policy) = sink(field);
        let store = policy.as_ref().map(|policy| {
            let next = stores.len();
            *stores.entry(identity(policy)).or_insert(next)
        });
        let named = Named { name: name.clone(), kind, store, used: Cell::new(false), field };
        sinks.named.insert(key.get_ref(), Some(named));
        if let Some(policy) = policy {
            sinks.right.insert(name, policy);
        }
    }
    sinks
}

/// `[sinks]` itself.
pub(super) fn table<'a>(field: &Field<'a>) -> Option<Table<'a>> {
    field.table(TABLES)
}

fn sink(field: Field<'_>) -> (Option<Kind>, Option<SinkPolicy>) {
    let Some(table) = field.table(TABLES) else { return (None, None) };
    let kinds = [("vault", Kind::Vault), ("aws-secrets-manager", Kind::SecretsManager), ("directory", Kind::Directory)];
    let kind =
        table.need("kind", "\"vault\" or \"aws-secrets-manager\" or \"directory\"", |field| field.choice(&kinds));
    let policy = match kind {
        // Which keys belong here is not known without a kind.
        None => return (None, None),
        Some(Kind::Vault) => vault(&table),
        Some(Kind::SecretsManager) => secrets_manager(&table),
        Some(Kind::Directory) => directory(&table),
    };
    table.finish_without_secrets(match kind {
        Some(Kind::SecretsManager) => {
            "no secret: AWS's own sources are used (environment, profile, role of the machine)"
        }
        _ => "no secret: none is needed here",
    });
    (kind, policy)
}

fn vault(table: &Table<'_>) -> Option<SinkPolicy> {
    let address = table.need("address", SERVER, |field| field.server_address());
    let mount = table.need("mount", "the path of a KV version 2 engine, such as \"secret\"", segments);
    let namespace = table.maybe("namespace", segments);
    let ca_file = table.maybe("ca_file", absolute_path);
    let accepts = "{ method = \"token\", token_file = \"/…\" } or { method = \"approle\", role_id = \"…\", \
                   secret_id_file = \"/…\" }";
    let auth = table.need("auth", accepts, |field| auth(&field.table(accepts)?));
    Some(SinkPolicy::Vault { address: address?, mount: mount?, namespace: namespace?, ca_file: ca_file?, auth: auth? })
}

fn auth(table: &Table<'_>) -> Option<VaultAuth> {
    let methods = [("token", false), ("approle", true)];
    let accepts = "\"token\" or \"approle\"";
    let approle = table.need("method", accepts, |field| field.choice(&methods))?;
    let auth = if approle {
        let accepts = "the role's id, as `vault read auth/approle/role/NAME/role-id` tells it";
        let mount = table.or("mount", "approle".to_owned(), segments);
        let role_id = table.need("role_id", accepts, |field| {
            field.parse(accepts, |text| {
                let fits =
                    !text.is_empty() && text.len() <= 256 && !text.contains(|c: char| c.is_control() || c == ' ');
                if fits { Ok(text.to_owned()) } else { Err("this is not the id of a role") }
            })
        });
        let secret_id = secret(table, "secret_id_file", "secret_id_env");
        mount.zip(role_id).zip(secret_id).map(|((mount, role_id), secret_id)| VaultAuth::AppRole {
            mount,
            role_id,
            secret_id,
        })
    } else {
        secret(table, "token_file", "token_env").map(|token| VaultAuth::Token { token })
    };
    table.finish();
    auth
}

fn secrets_manager(table: &Table<'_>) -> Option<SinkPolicy> {
    let accepts = "a region of AWS, such as \"eu-west-1\"";
    let region = table.need("region", accepts, |field| field.parse(accepts, region));
    let endpoint_url = table.maybe("endpoint_url", |field| field.server_address());
    Some(SinkPolicy::SecretsManager { region: region?, endpoint_url: endpoint_url? })
}

fn directory(table: &Table<'_>) -> Option<SinkPolicy> {
    let accepts = "an absolute path, such as \"/var/lib/rekeyd/secrets\"";
    let path = table.need("path", accepts, |field| {
        field.parse(accepts, |text| {
            if !text.starts_with('/') {
                return Err("a path must be absolute; `~` and `$VARIABLE` are not known here");
            }
            let path = PathBuf::from(text);
            if path.components().any(|part| part == Component::ParentDir) {
                return Err("`..` could lead anywhere");
            }
            if text.contains(char::is_control) {
                return Err("this is not the path of a directory: there is a control character in it");
            }
            // Rebuilt from its parts, so that `/a//b/` and `/a/b` are one directory.
            Ok(path.components().collect::<PathBuf>())
        })
    });
    Some(SinkPolicy::Directory { path: path? })
}

/// A path inside a Vault server, without slashes at its ends.
fn segments(field: Field<'_>) -> Option<String> {
    field.parse(SEGMENTS, vault_path)
}

/// Checks a path inside a Vault server. Whatever has a meaning in a URL is refused: `vaultrs` drops `..` quietly.
pub(super) fn vault_path(text: &str) -> Result<String, &'static str> {
    let path = text.trim_matches('/');
    let letters = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~@:+=,".contains(&byte));
    if path.is_empty() || path.len() > 512 {
        return Err("a path in Vault has 1 to 512 characters");
    }
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err("no part of a path may be empty, `.` or `..`");
    }
    if path.split('/').all(letters) {
        Ok(path.to_owned())
    } else {
        Err("this path has a character that Vault may misread")
    }
}

/// What makes two sinks the same store, whatever they are called.
pub(super) fn identity(policy: &SinkPolicy) -> String {
    match policy {
        SinkPolicy::Vault { address, mount, namespace, .. } => {
            format!("vault {address} {} {mount}", namespace.as_deref().unwrap_or("-"))
        }
        SinkPolicy::SecretsManager { region, endpoint_url } => {
            format!("aws {region} {}", endpoint_url.as_ref().map_or("-", |url| url.as_str()))
        }
        SinkPolicy::Directory { path } => format!("directory {}", path.display()),
    }
}

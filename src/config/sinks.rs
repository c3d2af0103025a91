//! `[sinks.NAME]`: the places that serve secrets, and how to reach them.

mod aws;
mod kubernetes;
mod vault;

use super::reader::{Field, Table};
use crate::model::names::SinkName;
use crate::model::policy::{AssumeRole, KubernetesPolicy, SecretsManagerPolicy, SinkPolicy, VaultPolicy};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Component, PathBuf};
pub(super) use vault::vault_path;

/// The kinds of sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Vault,
    SecretsManager,
    Kubernetes,
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
    let kinds = [
        ("vault", Kind::Vault),
        ("aws-secrets-manager", Kind::SecretsManager),
        ("kubernetes", Kind::Kubernetes),
        ("directory", Kind::Directory),
    ];
    let accepts = "\"vault\" or \"aws-secrets-manager\" or \"kubernetes\" or \"directory\"";
    let kind = table.need("kind", accepts, |field| field.choice(&kinds));
    let policy = match kind {
        // Which keys belong here is not known without a kind.
        None => return (None, None),
        Some(Kind::Vault) => vault::vault(&table).map(SinkPolicy::Vault),
        Some(Kind::SecretsManager) => aws::secrets_manager(&table).map(SinkPolicy::SecretsManager),
        Some(Kind::Kubernetes) => kubernetes::kubernetes(&table).map(SinkPolicy::Kubernetes),
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

/// What makes two sinks the same store, whatever they are called.
pub(super) fn identity(policy: &SinkPolicy) -> String {
    match policy {
        SinkPolicy::Vault(VaultPolicy { address, mount, namespace, .. }) => {
            format!("vault {address} {} {mount}", namespace.as_deref().unwrap_or("-"))
        }
        SinkPolicy::SecretsManager(SecretsManagerPolicy { region, endpoint_url, profile, assume_role, .. }) => {
            // One account and region is one store. Which account a profile leads to is not known here.
            let account = assume_role.as_ref().map(AssumeRole::account).or(profile.as_deref()).unwrap_or("-");
            format!("aws {region} {} {account}", endpoint_url.as_ref().map_or("-", |url| url.as_str()))
        }
        SinkPolicy::Kubernetes(KubernetesPolicy { namespace, server }) => {
            format!("kubernetes {} {namespace}", server.as_ref().map_or("-", |server| server.address.as_str()))
        }
        SinkPolicy::Directory { path } => format!("directory {}", path.display()),
    }
}

/// The kind of a sink.
pub(super) fn kind(policy: &SinkPolicy) -> Kind {
    match policy {
        SinkPolicy::Vault(_) => Kind::Vault,
        SinkPolicy::SecretsManager(_) => Kind::SecretsManager,
        SinkPolicy::Kubernetes(_) => Kind::Kubernetes,
        SinkPolicy::Directory { .. } => Kind::Directory,
    }
}

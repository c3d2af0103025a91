//! `[sinks.NAME]` with `kind = "vault"`: an engine of HashiCorp Vault or OpenBao.

use super::super::address::SERVER;
use super::super::daemon::{absolute_path, secret};
use super::super::reader::{Field, Table};
use crate::model::policy::{VaultAuth, VaultPolicy};

const SEGMENTS: &str = "parts of a-z, A-Z, 0-9 and -_.~@:+=, with single slashes between";

pub(super) fn vault(table: &Table<'_>) -> Option<VaultPolicy> {
    let address = table.need("address", SERVER, |field| field.server_address());
    let mount = table.need("mount", "the path of a KV version 2 engine, such as \"secret\"", segments);
    let namespace = table.maybe("namespace", segments);
    let ca_file = table.maybe("ca_file", absolute_path);
    let accepts = "{ method = \"token\", token_file = \"/…\" } or { method = \"approle\", role_id = \"…\", \
                   secret_id_file = \"/…\" }";
    let auth = table.need("auth", accepts, |field| auth(&field.table(accepts)?));
    Some(VaultPolicy { address: address?, mount: mount?, namespace: namespace?, ca_file: ca_file?, auth: auth? })
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

/// A path inside a Vault server, without slashes at its ends.
fn segments(field: Field<'_>) -> Option<String> {
    field.parse(SEGMENTS, vault_path)
}

/// Checks a path inside a Vault server. Whatever has a meaning in a URL is refused: `vaultrs` drops `..` quietly.
pub(in crate::config) fn vault_path(text: &str) -> Result<String, &'static str> {
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

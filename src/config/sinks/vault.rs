//! `[sinks.NAME]` with `kind = "vault"`: an engine of HashiCorp Vault or OpenBao.

use super::super::address::SERVER;
use super::super::daemon::{absolute_path, secret};
use super::super::reader::{Field, Table};
use crate::model::policy::{ClientCertificate, SecretSource, VaultAuth, VaultPolicy};
use std::collections::BTreeMap;
use std::path::PathBuf;

const AUTH: &str = "{ method = \"token\", token_file = \"/…\" }, { method = \"approle\", role_id = \"…\", secret_id_file = \
                    \"/…\" }, { method = \"kubernetes\", role = \"…\" }, { method = \"jwt\", role = \"…\", jwt_file = \"/…\" } \
                    or { method = \"cert\" }";
const ROLE: &str = "the name of a role: 1 to 256 characters without blanks";
/// Where Kubernetes puts the token of a pod's service account (Kubernetes docs, "Configure Service Accounts for Pods").
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
const NOTES: &str = "up to 64 names of 1 to 128 bytes with texts of up to 512, such as { owner = \"payments\" }";
const SEGMENTS: &str = "parts of a-z, A-Z, 0-9 and -_.~@:+=, with single slashes between";

pub(super) fn vault(table: &Table<'_>) -> Option<VaultPolicy> {
    let address = table.need("address", SERVER, |field| field.server_address());
    let mount = table.need("mount", "the path of a KV version 2 engine, such as \"secret\"", segments);
    let namespace = table.maybe("namespace", segments);
    let ca_file = table.maybe("ca_file", absolute_path);
    let client = client(table);
    let auth = table.need("auth", AUTH, |field| auth(&field.table(AUTH)?));
    let notes = table.or("custom_metadata", BTreeMap::new(), notes);
    let (client, auth) = (client?, auth?);
    if let (VaultAuth::Certificate { .. }, None, Some(field)) = (&auth, &client, table.field("auth")) {
        field.clashes("there is no certificate to sign in with", "`client_cert_file` and `client_key_file` beside it");
        return None;
    }
    let (namespace, ca_file) = (namespace?, ca_file?);
    Some(VaultPolicy { address: address?, mount: mount?, namespace, ca_file, client, auth, custom_metadata: notes? })
}

/// The certificate and its key: both or neither.
fn client(table: &Table<'_>) -> Option<Option<Box<ClientCertificate>>> {
    let certificate = table.maybe("client_cert_file", absolute_path);
    let key = table.maybe("client_key_file", absolute_path);
    let alone = "neither is of use without the other";
    match (certificate?, key?) {
        (Some(certificate), Some(key)) => Some(Some(Box::new(ClientCertificate { certificate, key }))),
        (None, None) => Some(None),
        (Some(_), None) => {
            table.missing("client_key_file", alone, "the file of the certificate's private key, in PEM");
            None
        }
        (None, Some(_)) => {
            table.missing("client_cert_file", alone, "the file of the certificate that the key belongs to, in PEM");
            None
        }
    }
}

#[derive(Clone, Copy)]
enum Method {
    Token,
    AppRole,
    Kubernetes,
    Jwt,
    Certificate,
}

fn auth(table: &Table<'_>) -> Option<VaultAuth> {
    let methods = [
        ("token", Method::Token),
        ("approle", Method::AppRole),
        ("kubernetes", Method::Kubernetes),
        ("jwt", Method::Jwt),
        ("cert", Method::Certificate),
    ];
    let accepts = methods.map(|(word, _)| format!("\"{word}\"")).join(" or ");
    let auth = match table.need("method", &accepts, |field| field.choice(&methods))? {
        Method::Token => secret(table, "token_file", "token_env").map(|token| VaultAuth::Token { token }),
        Method::AppRole => {
            let accepts = "the role's id, as `vault read auth/approle/role/NAME/role-id` tells it";
            let mount = table.or("mount", "approle".to_owned(), segments);
            let role_id = table.need("role_id", accepts, |field| role(field, accepts));
            let secret_id = secret(table, "secret_id_file", "secret_id_env");
            mount.zip(role_id).zip(secret_id).map(|((mount, role_id), secret_id)| VaultAuth::AppRole {
                mount,
                role_id,
                secret_id,
            })
        }
        Method::Kubernetes => {
            let jwt = table.or("token_file", PathBuf::from(SERVICE_ACCOUNT), absolute_path);
            signed(table, "kubernetes", jwt)
        }
        Method::Jwt => {
            let jwt = table.need("jwt_file", "the path of a file that holds a JSON Web Token", absolute_path);
            signed(table, "jwt", jwt)
        }
        Method::Certificate => {
            let mount = table.or("mount", "cert".to_owned(), segments);
            let role = table.maybe("role", |field| role(field, ROLE));
            mount.zip(role).map(|(mount, role)| VaultAuth::Certificate { mount, role })
        }
    };
    table.finish();
    auth
}

/// What is said of both methods that take a JSON Web Token.
fn signed(table: &Table<'_>, usual: &str, jwt: Option<PathBuf>) -> Option<VaultAuth> {
    let mount = table.or("mount", usual.to_owned(), segments);
    let role = table.need("role", ROLE, |field| role(field, ROLE));
    Some(VaultAuth::Jwt { mount: mount?, role: role?, jwt: SecretSource::File(jwt?) })
}

fn role(field: Field<'_>, accepts: &str) -> Option<String> {
    field.parse(accepts, |text| {
        let fits = !text.is_empty() && text.len() <= 256 && !text.contains(|c: char| c.is_control() || c == ' ');
        if fits { Ok(text.to_owned()) } else { Err("this is not what a role is called by") }
    })
}

/// Vault takes up to 64 notes of such lengths for each path (`maxCustomMetadataKeys` and its neighbours in the source of
/// the KV engine).
fn notes(field: Field<'_>) -> Option<BTreeMap<String, String>> {
    let table = field.table(NOTES)?;
    let rows = table.named();
    if rows.len() > 64 {
        field.wrong("a path has room for 64 of them", NOTES);
        return None;
    }
    let plain = |text: &str, most: usize| text.len() <= most && !text.contains(char::is_control);
    let note = |key: &str, field: Field<'_>| {
        if key.is_empty() || !plain(key, 128) {
            field.wrong("this name does not fit into Vault's metadata", NOTES);
            return None;
        }
        let text = field.free_text(NOTES)?;
        if !plain(text, 512) {
            field.wrong("this text does not fit into Vault's metadata", NOTES);
            return None;
        }
        Some((key.to_owned(), text.to_owned()))
    };
    let read: Vec<_> = rows.into_iter().map(|(key, field)| note(key.get_ref(), field)).collect();
    read.into_iter().collect()
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

//! The sinks of the policy: what serves secrets, and how it is reached.

use super::policy::SecretSource;
use std::collections::BTreeMap;
use std::path::PathBuf;
use url::Url;

/// One sink.
#[derive(Clone)]
pub enum SinkPolicy {
    /// HashiCorp Vault or OpenBao, KV version 2.
    Vault(VaultPolicy),
    /// AWS Secrets Manager.
    SecretsManager(SecretsManagerPolicy),
    /// A directory of files.
    Directory {
        /// The directory.
        path: PathBuf,
    },
}

/// An engine of HashiCorp Vault or OpenBao, KV version 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultPolicy {
    /// The server.
    pub address: Url,
    /// The mount of the KV engine.
    pub mount: String,
    /// The namespace, for Vault Enterprise and OpenBao.
    pub namespace: Option<String>,
    /// The only certificates to trust, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What the daemon shows to a server that asks for a certificate.
    pub client: Option<Box<ClientCertificate>>,
    /// How to sign in.
    pub auth: VaultAuth,
    /// What is said of each path beside its content: the members of its `custom_metadata`.
    pub custom_metadata: BTreeMap<String, String>,
}

/// A certificate of the daemon's own, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The file of the certificate, and of those between it and its authority.
    pub certificate: PathBuf,
    /// The file of its private key.
    pub key: PathBuf,
}

/// How to sign in to Vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaultAuth {
    /// With a token that somebody made.
    Token {
        /// Where it is read from, again before each use.
        token: SecretSource,
    },
    /// With AppRole.
    AppRole {
        /// The auth mount.
        mount: String,
        /// The role.
        role_id: String,
        /// The secret of the role.
        secret_id: SecretSource,
    },
    /// With a JSON Web Token: that of a Kubernetes service account, or one of any other issuer.
    Jwt {
        /// The auth mount, of the method `kubernetes` or `jwt`.
        mount: String,
        /// The role.
        role: String,
        /// Where the token is read from, again at each login: whoever issues such tokens replaces them.
        jwt: SecretSource,
    },
    /// With the client certificate of the connection.
    Certificate {
        /// The auth mount.
        mount: String,
        /// The role; the server looks for one that fits if none is named.
        role: Option<String>,
    },
}

/// AWS Secrets Manager in one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretsManagerPolicy {
    /// The region.
    pub region: String,
    /// Another address than AWS's own, for emulators and private endpoints.
    pub endpoint_url: Option<Url>,
}

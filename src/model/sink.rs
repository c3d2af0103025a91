//! The sinks of the policy: what serves secrets, and how it is reached.

use super::policy::SecretSource;
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
    /// How to sign in.
    pub auth: VaultAuth,
}

/// How to sign in to Vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaultAuth {
    /// With a token that something else keeps fresh.
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
}

/// AWS Secrets Manager in one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretsManagerPolicy {
    /// The region.
    pub region: String,
    /// Another address than AWS's own, for emulators and private endpoints.
    pub endpoint_url: Option<Url>,
}

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
    /// The profile whose credentials are used, in place of the first source that has some.
    pub profile: Option<String>,
    /// The role that is assumed with those credentials.
    pub assume_role: Option<AssumeRole>,
    /// The KMS key that new secrets are encrypted with: its ARN, its id, or an alias; AWS's own key if none is named.
    pub kms_key: Option<String>,
    /// The tags of new secrets.
    pub tags: BTreeMap<String, String>,
    /// Where each secret is replicated to.
    pub replicas: Vec<Replica>,
}

/// A role of AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssumeRole {
    /// Its ARN.
    pub arn: String,
    /// What its trust policy may ask for (`sts:ExternalId`); not a secret (IAM user guide, "Access to AWS accounts owned
    /// by third parties").
    pub external_id: Option<String>,
    /// What the session is called in AWS's logs.
    pub session_name: String,
    /// Another address than AWS's own for STS, where roles are assumed.
    pub sts_endpoint_url: Option<Url>,
}

/// A copy of a secret in another region, which AWS keeps up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// The region.
    pub region: String,
    /// The KMS key there; AWS's own if none is named.
    pub kms_key: Option<String>,
}

impl AssumeRole {
    /// The account that the role belongs to: the fifth part of its ARN (IAM user guide, "IAM identifiers").
    pub fn account(&self) -> &str {
        self.arn.split(':').nth(4).unwrap_or_default()
    }
}

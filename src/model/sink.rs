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
    /// Secrets of Kubernetes.
    Kubernetes(KubernetesPolicy),
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

/// A namespace of a Kubernetes cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesPolicy {
    /// The namespace.
    pub namespace: String,
    /// The API server; none for that of the cluster that the daemon itself runs in.
    pub server: Option<ApiServer>,
}

/// An API server that is reached from outside its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiServer {
    /// Where it is.
    pub address: Url,
    /// The only certificates to trust, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The bearer token to sign in with, read again before each use.
    pub token: SecretSource,
}

/// Whether an object of Kubernetes can have this name: a subdomain by RFC 1123 (Kubernetes docs, "Object Names and IDs").
pub fn is_object_name(text: &str) -> bool {
    let label = |label: &str| {
        let letters = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        letters && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Whether the data of a Secret can have this key (Kubernetes docs, "Secrets", "Constraints on Secret names and data"; the
/// rest is `IsConfigMapKey` of its library `apimachinery`).
pub fn is_secret_key(text: &str) -> bool {
    let letters = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    (1..=253).contains(&text.len()) && letters && text != "." && !text.starts_with("..")
}

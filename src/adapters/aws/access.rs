//! How the calls are signed and where they go: the credentials of AWS, and the role that is assumed with them.
//!
//! Without a profile the credentials are those of the first source that has some: environment, profile, web identity,
//! container, instance (AWS SDKs and Tools Reference Guide, "Understand the credential provider chain"). Those that end
//! are asked for again in time. Nothing is called before the first request needs a signature.
//!
//! Calls to STS, to a container's agent and to the instance go over connections of our own too, through no proxy that the
//! environment names (decision 8).

use crate::model::policy::{AssumeRole, SecretsManagerPolicy};
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_secretsmanager::config::{IdentityCache, SharedHttpClient};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use std::time::Duration;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a call may take in all.
const TOTAL: Duration = Duration::from_secs(30);
/// How long one call for credentials may take, tries again included.
const SIGN_IN: Duration = Duration::from_secs(15);
/// How long credentials may take in all: less than the call that waits for them.
const CREDENTIALS: Duration = Duration::from_secs(20);

/// The configuration of the calls, but for the address.
pub(super) async fn config(policy: &SecretsManagerPolicy) -> SdkConfig {
    let version = BehaviorVersion::v2026_01_12();
    let region = Region::new(policy.region.clone());
    let timeouts = |total| TimeoutConfig::builder().connect_timeout(CONNECT).operation_timeout(total).build();
    let mut loader = aws_config::defaults(version)
        .http_client(connections())
        .region(region.clone())
        .identity_cache(IdentityCache::lazy().load_timeout(CREDENTIALS).build())
        .timeout_config(timeouts(SIGN_IN));
    if let Some(name) = &policy.profile {
        // The environment would go before it in the chain.
        let base = ProviderConfig::without_region().with_region(Some(region)).with_http_client(connections());
        let provider = ProfileFileCredentialsProvider::builder().configure(&base).profile_name(name).build();
        loader = loader.profile_name(name).credentials_provider(provider);
    }
    let mut config = loader.load().await;
    if let Some(role) = &policy.assume_role {
        config = assumed(config, role).await;
    }
    config.into_builder().timeout_config(timeouts(TOTAL)).build()
}

/// The same, signed as a session of the role.
async fn assumed(config: SdkConfig, role: &AssumeRole) -> SdkConfig {
    let AssumeRole { arn, external_id, session_name, sts_endpoint_url } = role;
    let mut caller = config.to_builder();
    if let Some(url) = sts_endpoint_url {
        caller.set_endpoint_url(Some(url.to_string()));
    }
    let mut provider = AssumeRoleProvider::builder(arn).session_name(session_name).configure(&caller.build());
    if let Some(id) = external_id {
        provider = provider.external_id(id);
    }
    config.into_builder().credentials_provider(SharedCredentialsProvider::new(provider.build().await)).build()
}

/// A new connection for each call: nearly every call carries a secret, and a kept connection keeps its buffers too. And
/// no proxy from the environment, as for all our calls.
pub(super) fn connections() -> SharedHttpClient {
    let builder = aws_smithy_http_client::Builder::new().pool_max_idle_per_host(0);
    builder.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https()
}

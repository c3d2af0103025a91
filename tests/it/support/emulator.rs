//! The emulator of AWS Secrets Manager, `tests/peers/secretsmanager.py`, and how to talk to it.

use super::peers::peers;
use super::server::Server;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_secretsmanager::config::Credentials;
use aws_sdk_secretsmanager::config::timeout::TimeoutConfig;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// The emulator that the tests of this process share.
pub(crate) fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(start)
}

fn start() -> Server {
    let python = peers().join("venv/bin/python");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/secretsmanager.py");
    let command = move |port: u16, _: &tempfile::TempDir| {
        let mut command = Command::new(&python);
        command.arg(script).arg(port.to_string());
        command
    };
    Server::start(command, "/moto-api/", "200")
}

/// A configuration that signs with this access key id; some ids stand for faults, see the script.
pub(crate) fn config(url: &str, access_key_id: &'static str) -> SdkConfig {
    config_with(url, Credentials::new(access_key_id, "x", None, None, "test"))
}

/// The same, in another region.
pub(crate) fn config_in(region: &'static str, url: &str, access_key_id: &'static str) -> SdkConfig {
    config(url, access_key_id).into_builder().region(Region::from_static(region)).build()
}

/// A configuration that takes its credentials from there.
pub(crate) fn config_with(url: &str, credentials: impl ProvideCredentials + 'static) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_timeout(Duration::from_secs(2)).build();
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("eu-west-1"))
        .endpoint_url(url)
        .timeout_config(timeouts)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// Credentials that end at once, and can be had so many times.
#[derive(Debug)]
pub(crate) struct Fleeting(pub(crate) AtomicUsize);

impl ProvideCredentials for Fleeting {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let none = |_| CredentialsError::not_loaded("there are no more");
        let some = |_| Credentials::new("GOOD", "x", None, Some(SystemTime::UNIX_EPOCH), "test");
        future::ProvideCredentials::ready(left.map(some).map_err(none))
    }
}

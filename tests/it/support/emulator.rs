//! The emulator of AWS Secrets Manager, `tests/peers/secretsmanager.py`, and how to talk to it.

use super::peers::peers;
use super::server::Server;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_secretsmanager::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_types::timeout::TimeoutConfig;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

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

/// A configuration that signs with this access key id, or with none; some ids stand for faults, see the script.
pub(crate) fn config(url: &str, access_key_id: Option<&str>) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_timeout(Duration::from_secs(2)).build();
    let credentials = access_key_id.map(|id| Credentials::new(id, "x", None, None, "test"));
    let mut builder = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("eu-west-1"))
        .endpoint_url(url)
        .timeout_config(timeouts);
    builder.set_credentials_provider(credentials.map(SharedCredentialsProvider::new));
    builder.build()
}

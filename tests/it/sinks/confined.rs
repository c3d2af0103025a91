//! No secret reaches a log, at any level, from our own code or from the libraries below it (protocol, S6).

use super::directory;
use super::secrets_manager;
use super::vault::{hand, with_token};
use super::{attempt, fence, fresh_place, look, pair, publish, put_pair};
use crate::support::openbao;
use rekeyd::model::names::Version;
use rekeyd::ports::Sink;
use serde_json::json;
use std::io::Write;
use std::sync::{Arc, Mutex};
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Everything that is logged on this thread while each operation is done, also one that fails.
async fn log_of(sink: &dyn Sink) -> String {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::info!("the log is on");
    let place = fresh_place();
    let base = put_pair(sink, &place, &pair(1)).await;
    let _ = fence(sink, &place, attempt(), &base).await;
    put_pair(sink, &place, &pair(2)).await;
    look(sink, &place).await;
    let _ = publish(sink, &place, &pair(3), &base).await;
    let _ = publish(sink, &super::place("../x"), &pair(4), &Version("0".into())).await;
    String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned()
}

/// The forms in which a log could show a secret: clear, base64, hexadecimal, and the bytes as `Debug` prints them.
fn forms(secret: &str) -> [String; 4] {
    use base64::Engine as _;
    let hex = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let bytes = format!("{:?}", secret.as_bytes());
    [
        secret.to_owned(),
        base64::engine::general_purpose::STANDARD_NO_PAD.encode(secret),
        hex,
        bytes.trim_matches(['[', ']']).to_owned(),
    ]
}

#[track_caller]
fn holds_no_secret(log: &str, token: Option<&str>) {
    assert!(log.contains("the log is on"));
    let secrets = (1..=4).map(|number| pair(number).secret.expose().to_owned());
    for secret in secrets.chain(token.map(str::to_owned)) {
        for form in forms(&secret) {
            let line = log.lines().find(|line| line.contains(&form));
            assert_eq!(line, None, "{secret} as {form}");
        }
    }
}

#[tokio::test]
async fn the_directory_sink_logs_no_secret() {
    let folder = directory::folder();
    holds_no_secret(&log_of(&directory::directory(&folder)).await, None);
}

#[tokio::test]
async fn the_vault_sink_logs_no_secret_and_no_token() {
    let token = "canary-token";
    hand().call("POST", "auth/token/create", json!({"id": token, "policies": ["root"]})).await;
    let (sink, _file) = with_token(&openbao::shared().url(), token);
    let log = log_of(&sink).await;
    assert!(log.contains("hyper"), "the libraries log nothing here:\n{log}");
    holds_no_secret(&log, Some(token));
    assert!(!log.contains(" ERROR "), "an error that is none");
}

#[tokio::test]
async fn the_secrets_manager_sink_logs_no_secret() {
    let log = log_of(&secrets_manager::sink()).await;
    assert!(log.contains("aws_smithy"), "the libraries log nothing here:\n{log}");
    holds_no_secret(&log, None);
    assert!(!log.contains(" ERROR "), "an error that is none");
}

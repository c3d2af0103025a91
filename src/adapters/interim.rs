//! Stand-in for `adapters::http` and `adapters::secrets`: the three functions that the sinks need of them.

use super::content::Text;
use crate::model::fault::{Failure, Fault};
use crate::model::policy::SecretSource;
use crate::model::secret::Secret;
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a whole exchange may take.
const TOTAL: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes.
const LIMIT: usize = 1024 * 1024;

/// Builds a client that follows no redirect, repeats nothing and asks the environment for no proxy.
pub fn client(ca_file: Option<&Path>) -> Result<reqwest::Client, Failure> {
    let local = |detail: String| Failure::new(Fault::Local, &detail);
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .timeout(TOTAL)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy();
    if let Some(path) = ca_file {
        let pem = std::fs::read(path).map_err(|error| local(format!("{}: {error}", path.display())))?;
        let bundle = reqwest::Certificate::from_pem_bundle(&pem);
        builder = builder.tls_certs_only(bundle.map_err(|error| local(format!("{}: {error}", path.display())))?);
    }
    builder.build().map_err(|error| local(error.to_string()))
}

/// Reads the body of an answer, up to the limit.
pub(super) async fn body(mut response: reqwest::Response) -> Result<Text, Failure> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > LIMIT {
            return Err(Failure::new(Fault::Malformed, "the answer is longer than 1 MiB"));
        }
    }
    Ok(body)
}

fn broken(error: &reqwest::Error) -> Failure {
    match error.is_timeout() {
        true => Failure::new(Fault::Timeout, "no whole answer came in time"),
        false => Failure::new(Fault::Unreachable, "the connection was cut before the whole answer had come"),
    }
}

/// Reads a secret from where the policy says. It blocks for as long as the file system does.
#[expect(clippy::disallowed_methods, reason = "this is where a secret comes in from the environment")]
pub(super) fn secret(source: &SecretSource) -> Result<Secret, String> {
    let text = match source {
        SecretSource::File(path) => {
            std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?
        }
        SecretSource::Env(name) => std::env::var(name).map_err(|_| format!("{name} is not set"))?,
    };
    let text = Zeroizing::new(text);
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("the secret is empty".to_owned()),
        line => Ok(Secret::new(line.to_owned())),
    }
}

//! A real OpenBao server in development mode: in memory, unsealed, with the root token `root`.

use super::peers::peers;
use super::server::{Server, answers};
use serde_json::Value;
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// The token that may do everything.
pub(crate) const ROOT: &str = "root";

/// The server that the tests of this process share.
pub(crate) fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(start)
}

/// A server of one's own, for tests that do it harm.
pub(crate) fn start() -> Server {
    start_with("http", |_| vec!["-dev".to_owned()])
}

/// A server with a certificate of its own authority, `vault-ca.pem` in its folder.
pub(crate) fn start_with_tls() -> Server {
    start_with("https", |folder| vec!["-dev-tls".to_owned(), format!("-dev-tls-cert-dir={}", folder.path().display())])
}

fn start_with(scheme: &str, mode: impl Fn(&TempDir) -> Vec<String>) -> Server {
    let bao = peers().join("venv/bin/bao");
    let command = |port: u16, folder: &TempDir| {
        let mut command = Command::new(&bao);
        command
            .arg("server")
            .args(mode(folder))
            .args(["-dev-no-store-token", &format!("-dev-root-token-id={ROOT}")])
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
            .env("HOME", folder.path());
        command
    };
    // Over TLS the plain question is answered too, with 400.
    let tls = |port| answers(port, "/v1/sys/health", "", "400");
    // When the server is up, the store it begins with may still be made ready, and refuses writes until it is.
    let token = format!("X-Vault-Token: {ROOT}\r\n");
    let plain = |port| answers(port, "/v1/secret/config", &token, "200");
    Server::start_until(command, |port| if scheme == "http" { plain(port) } else { tls(port) })
}

/// The hand of an operator: calls the API as root.
pub(crate) struct Root {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Root {
    pub(crate) fn new(server: &Server) -> Self {
        Self::at(server.url(), reqwest::Client::new(), ROOT)
    }

    /// At a server that is reached in another way, with another token.
    pub(crate) fn at(url: String, http: reqwest::Client, token: &str) -> Self {
        Self { http, url, token: token.to_owned() }
    }

    /// Sends a request and expects it to succeed.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.send(method, path, body.to_string()).await;
        assert!(status < 300, "{method} {path}: {status} {answer}");
        serde_json::from_str(&answer).unwrap_or_default()
    }

    /// Sends a request; the status and the text of the answer.
    pub(crate) async fn send(&self, method: &str, path: &str, body: String) -> (u16, String) {
        let request = self.http.request(method.parse().unwrap(), format!("{}/v1/{path}", self.url));
        let answer = request.header("X-Vault-Token", &self.token).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

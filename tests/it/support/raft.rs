//! An OpenBao server as in production: its store on disk, sealed at its start, behind TLS with an authority of its own,
//! and closed to clients that show no certificate.

use super::authority::Authority;
use super::openbao::Root;
use super::peers::peers;
use super::server::{Server, answers};
use rekeyd::adapters::http::install_crypto;
use reqwest::{Certificate, Identity};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) struct Raft {
    pub(crate) url: String,
    /// What signed its certificate, and those of its clients.
    pub(crate) authority: Authority,
    /// A client's certificate and its key.
    pub(crate) client: (PathBuf, PathBuf),
    /// Who may do everything.
    pub(crate) hand: Root,
    unseal_key: String,
    /// Files that live as long as the server.
    _files: TempDir,
    _server: Server,
}

impl Raft {
    /// A server that is ready for work.
    pub(crate) async fn start() -> Self {
        install_crypto();
        let (files, authority) = (tempfile::tempdir().unwrap(), Authority::new("vault"));
        let (certificate, key) = authority.write("127.0.0.1", files.path(), "server");
        let client = authority.write("rekeyd", files.path(), "client");
        let command = |port: u16, folder: &TempDir| {
            let data = folder.path().join("data");
            std::fs::create_dir(&data).unwrap();
            let config = json!({
                "storage": {"raft": {"path": data, "node_id": "one"}},
                "listener": {"tcp": {
                    "address": format!("127.0.0.1:{port}"), "tls_cert_file": certificate, "tls_key_file": key,
                    "tls_require_and_verify_client_cert": true, "tls_client_ca_file": authority.file.path(),
                }},
                "api_addr": format!("https://127.0.0.1:{port}"),
                "cluster_addr": format!("https://127.0.0.1:{}", port + 1),
                "disable_mlock": true,
            });
            let file = folder.path().join("bao.json");
            std::fs::write(&file, config.to_string()).unwrap();
            let mut command = Command::new(peers().join("venv/bin/bao"));
            command.arg("server").arg(format!("-config={}", file.display())).env("HOME", folder.path());
            command
        };
        // Over TLS the plain question is answered too, with 400.
        let server = Server::start_until(command, |port| answers(port, "/v1/sys/health", "", "400"));
        let url = server.url().replace("http://", "https://");
        let http = Self::http(&authority, &client);
        let made = json!({"secret_shares": 1, "secret_threshold": 1});
        let made = Root::at(url.clone(), http.clone(), "none").call("PUT", "sys/init", made).await;
        let hand = Root::at(url.clone(), http, made["root_token"].as_str().unwrap());
        let unseal_key = made["keys"][0].as_str().unwrap().to_owned();
        let raft = Self { url, authority, client, hand, unseal_key, _files: files, _server: server };
        raft.unseal().await;
        raft
    }

    fn http(authority: &Authority, (certificate, key): &(PathBuf, PathBuf)) -> reqwest::Client {
        let both = [certificate, key].map(|file| std::fs::read(file).unwrap()).concat();
        let trusted = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
        let builder = reqwest::Client::builder().tls_certs_only([trusted]);
        builder.identity(Identity::from_pem(&both).unwrap()).build().unwrap()
    }

    pub(crate) async fn seal(&self) {
        self.hand.call("PUT", "sys/seal", Value::Null).await;
    }

    /// Unseals it and waits until it is at work.
    pub(crate) async fn unseal(&self) {
        self.hand.call("PUT", "sys/unseal", json!({"key": self.unseal_key})).await;
        self.until("GET", "sys/health", "").await;
    }

    /// Repeats a request until it succeeds: what was just enabled takes a moment.
    pub(crate) async fn until(&self, method: &str, path: &str, body: &str) {
        let mut told = (0, String::new());
        for _ in 0..400 {
            told = self.hand.send(method, path, body.to_owned()).await;
            if told.0 < 300 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{method} {path}: {told:?}");
    }
}

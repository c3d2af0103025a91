//! The sandbox in a process of its own, and what it counted.

use crate::server::free_port;
use crate::watched::Watched;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The account, the Main key and its secret: nothing of worth.
pub const ACCOUNT: &str = "AC00000000000000000000000000000001";
pub const MAIN_KEY: &str = "SK00000000000000000000000000000001";
pub const MAIN_SECRET: &str = "00000000000000000000000000000001";

/// Milliseconds that each call takes while it is measured.
pub const LATENCY: u64 = 50;

/// A running sandbox.
pub struct Sandbox {
    pub port: u16,
    _process: Watched,
}

impl Sandbox {
    /// Starts it; calls take no time until they are told to.
    pub fn start(folder: &Path, subaccounts: usize) -> Self {
        let port = free_port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeyd"));
        command.args(["sandbox", "--listen", &format!("127.0.0.1:{port}"), "--account", ACCOUNT]);
        command.args(["--main-key", MAIN_KEY, "--main-key-secret-file"]).arg(folder.join("main_key"));
        if subaccounts > 0 {
            command.args(["--subaccounts", &subaccounts.to_string()]);
        }
        let process = Watched::start(command);
        while ask(port, "GET", "/_sandbox/state", "").is_none() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { port, _process: process }
    }

    /// From now on each call takes so many milliseconds.
    pub fn latency(&self, ms: u64) {
        ask(self.port, "PUT", "/_sandbox/faults", &format!("{{\"latency_ms\":{ms}}}")).unwrap();
    }

    /// How many calls there were of each kind.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let state: Value = serde_json::from_str(&ask(self.port, "GET", "/_sandbox/state", "").unwrap()).unwrap();
        let mut calls = BTreeMap::new();
        for line in state["calls"].as_array().unwrap() {
            let operation = line["operation"].as_str().unwrap().to_owned();
            *calls.entry(operation).or_default() += line["count"].as_u64().unwrap();
        }
        calls
    }
}

/// One request over plain HTTP; nothing unless it is answered well.
pub fn ask(port: u16, method: &str, path: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n");
    write!(stream, "{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split(' ').nth(1)?.starts_with('2').then(|| body.to_owned())
}

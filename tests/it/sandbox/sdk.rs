//! Twilio's official SDKs against the sandbox: whoever wrote them did not know it.

use super::{Bench, CHILD, PARENT};
use crate::support::peers::peers;
use rekeyd::sandbox::Faults;
use rekeyd::sandbox::call::Operation;
use serde_json::json;
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs a script with the credentials on its standard input, and returns what it printed.
async fn run(bench: &Bench, command: &mut Command) -> String {
    let told = json!({
        "url": bench.sandbox.url(), "account": PARENT, "subaccount": CHILD,
        "main": [bench.main.0, bench.main.1], "token": bench.token(PARENT).1,
    });
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut script = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} does not start ({error}): run tests/run, or tests/peers/install"));
    script.stdin.take().unwrap().write_all(told.to_string().as_bytes()).await.unwrap();
    let output = script.wait_with_output().await.unwrap();
    let (printed, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}\n{complaint}");
    printed.into_owned()
}

/// What the world must have seen when a script claims to have done everything.
fn check(bench: &Bench) {
    let world = bench.sandbox.world().lock();
    let count = |operation, status| world.audit().count(operation, status);
    assert_eq!(count(Operation::CreateKey, 201), 7, "five keys, a signing key, and one in the subaccount");
    assert!(count(Operation::ListKeys, 200) >= 3, "the list was read in several pages");
    assert_eq!((count(Operation::CreateKey, 429), count(Operation::CreateKey, 400)), (1, 1));
    assert_eq!((count(Operation::UpdateKey, 200), count(Operation::DeleteKey, 204)), (1, 1));
    assert_eq!((count(Operation::FetchKey, 404), count(Operation::FetchKey, 400)), (1, 1));
    assert!(count(Operation::ListMessages, 200) >= 3 && count(Operation::ListNumbers, 200) >= 1);
    assert_eq!(count(Operation::ListMessages, 401), 1, "the key was tried after its end");
    assert_eq!((count(Operation::FetchAccount, 200), count(Operation::FetchAccount, 401)), (3, 1));
}

#[tokio::test]
async fn the_official_python_sdk_works_against_it() {
    let bench = Bench::new(Faults::default()).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/sdk.py");
    let mut python = Command::new(peers().join("venv/bin/python"));
    assert_eq!(run(&bench, python.arg(script)).await.trim(), "twilio 9.13.0: all checks passed");
    check(&bench);
}

#[tokio::test]
async fn the_official_node_sdk_works_against_it() {
    let bench = Bench::new(Faults::default()).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/sdk.mjs");
    let mut node = Command::new("node");
    let modules = peers().join("node/node_modules");
    assert!(modules.join("twilio").exists(), "Twilio's Node SDK is missing: run tests/run, or tests/peers/install");
    assert_eq!(run(&bench, node.arg(script).arg(modules)).await.trim(), "twilio 6.2.0: all checks passed");
    check(&bench);
}

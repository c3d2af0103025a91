//! Twilio's official SDKs against the sandbox: whoever wrote them did not know it.

use super::{Bench, CHILD, PARENT};
use crate::support::peers::peers;
use rekeyd::sandbox::Faults;
use rekeyd::sandbox::Form;
use rekeyd::sandbox::call::Operation;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs a script with the credentials on its standard input, and returns what it printed.
async fn run(bench: &Bench, command: &mut Command, more: Value) -> String {
    let mut told = json!({
        "url": bench.sandbox.url(), "account": PARENT, "subaccount": CHILD,
        "main": [bench.main.0, bench.main.1], "token": bench.token(PARENT).1,
    });
    told.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
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
    assert!(bench.judge.judged() > 20, "hardly anything was held against Twilio's documents");
    let world = bench.sandbox.world().lock();
    let count = |operation, status| world.audit().count(operation, status);
    assert_eq!(count(Operation::CreateKey, 201), 7, "five keys, a signing key, and one in the subaccount");
    assert!(count(Operation::ListKeys, 200) >= 3, "the list was read in several pages");
    assert_eq!((count(Operation::CreateKey, 429), count(Operation::CreateKey, 400)), (1, 1));
    assert_eq!((count(Operation::UpdateKey, 200), count(Operation::DeleteKey, 204)), (1, 1));
    assert_eq!((count(Operation::FetchKey, 404), count(Operation::FetchKey, 400)), (1, 1));
    assert!(count(Operation::ListMessages, 200) >= 3 && count(Operation::ListNumbers, 200) >= 1);
    assert_eq!(count(Operation::ListMessages, 401), 1, "the key was tried after its end");
    assert_eq!((count(Operation::CreateAccount, 201), count(Operation::UpdateAccount, 200)), (1, 2));
    assert_eq!((count(Operation::FetchAccount, 200), count(Operation::FetchAccount, 401)), (5, 2));
    let secondary = [201, 400, 401].map(|status| count(Operation::CreateSecondaryToken, status));
    assert_eq!(secondary, [2, 1, 1], "made twice, once too often, and once by a Main key");
    assert_eq!([204, 404].map(|status| count(Operation::DeleteSecondaryToken, status)), [1, 1]);
    assert_eq!([200, 404].map(|status| count(Operation::PromoteToken, status)), [1, 1]);
    assert_eq!(world.accounts().map(|account| account.mails).sum::<u64>(), 2, "those that were not suppressed");
    assert!(count(Operation::ListEvents, 200) >= 5);
    assert_eq!([200, 404].map(|status| count(Operation::FetchEvent, status)), [1, 1]);
}

#[tokio::test]
async fn the_official_python_sdk_works_against_it() {
    let bench = Bench::new(Faults::default()).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/sdk.py");
    let mut python = Command::new(peers().join("venv/bin/python"));
    assert_eq!(run(&bench, python.arg(script), json!({})).await.trim(), "twilio 9.13.0: all checks passed");
    check(&bench);
}

#[tokio::test]
async fn the_official_node_sdk_works_against_it() {
    let bench = Bench::new(Faults::default()).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/sdk.mjs");
    let mut node = Command::new("node");
    let modules = peers().join("node/node_modules");
    assert!(modules.join("twilio").exists(), "Twilio's Node SDK is missing: run tests/run, or tests/peers/install");
    assert_eq!(run(&bench, node.arg(script).arg(modules), json!({})).await.trim(), "twilio 6.2.0: all checks passed");
    check(&bench);
}

/// An account that enforces signed requests, and what a script needs to sign them. The SDKs know no clock but the true one.
async fn enforcing(tolerant: bool, algorithm: &str) -> (Bench, Value) {
    let bench = Bench::live(Faults { pkcv_tolerant: tolerant, ..Faults::default() }).await;
    let vectors: Value = serde_json::from_str(include_str!("../../vectors/pkcv.json")).unwrap();
    let (private, public) = (&vectors["rsa_private_key_pkcs8_pem"], &vectors["rsa_public_key_spki_pem"]);
    let now = bench.sandbox.world().now();
    let mut world = bench.sandbox.world().lock();
    let parent = super::account(PARENT);
    assert!(world.enforce_signatures(&parent, true));
    let public_key = world.register(now, &parent, None, public.as_str().unwrap()).unwrap();
    drop(world);
    let more = json!({
        "private_key": private, "public_pem": public, "public_key": public_key, "tolerant": tolerant,
        "algorithm": algorithm,
    });
    (bench, more)
}

fn forms(bench: &Bench) -> (usize, usize) {
    let world = bench.sandbox.world().lock();
    let count = |form| world.audit().entries().filter(|entry| entry.signed == Some(form)).count();
    (count(Form::Strict), count(Form::AsWritten))
}

#[tokio::test]
async fn what_the_official_python_sdk_signs_is_right_but_for_a_blank_in_a_query() {
    for tolerant in [false, true] {
        let (bench, more) = enforcing(tolerant, "RS256").await;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/signed.py");
        let mut python = Command::new(peers().join("venv/bin/python"));
        assert_eq!(run(&bench, python.arg(script), more).await.trim(), "twilio 9.13.0: all signed");
        let (strict, as_written) = forms(&bench);
        assert!(strict >= 20 && as_written == usize::from(tolerant), "{strict} {as_written}");
    }
}

#[tokio::test]
async fn what_the_official_node_sdk_signs_is_right() {
    for algorithm in ["RS256", "PS256"] {
        let (bench, more) = enforcing(false, algorithm).await;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/signed.mjs");
        let modules = peers().join("node/node_modules");
        let mut node = Command::new("node");
        assert_eq!(run(&bench, node.arg(script).arg(modules), more).await.trim(), "twilio 6.2.0: all signed");
        assert!(forms(&bench).0 >= 12);
    }
}

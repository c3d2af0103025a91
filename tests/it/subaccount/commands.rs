//! The commands themselves: what they say, what they ask, and with which exit code.

use super::{NAME, Site};
use crate::support::postgres;
use rekeyd::sandbox::Faults;
use rekeyd::sandbox::call::Status;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

fn run(site: &Site, arguments: &[&str], typed: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekeyd"));
    command.args(arguments).arg("--config").arg(site.path("policy.toml"));
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn status(site: &Site) -> Status {
    let world = site.sandbox.world().lock();
    world.accounts().find(|account| account.parent.is_some()).unwrap().status
}

#[tokio::test(flavor = "multi_thread")]
async fn create_makes_one_and_says_where_its_keys_are_and_nothing_secret() {
    let site = Site::enforcing(Faults::default()).await;
    let (code, said, complained) = run(&site, &["subaccount", "create", NAME], "");
    assert_eq!(code, 0, "{said}{complained}");
    site.check("by command");
    let ready = format!("`{NAME}` is ready: AC");
    assert!(said.contains(&ready) && said.contains(&format!("two:{NAME}.json")), "{said}");
    let held = std::fs::read_to_string(site.path("two").join(format!("{NAME}.json"))).unwrap();
    let held: serde_json::Value = serde_json::from_str(&held).unwrap();
    let secret = held["apiKeySecret"].as_str().unwrap();
    let line = held["privateKey"].as_str().unwrap().lines().nth(3).unwrap();
    let journal = std::fs::read(site.path("journal.db")).unwrap();
    let journal = String::from_utf8_lossy(&journal);
    for text in [said.as_str(), complained.as_str(), &journal] {
        assert!(!text.contains(secret) && !text.contains(line));
    }
    let (code, said, _) = run(&site, &["subaccount", "create", NAME], "");
    assert_eq!(code, 0);
    assert!(said.contains("is there already"), "{said}");
    let (code, _, complained) = run(&site, &["subaccount", "create", "a/b"], "");
    assert_eq!(code, 2, "{complained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_not_there_or_was_only_begun_is_made_on_a_server_as_in_a_file() {
    let (empty, begun) = (postgres::fresh(postgres::shared()).await, postgres::fresh(postgres::shared()).await);
    postgres::sql(&begun, "CREATE SCHEMA rekeyd").await;
    for state in [Some(empty), Some(begun), None] {
        let site = Site::enforcing(Faults::default()).await;
        let policy = std::fs::read_to_string(site.path("policy.toml")).unwrap();
        let file = format!("sqlite://{}", site.path("journal.db").display());
        match state {
            Some(state) => {
                std::fs::write(site.path("policy.toml"), policy.replace(&file, state.url.as_str())).unwrap();
            }
            None => std::fs::write(site.path("journal.db"), "").unwrap(),
        }
        let (code, said, complained) = run(&site, &["subaccount", "create", NAME], "");
        assert_eq!(code, 0, "{said}{complained}");
        site.check("with a journal of its own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_place_to_publish_to_nothing_is_made() {
    let site = Site::new(Faults::default()).await;
    let policy = std::fs::read_to_string(site.path("policy.toml")).unwrap();
    let policy = policy.split("[subaccounts]").next().unwrap().to_owned();
    std::fs::write(site.path("policy.toml"), policy).unwrap();
    let (code, _, complained) = run(&site, &["subaccount", "create", NAME], "");
    assert_eq!(code, 3);
    assert!(complained.contains("hint: write, for example:\n[subaccounts]"), "{complained}");
    assert_eq!(site.sandbox.world().lock().accounts().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn close_shows_what_lives_there_asks_for_the_sid_and_never_closes_the_main_account() {
    let site = Site::enforcing(Faults::default()).await;
    let made = site.finish().await.unwrap();
    let sid = made.account.as_str();
    for typed in ["", "yes\n", "AC00000000000000000000000000000000\n"] {
        let (code, said, complained) = run(&site, &["subaccount", "close", sid], typed);
        assert_eq!((code, complained.as_str()), (1, "error: nothing was changed\n"));
        assert!(
            said.contains(&format!("{sid} is called `{NAME}`, is active")) && said.contains("it has 1 API keys:"),
            "{said}"
        );
        assert_eq!(status(&site), Status::Active);
    }
    let (code, said, _) = run(&site, &["subaccount", "close", sid], &format!("{sid}\n"));
    assert!(code == 0 && said.ends_with(&format!("{sid} (`{NAME}`) is closed\n")), "{said}");
    assert_eq!(status(&site), Status::Closed);
    let (code, said, _) = run(&site, &["subaccount", "close", sid, "--yes"], "");
    assert!(code == 0 && said.contains("is closed already"), "{said}");
    let parent = site.sandbox.account_sid().to_string();
    for spelling in [parent.clone(), format!("AC{}", parent[2..].to_uppercase())] {
        let (code, _, complained) = run(&site, &["subaccount", "close", &spelling, "--yes"], "");
        assert!(code == 1 && complained.contains("is the main account of the policy"), "{complained}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_closes_with_yes_and_a_lost_answer_is_looked_for() {
    let site = Site::enforcing(Faults::default()).await;
    let made = site.finish().await.unwrap();
    let lost =
        rekeyd::sandbox::Line::next(rekeyd::sandbox::call::Operation::UpdateAccount, rekeyd::sandbox::Fault::Lost);
    site.sandbox.world().lock().script.add([lost]);
    let (code, said, complained) = run(&site, &["subaccount", "close", made.account.as_str(), "--yes"], "");
    assert_eq!(code, 0, "{said}{complained}");
    assert_eq!(status(&site), Status::Closed);
    let (code, _, complained) = run(&site, &["subaccount", "close", &format!("AC{}", "0".repeat(32)), "--yes"], "");
    assert!(code == 1 && complained.contains("20404"), "{complained}");
}

//! The journal moves between SQLite and PostgreSQL, and several daemons share it there.

use super::rig::{Process, QUICK, Rig, kill9, private, signal};
use crate::support::postgres;
use rustix::process::Signal;
use std::path::Path;

/// The policy, with its journal elsewhere.
fn with_state(rig: &Rig, state: &str, port: u16) -> String {
    let policy = std::fs::read_to_string(rig.path("policy.toml")).unwrap();
    let lines = policy.lines().map(|line| {
        if line.starts_with("state = ") {
            format!("state = \"{state}\"")
        } else if line.starts_with("listen = ") {
            format!("listen = \"127.0.0.1:{port}\"")
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn said(rig: &Rig, args: &[&str]) -> (Option<i32>, String) {
    let output = rig.run(args);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_moves_to_postgresql_and_back_and_the_rotations_go_on() {
    let rig = Rig::new(&["billing-sms", "alerts"], QUICK).await;
    let daemon = rig.start();
    rig.until_settled(1).await;
    let copy = rig.path("journal.jsonl");
    let copy = copy.to_str().unwrap();
    let (code, text) = said(&rig, &["journal", "export", copy]);
    assert!(code == Some(1) && text.contains("a daemon works with this journal"), "{text}");
    let (code, text) = said(&rig, &["journal", "verify"]);
    assert!(code == Some(0) && text.starts_with("whole: 2 credentials"), "{text}");
    signal(&daemon, Signal::TERM);
    rig.until("it has stopped", || !rig.status().is_some_and(|status| status["daemon_running"] == true)).await;
    drop(daemon);
    let before = said(&rig, &["history", "billing-sms", "--json"]).1;
    let (code, text) = said(&rig, &["journal", "export", copy]);
    assert!(code == Some(0) && text.contains("exported 2 credentials"), "{text}");
    assert_eq!(mode(Path::new(copy)), 0o600);
    let (code, text) = said(&rig, &["journal", "export", copy]);
    assert!(code == Some(1) && text.contains("exists"), "an export overwrites nothing: {text}");

    let file = rig.path("policy.toml");
    let on_file = std::fs::read_to_string(&file).unwrap();
    let server = postgres::fresh(postgres::shared()).await;
    std::fs::write(&file, with_state(&rig, server.url.as_str(), rig.port)).unwrap();
    let (code, text) = said(&rig, &["journal", "import", copy]);
    assert!(code == Some(0) && text.contains("imported 2 credentials"), "{text}");
    let (code, text) = said(&rig, &["journal", "import", copy]);
    assert!(code == Some(4) && text.contains("there is a journal already"), "{text}");
    assert_eq!(said(&rig, &["history", "billing-sms", "--json"]).1, before, "every entry is what it was");
    let (code, text) = said(&rig, &["journal", "verify"]);
    assert!(code == Some(0) && text.starts_with("whole: 2 credentials"), "{text}");

    // It goes on there. Deletes are held for a day after an import, so no old key goes; new ones are served.
    let daemon = rig.start();
    rig.run(&["rotate", "billing-sms"]);
    rig.until("another key is published", || {
        let history = said(&rig, &["history", "billing-sms"]).1;
        history.matches("published ").count() >= 2
    })
    .await;
    signal(&daemon, Signal::TERM);
    rig.until("it has stopped", || !rig.status().is_some_and(|status| status["daemon_running"] == true)).await;
    drop(daemon);
    let there = said(&rig, &["history", "billing-sms", "--json"]).1;
    let back = rig.path("back.jsonl");
    assert_eq!(said(&rig, &["journal", "export", back.to_str().unwrap()]).0, Some(0));
    std::fs::write(&file, on_file.replace("/journal.db\"", "/second.db\"")).unwrap();
    let (code, text) = said(&rig, &["journal", "import", back.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(said(&rig, &["history", "billing-sms", "--json"]).1, there);
    assert_eq!(said(&rig, &["journal", "verify"]).0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_export_is_not_imported() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let daemon = rig.start();
    rig.until_settled(1).await;
    kill9(daemon);
    let copy = rig.path("journal.jsonl");
    assert_eq!(said(&rig, &["journal", "export", copy.to_str().unwrap()]).0, Some(0));
    let whole = std::fs::read_to_string(&copy).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let cases = [
        (String::new(), "there is nothing in it"),
        (lines[..lines.len() - 1].join("\n"), "its end is missing"),
        ([lines[0], lines[lines.len() - 1]].join("\n"), "its end is missing"),
        (lines[1..].join("\n"), "not the beginning"),
        (whole.replace("\"form\":1", "\"form\":2"), "it has form 2"),
        (whole.replace("\"instance\":\"test\"", "\"instance\":\"other\""), "is of the instance `other`"),
        (whole.replacen("\"seq\":2", "\"seq\":3", 1), "entry 2 is missing"),
        (whole.replacen("\"event\":\"created\"", "\"event\":\"dreamt\"", 1), "line 2"),
        (format!("{whole}{whole}"), "there is more behind the end"),
    ];
    let policy = std::fs::read_to_string(rig.path("policy.toml")).unwrap();
    for (number, (text, told)) in cases.into_iter().enumerate() {
        let place = format!("/other{number}.db\"");
        std::fs::write(rig.path("policy.toml"), policy.replace("/journal.db\"", &place)).unwrap();
        private(&copy, &text);
        let (code, said) = said(&rig, &["journal", "import", copy.to_str().unwrap()]);
        assert!(code != Some(0) && said.contains(told), "{told}: {said}");
    }
}

/// Two daemons, one of which is killed while it works: the other one takes over what it had, and both go on.
#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_share_a_journal_and_one_may_die() {
    let rig = Rig::new(&["billing-sms", "alerts", "reports"], QUICK).await;
    let server = postgres::fresh(postgres::shared()).await;
    let file = rig.path("policy.toml");
    let first = with_state(&rig, server.url.as_str(), rig.port);
    std::fs::write(&file, first).unwrap();
    let one = rig.start();
    std::fs::write(rig.path("second.toml"), with_state(&rig, server.url.as_str(), 0)).unwrap();
    let second = rig.path("second.toml");
    let log = || std::fs::OpenOptions::new().append(true).create(true).open(rig.path("log")).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rekeyd"));
    command.args(["run", "--config"]).arg(second).env_clear();
    command.env("AWS_ACCESS_KEY_ID", "GOOD").env("AWS_SECRET_ACCESS_KEY", super::rig::AWS_SECRET);
    command.env("AWS_EC2_METADATA_DISABLED", "true").stdin(std::process::Stdio::null());
    let two = Process { child: command.stdout(log()).stderr(log()).spawn().unwrap() };
    let consumers = rig.consumers();
    let rotate_all = || ["billing-sms", "alerts", "reports"].iter().for_each(|name| drop(rig.run(&["rotate", name])));
    rig.until_settled(1).await;
    rotate_all();
    rig.until("the second is under way", || said(&rig, &["history", "alerts"]).1.matches("intended").count() == 2)
        .await;
    kill9(one);
    // What it had is free when a minute of silence is over; so that the test need not wait, the minute is over now.
    postgres::sql(&server, "UPDATE rekeyd.credential SET leased_until = clock_timestamp()").await;
    rig.until_settled(2).await;
    rotate_all();
    rig.until_settled(3).await;
    consumers.stop(20);
    kill9(two);
    let (code, text) = said(&rig, &["journal", "verify"]);
    assert!(code == Some(0) && text.starts_with("whole: 3 credentials"), "{text}");
}

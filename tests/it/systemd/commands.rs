//! The commands that the heads of the shipped files tell people to run, word for word, in a machine where the unit runs.

use super::machine::{Installation, Machine, deploy, install};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Output;

const UNIT: &str = "systemd/rekeyd.service";
const MINIMAL: &str = "../config/policy.minimal.toml";
const DIRECTORY: &str = "systemd/directory.conf";

/// The one command in the comments of a file that begins so.
fn told(file: &str, start: &str) -> String {
    let text = fs::read_to_string(deploy(file)).unwrap().replace("\\\n#", "");
    let commands = text.lines().filter_map(|line| line.strip_prefix("#   "));
    let found: Vec<_> = commands.filter(|command| command.starts_with(start)).collect();
    assert_eq!(found.len(), 1, "{file}: {start}: {found:?}");
    found[0].split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a command for a shell said; it has to succeed.
fn done(machine: &Machine, command: &str) -> String {
    machine.done(&["sh", "-c", command])
}

fn complaint(output: Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The policy of one credential that is served from a directory.
fn in_a_directory(installation: &Installation, path: &str) -> String {
    let policy = installation.policy(&["billing-sms"]);
    let (head, rest) = policy.split_once("[sinks.vault]").unwrap();
    let (_, rest) = rest.split_once("[defaults]").unwrap();
    let (rest, _) = rest.split_once("publish_to").unwrap();
    let place = "publish_to = [{ sink = \"files\", name = \"billing-sms.json\" }]\n";
    format!("{head}[sinks.files]\nkind = \"directory\"\npath = \"{path}\"\n\n[defaults]{rest}{place}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_at_the_head_of_the_unit_do_what_it_says_before_the_first_start_and_after_it() {
    let installation = Installation::new().await;
    let mut machine = Machine::boot(|root| {
        install(root);
        installation.put(root, &["billing-sms"]);
    });
    let early = format!("{} && {}", told(UNIT, "sed "), told(UNIT, "rekeyd plan --config "));
    let planned = done(&machine, &early);
    assert!(planned.contains("1. create a key and prove it"), "{planned}");
    machine.done(&["systemctl", "start", "rekeyd"]);
    machine.until_settled("billing-sms", 1);
    let (status, plan) = (told(UNIT, "systemd-run "), told(UNIT, "CREDENTIALS_DIRECTORY="));
    assert!(done(&machine, &status).contains("serving"));
    let (sid, secret) = installation.sandbox.main_key();
    for (command, shown) in [
        ("plan", "older than rotate_every"),
        ("check --online", "sink `vault`: 1 places can be read"),
        ("main-key status", sid.as_str()),
        ("rotate billing-sms", "asked"),
        ("status", "billing-sms"),
    ] {
        let said = done(&machine, &plan.replace("rekeyd plan", &format!("rekeyd {command}")));
        assert!(said.contains(shown) && !said.contains(secret.expose()), "{command}: {said}");
    }
    machine.until_settled("billing-sms", 2);
    for file in fs::read_dir(machine.path("/var/lib/private/rekeyd")).unwrap().map(|file| file.unwrap()) {
        assert!(file.metadata().unwrap().uid() > 60_000, "root took {file:?}");
    }
    // Without all that: what is said leads there.
    let bare = complaint(machine.run(&["rekeyd", "plan"]));
    assert!(
        bare.contains("CREDENTIALS_DIRECTORY=/run/credentials/rekeyd.service") && !bare.contains("chmod"),
        "{bare}"
    );
    assert!(complaint(machine.rekeyd(&["plan"])).contains("Permission denied"));
    let readme = include_str!("../../../README.md");
    for command in [&status, &plan] {
        assert!(readme.contains(&format!("\n# {command}\n")), "README.md: {command}");
    }
    let elsewhere = plan.replace("rekeyd plan", "rekeyd check --online");
    assert!(include_str!("../../../docs/runbook.md").contains(&elsewhere), "docs/runbook.md: {elsewhere}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_of_the_smallest_policy_is_made_as_that_says_and_root_does_not_use_it() {
    let installation = Installation::new().await;
    let mut machine = Machine::boot(|root| {
        install(root);
        installation.put(root, &["billing-sms"]);
        fs::write(root.join("etc/rekeyd/policy.toml"), in_a_directory(&installation, "/var/lib/rekeyd/secrets"))
            .unwrap();
    });
    done(&machine, &told(MINIMAL, "systemd-run "));
    machine.done(&["systemctl", "start", "rekeyd"]);
    machine.until_settled("billing-sms", 1);
    let file = fs::metadata(machine.path("/var/lib/private/rekeyd/secrets/billing-sms.json")).unwrap();
    assert_eq!((file.mode() & 0o777, file.uid() > 60_000), (0o600, true));
    let plan = machine.run(&["sh", "-c", &told(UNIT, "CREDENTIALS_DIRECTORY=")]);
    assert_eq!(plan.status.code(), Some(6));
    assert!(String::from_utf8(plan.stdout).unwrap().contains("it belongs to another user"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_stays_runs_commands_as_the_drop_in_for_directories_says() {
    let installation = Installation::new().await;
    let mut machine = Machine::boot(|root| {
        install(root);
        installation.put(root, &["billing-sms"]);
        fs::write(root.join("etc/rekeyd/policy.toml"), in_a_directory(&installation, "/srv/twilio-keys")).unwrap();
    });
    machine.done(&["useradd", "--system", "twilio-app"]);
    machine.done(&["install", "-d", "-o", "twilio-app", "-m", "700", "/srv/twilio-keys"]);
    machine.drop_in("directory.conf", &fs::read_to_string(deploy(DIRECTORY)).unwrap());
    machine.done(&["systemctl", "start", "rekeyd"]);
    let status = format!("{} --json", told(DIRECTORY, "runuser -u twilio-app -- rekeyd status"));
    machine.until("a rotation", |machine| {
        let said: Value = serde_json::from_slice(&machine.run(&["sh", "-c", &status]).stdout).unwrap_or_default();
        let line = &said["credentials"][0];
        line["phase"] == "serving" && line["rotations_completed"] == 1
    });
    let planned = done(&machine, &told(DIRECTORY, "runuser -u twilio-app -- env "));
    assert!(planned.contains("older than rotate_every") && planned.contains("files:billing-sms.json"), "{planned}");
    let owner = fs::metadata(machine.path("/srv/twilio-keys")).unwrap().uid();
    assert!((1..60_000).contains(&owner));
    for file in fs::read_dir(machine.path("/var/lib/rekeyd")).unwrap().map(|file| file.unwrap()) {
        assert_eq!(file.metadata().unwrap().uid(), owner, "{file:?}");
    }
}

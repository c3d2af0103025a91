//! The unit that is shipped, under a real systemd: it starts, rotates, is read again, hangs, and stops.

use super::machine::{Installation, Machine, deploy, install};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Child, Command, Stdio};

/// Exposure, times ten: what the unit must not exceed.
const EXPOSURE: &str = "--threshold=12";

/// What `systemd-analyze` of this machine thinks of the unit.
fn security(threshold: &str) -> (bool, String) {
    let mut analyze = Command::new("systemd-analyze");
    let output =
        analyze.args(["security", "--offline=true", "--no-pager", threshold]).arg(deploy("systemd/rekeyd.service"));
    let output = output.output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_exposure_of_the_unit_is_at_most_1_2() {
    let (fits, said) = security(EXPOSURE);
    assert!(fits, "{said}");
    assert!(!security("--threshold=5").0, "the gate lets everything through");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_unit_rotates_keys_and_keeps_its_secrets_and_its_journal() {
    let installation = Installation::new().await;
    let mut machine = Machine::boot(|root| {
        install(root);
        installation.put(root, &["billing-sms"]);
    });
    let verified = machine.run(&["systemd-analyze", "verify", "--man=no", "rekeyd.service"]);
    assert!(verified.status.success() && verified.stderr.is_empty(), "{verified:?}");
    machine.done(&["systemctl", "start", "rekeyd"]);
    assert_eq!(machine.show("ActiveState"), "active");
    assert!(machine.show("StatusText").starts_with("credentials: 1 known"), "{}", machine.show("StatusText"));
    machine.done(&["systemd-analyze", "security", "rekeyd", EXPOSURE]);
    machine.until_settled("billing-sms", 1);
    let first = installation.served("billing-sms").await.unwrap();
    assert!(machine.rekeyd(&["rotate", "billing-sms"]).status.success());
    machine.until_settled("billing-sms", 2);
    let second = installation.served("billing-sms").await.unwrap();
    assert_ne!(first["apiKeySid"], second["apiKeySid"]);
    assert_eq!(installation.live(), 1);
    machine.until("the status has the next rotation", |machine| {
        machine.show("StatusText").contains("0 halted; next rotation: billing-sms at 20")
    });
    closed(&machine);
    let before = machine.credential("billing-sms").unwrap();
    machine.done(&["systemctl", "restart", "rekeyd"]);
    assert_eq!(machine.credential("billing-sms").unwrap()["journal_entries"], before["journal_entries"]);
    machine.done(&["systemctl", "stop", "rekeyd"]);
    assert_eq!((machine.show("Result"), machine.show("ExecMainStatus")), ("success".to_owned(), "0".to_owned()));
    assert_eq!((installation.live(), installation.served("billing-sms").await), (1, Some(second.clone())));
    let told =
        machine.done(&["journalctl", "--no-pager", "-o", "json"]) + &machine.done(&["systemctl", "show", "rekeyd"]);
    assert!(told.contains("billing-sms"));
    let secret = installation.sandbox.main_key().1;
    let pairs = [&first, &second].map(|pair| pair["apiKeySecret"].as_str().unwrap());
    for secret in [secret.expose(), installation.token.as_str()].into_iter().chain(pairs) {
        assert!(!told.contains(secret), "a secret is in the log");
    }
}

/// What the service can not do, and others can not do to it.
fn closed(machine: &Machine) {
    let status = fs::read_to_string(format!("/proc/{}/status", machine.daemon())).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!((field("CapEff:"), field("NoNewPrivs:")), ("0000000000000000".to_owned(), "1".to_owned()));
    assert_eq!(field("Seccomp:"), "2", "{status}");
    assert!(field("Uid:").split_whitespace().all(|uid| uid.parse::<u32>().unwrap() > 60_000), "{status}");
    let journal = fs::metadata(machine.path("/var/lib/private/rekeyd/journal.db")).unwrap();
    assert_eq!((journal.mode() & 0o777, journal.uid() > 60_000), (0o600, true));
    assert_eq!(fs::metadata(machine.path("/var/lib/private/rekeyd")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_up_a_policy_that_is_right_and_tells_of_one_that_is_wrong() {
    let installation = Installation::new().await;
    let mut machine = Machine::boot(|root| {
        install(root);
        installation.put(root, &["billing-sms"]);
    });
    let policy = machine.path("/etc/rekeyd/policy.toml");
    machine.done(&["systemctl", "start", "rekeyd"]);
    let pid = machine.show("MainPID");
    fs::write(&policy, installation.policy(&["billing-sms", "alerts"])).unwrap();
    machine.done(&["systemctl", "reload", "rekeyd"]);
    machine.until("the policy is taken up", |machine| machine.show("StatusText").contains("2 known"));
    fs::write(&policy, "[daemon").unwrap();
    let refused = machine.run(&["systemctl", "reload", "rekeyd"]);
    assert!(!refused.status.success());
    assert!(machine.journal().contains("the policy is not accepted"), "{}", machine.journal());
    // By the type that waits: it is over when the command is.
    machine.drop_in("notify-reload.conf", &fs::read_to_string(deploy("systemd/notify-reload.conf")).unwrap());
    assert_eq!(machine.show("Type"), "notify-reload");
    fs::write(&policy, installation.policy(&["billing-sms", "alerts", "voice"])).unwrap();
    machine.done(&["systemctl", "reload", "rekeyd"]);
    assert!(machine.show("StatusText").contains("3 known"), "{}", machine.show("StatusText"));
    fs::write(&policy, "[daemon").unwrap();
    machine.done(&["systemctl", "reload", "rekeyd"]);
    let status = machine.show("StatusText");
    assert!(status.contains("the policy is not accepted"), "{status}");
    assert_eq!((machine.show("ActiveState"), machine.show("MainPID")), ("active".to_owned(), pid));
    fs::write(&policy, installation.policy(&["billing-sms", "alerts", "voice"])).unwrap();
    machine.until_settled("voice", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_journal_hangs_is_killed_by_the_watchdog_and_started_again() {
    let installation = Installation::new().await;
    let mut machine = Machine::boot(|root| {
        install(root);
        installation.put(root, &["billing-sms"]);
    });
    machine.drop_in("quick.conf", "[Service]\nWatchdogSec=4s\nRestartSec=1s\n");
    machine.done(&["systemctl", "start", "rekeyd"]);
    machine.until_settled("billing-sms", 1);
    assert_eq!(machine.show("NRestarts"), "0");
    let mut holder = hold_the_journal(machine.daemon());
    machine.until("it is started again", |machine| machine.show("NRestarts") == "1");
    assert!(machine.journal().contains("Watchdog timeout"), "{}", machine.journal());
    holder.wait().unwrap();
    machine.until("it is at work again", |machine| machine.show("ActiveState") == "active");
    assert!(machine.rekeyd(&["rotate", "billing-sms"]).status.success());
    machine.until_settled("billing-sms", 2);
    assert_eq!(machine.show("NRestarts"), "1");
}

/// Stops the threads that work on a SQLite journal and nothing else of the process, until that is killed: the runtime and its
/// timers go on.
pub(super) fn hold_the_journal(pid: u32) -> Child {
    const HOLD: &str = r#"
import ctypes, os, sys
libc, pid, WALL, held = ctypes.CDLL(None, use_errno=True), sys.argv[1], 0x40000000, 0
for thread in os.listdir(f"/proc/{pid}/task"):
    if open(f"/proc/{pid}/task/{thread}/comm").read().startswith("sqlx-sqlite"):
        if libc.ptrace(16, int(thread), None, None) != 0:
            sys.exit(os.strerror(ctypes.get_errno()))
        os.waitpid(int(thread), WALL)
        held += 1
print(held, flush=True)
try:
    while True:
        os.waitpid(-1, WALL)
except ChildProcessError:
    pass
"#;
    let mut python = Command::new("python3");
    let mut holder = python.args(["-c", HOLD, &pid.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
    let mut held = [0; 1];
    holder.stdout.as_mut().unwrap().read_exact(&mut held).unwrap();
    assert!(held[0] > b'0', "no thread works on the journal");
    holder
}

//! Another process of the same user can neither look into the daemon nor stop it, nor can it have its memory written to
//! disk; and every command is closed in this way before it reads anything.

use super::rig::{Process, QUICK, Rig};
use crate::support::counted::counted;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A user without any right; a test that does not run as root stays who it is, which serves as well.
const NOBODY: u32 = 65_534;

/// Tries what a neighbour could try, and says what it got.
const NEIGHBOUR: &str = r#"
import ctypes, os, sys
pid = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
if libc.ptrace(PTRACE_ATTACH, pid, None, None) == 0:
    os.waitpid(pid, 0)
    libc.ptrace(PTRACE_DETACH, pid, None, None)
    print("attach")
for file in ("mem", "environ", "maps", "auxv", "stack", "fd/0", "cwd", "exe"):
    try:
        os.listdir(f"/proc/{pid}/fd") if file == "fd/0" else os.readlink(f"/proc/{pid}/{file}") if file in ("cwd", "exe") else open(f"/proc/{pid}/{file}", "rb").read(1)
        print(file)
    except PermissionError:
        pass
    except OSError:
        print(file)
"#;

/// The same user for both sides.
fn demoted(mut command: Command) -> Command {
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// What a neighbour gets at.
fn open_to_a_neighbour(process: &Process) -> Vec<String> {
    let mut python = Command::new("python3");
    python.args(["-c", NEIGHBOUR, &process.child.id().to_string()]).current_dir("/");
    let output = demoted(python).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Gives the installation to the user, with a copy of the binary where the user can reach it.
fn given_away(rig: &Rig) -> PathBuf {
    let binary = rig.path("rekeyd");
    fs::copy(env!("CARGO_BIN_EXE_rekeyd"), &binary).unwrap();
    let mut all = vec![rig.dir.path().to_owned()];
    while let Some(path) = all.pop() {
        if path.is_dir() {
            all.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    fs::set_permissions(rig.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    binary
}

/// A command of the copy, as the user.
fn command(rig: &Rig, binary: &Path, args: &[&str]) -> Command {
    let model = rig.command(args);
    let mut command = Command::new(binary);
    command.args(model.get_args()).env_clear();
    command.envs(model.get_envs().map(|(name, value)| (name, value.unwrap())));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    demoted(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_of_the_same_user_gets_at_nothing_of_the_daemon() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let binary = given_away(&rig);
    let daemon = Process { child: command(&rig, &binary, &["run"]).spawn().unwrap() };
    rig.until_settled(1).await;
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    let effective = status.lines().find(|line| line.starts_with("CapEff:")).unwrap();
    assert!(effective.ends_with("0000000000000000"), "it runs with rights: {effective}");
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.child.id())).unwrap();
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(cores.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{cores}");
    // Another program of that user is open to its neighbour, so the attempts are good ones.
    let mut sleep = Command::new("sleep");
    sleep.arg("60").current_dir("/");
    let other = Process { child: demoted(sleep).spawn().unwrap() };
    let open = open_to_a_neighbour(&other);
    for door in ["attach", "mem", "environ", "maps", "auxv", "fd/0", "cwd", "exe"] {
        assert!(open.iter().any(|opened| opened == door), "{door} is closed everywhere here: {open:?}");
    }
    assert!(open_to_a_neighbour(&daemon).is_empty(), "{:?}", open_to_a_neighbour(&daemon));
    counted("doors closed to a neighbour", open.len());
}

/// Each command that reads a secret is caught while it waits for something, and must be closed then.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_is_closed_before_it_reads_anything() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    // A policy that never comes: whoever opens it waits.
    fs::remove_file(rig.path("policy.toml")).unwrap();
    let pipe = rig.path("policy.toml");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    let binary = given_away(&rig);
    let commands = [
        &["run"][..],
        &["check"],
        &["plan"],
        &["status"],
        &["rotate", "billing-sms"],
        &["resume", "billing-sms"],
        &["history", "billing-sms"],
        &["sandbox", "--listen", "127.0.0.1:0"],
        &["demo"],
    ];
    for args in commands {
        let mut process = Process { child: command(&rig, &binary, args).spawn().unwrap() };
        let pid = process.child.id();
        // The program itself is there before its threads are; the runtime is made after the doors are closed.
        rig.until("it is at work", || fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|tasks| tasks.count() > 1))
            .await;
        assert!(open_to_a_neighbour(&process).is_empty(), "{args:?} is open");
        assert!(process.child.try_wait().unwrap().is_none(), "{args:?} did not wait");
    }
    counted("commands closed at start", commands.len());
}

#[test]
fn a_kernel_that_refuses_is_an_error() {
    // The calls fail, or one is said to have succeeded and was not made, as in some sandboxes.
    for fault in ["prlimit64:error=EPERM", "prctl:error=EINVAL", "prctl:retval=1"] {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null", "-e", &format!("inject={fault}")]).arg(env!("CARGO_BIN_EXE_rekeyd"));
        let output = strace.arg("check").stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{fault}: {said}");
        assert!(said.contains("core files and ptrace could not be turned off"), "{fault}: {said}");
    }
}

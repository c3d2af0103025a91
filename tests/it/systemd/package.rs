//! The Debian package: what it installs, what an upgrade leaves alone, and what a removal leaves behind.

use super::machine::{Installation, Machine};
use crate::support::peers::peers;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package that holds this binary, of that version, made in a folder.
fn package(folder: &Path, version: &str, name: &str) -> PathBuf {
    let (target, file) = (folder.join(name), folder.join(format!("{name}.deb")));
    fs::create_dir_all(target.join("release")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_rekeyd"), target.join("release/rekeyd")).unwrap();
    let tools = peers().join("systemd/cargo-deb-3.8.0/bin").canonicalize().unwrap();
    let path =
        std::env::join_paths([&tools].into_iter().map(PathBuf::from).chain(std::env::split_paths(&path()))).unwrap();
    let mut build = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/debian/build"));
    build.args(["--no-build", "--fast", "--deb-version", version, "--output"]).arg(&file);
    build.env("CARGO_TARGET_DIR", &target).env("PATH", path).env("SOURCE_DATE_EPOCH", "1760000000");
    let built = build.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    file
}

fn path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_package_installs_upgrades_and_goes_without_losing_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let [old, new, again] = std::thread::scope(|scope| {
        let build = |(version, name)| scope.spawn(move || package(at, version, name));
        [("0.0.1-1", "old"), ("99.0.0-1", "new"), ("0.0.1-1", "again")].map(build).map(|built| built.join().unwrap())
    });
    assert!(fs::read(&old).unwrap() == fs::read(again).unwrap(), "the same source made two packages that differ");
    let installation = Installation::new().await;
    let mut machine = Machine::boot(|root| {
        fs::create_dir_all(root.join("root")).unwrap();
        fs::copy(&old, root.join("root/old.deb")).unwrap();
        fs::copy(&new, root.join("root/new.deb")).unwrap();
    });
    let state = |machine: &Machine, of: &str| {
        String::from_utf8(machine.run(&["systemctl", of, "rekeyd"]).stdout).unwrap().trim().to_owned()
    };
    machine.done(&["dpkg", "-i", "/root/old.deb"]);
    assert_eq!((state(&machine, "is-enabled"), state(&machine, "is-active")), ("disabled".into(), "inactive".into()));
    complete(&machine);
    installation.put(&machine.path("/"), &["billing-sms"]);
    let policy = fs::read(machine.path("/etc/rekeyd/policy.toml")).unwrap();
    machine.done(&["systemctl", "daemon-reload"]);
    machine.done(&["systemctl", "enable", "--now", "rekeyd"]);
    machine.until_settled("billing-sms", 1);
    let (pid, before) = (machine.show("MainPID"), machine.credential("billing-sms").unwrap());

    machine.done(&["dpkg", "-i", "/root/new.deb"]);
    assert_ne!(machine.show("MainPID"), pid, "the old binary still runs");
    assert_eq!((state(&machine, "is-enabled"), state(&machine, "is-active")), ("enabled".into(), "active".into()));
    assert_eq!(machine.credential("billing-sms").unwrap()["journal_entries"], before["journal_entries"]);
    assert_eq!(fs::read(machine.path("/etc/rekeyd/policy.toml")).unwrap(), policy);
    assert!(machine.rekeyd(&["rotate", "billing-sms"]).status.success());
    machine.until_settled("billing-sms", 2);

    let journal = machine.path("/var/lib/private/rekeyd/journal.db");
    machine.done(&["dpkg", "-r", "rekeyd"]);
    assert_eq!(state(&machine, "is-active"), "inactive");
    assert!(!machine.path("/usr/bin/rekeyd").exists() && journal.exists());
    let said = machine.done(&["dpkg", "-P", "rekeyd"]);
    assert!(said.contains("rekeyd: kept: /var/lib/private/rekeyd"), "{said}");
    assert!(said.contains("rekeyd: kept: /etc/rekeyd"), "{said}");
    assert!(journal.exists() && machine.path("/etc/rekeyd/policy.toml").exists());
    assert!(!machine.path("/etc/rekeyd/policy.example.toml").exists());
    assert!(!machine.path("/etc/systemd/system/multi-user.target.wants/rekeyd.service").exists());
    assert_eq!(installation.live(), 1);
}

/// The files that people look for are there.
fn complete(machine: &Machine) {
    let listed = machine.done(&["dpkg", "-L", "rekeyd"]);
    for file in [
        "/usr/bin/rekeyd",
        "/usr/lib/systemd/system/rekeyd.service",
        "/etc/rekeyd/policy.example.toml",
        "/usr/share/man/man1/rekeyd.1.gz",
        "/usr/share/man/man1/rekeyd-run.1.gz",
        "/usr/share/bash-completion/completions/rekeyd",
        "/usr/share/zsh/vendor-completions/_rekeyd",
        "/usr/share/fish/vendor_completions.d/rekeyd.fish",
        "/usr/share/doc/rekeyd/examples/systemd/credentials.conf",
        "/usr/share/doc/rekeyd/copyright",
        "/usr/share/doc/rekeyd/changelog.gz",
    ] {
        assert!(listed.lines().any(|line| line == file), "{file} is missing:\n{listed}");
        assert!(fs::metadata(machine.path(file)).unwrap().len() > 0, "{file} is empty");
    }
    let needs = machine.done(&["dpkg", "-s", "rekeyd"]);
    assert!(needs.contains("libc6 (>= ") && needs.contains("ca-certificates"), "{needs}");
    assert_eq!(machine.done(&["dpkg", "--verify", "rekeyd"]), "");
}

//! The Debian package: what it installs, what an upgrade leaves alone, and what a removal leaves behind.

use super::machine::{Installation, Machine};
use crate::support::peers::peers;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package that holds this binary, of that version, made in a folder; as for the machine itself, or for a target that is
/// named, as a release is.
fn package(folder: &Path, version: &str, name: &str, target: Option<&str>) -> PathBuf {
    let (built, file) = (folder.join(name), folder.join(format!("{name}.deb")));
    let release = built.join(target.unwrap_or_default()).join("release");
    fs::create_dir_all(&release).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_rekeyd"), release.join("rekeyd")).unwrap();
    let tools = peers().join("systemd/cargo-deb-3.8.0/bin").canonicalize().unwrap();
    let path =
        std::env::join_paths([&tools].into_iter().map(PathBuf::from).chain(std::env::split_paths(&path()))).unwrap();
    let mut build = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/debian/build"));
    build.arg("--no-build").args(target.map(|target| ["--target", target]).into_iter().flatten());
    build.args(["--fast", "--deb-version", version, "--output"]).arg(&file);
    build.env("CARGO_TARGET_DIR", &built).env("PATH", path).env("SOURCE_DATE_EPOCH", "1760000000");
    let built = build.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    file
}

/// The target that is this machine.
fn host() -> String {
    let told = Command::new("rustc").args(["--version", "--verbose"]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

fn path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_package_installs_upgrades_and_goes_without_losing_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let (at, host) = (folder.path(), host());
    let [old, new, again] = std::thread::scope(|scope| {
        let build = |(version, name, target)| scope.spawn(move || package(at, version, name, target));
        let packages = [("0.0.1-1", "old", None), ("99.0.0-1", "new", None), ("0.0.1-1", "again", Some(host.as_str()))];
        packages.map(build).map(|built| built.join().unwrap())
    });
    let differ = "the same binary in two packages that differ: in another folder, and for a target that is named";
    assert!(fs::read(&old).unwrap() == fs::read(again).unwrap(), "{differ}");
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
        "/etc/rekeyd/policy.schema.json",
        "/usr/share/man/man1/rekeyd.1.gz",
        "/usr/share/man/man1/rekeyd-run.1.gz",
        "/usr/share/bash-completion/completions/rekeyd",
        "/usr/share/zsh/vendor-completions/_rekeyd",
        "/usr/share/fish/vendor_completions.d/rekeyd.fish",
        "/usr/share/doc/rekeyd/examples/systemd/credentials.conf",
        "/usr/share/doc/rekeyd/examples/policy.schema.json",
        "/usr/share/doc/rekeyd/THIRD-PARTY.txt.gz",
        "/usr/share/doc/rekeyd/copyright",
        "/usr/share/doc/rekeyd/changelog.gz",
    ] {
        assert!(listed.lines().any(|line| line == file), "{file} is missing:\n{listed}");
        assert!(fs::metadata(machine.path(file)).unwrap().len() > 0, "{file} is empty");
    }
    for file in listed.lines().filter(|file| file.ends_with(".toml")) {
        let mut check = Command::new(env!("CARGO_BIN_EXE_rekeyd"));
        let checked = check.args(["check", "--config"]).arg(machine.path(file)).output().unwrap();
        assert!(checked.status.success(), "{file}: {}", String::from_utf8_lossy(&checked.stderr));
    }
    let needs = machine.done(&["dpkg", "-s", "rekeyd"]);
    assert!(needs.contains("libc6 (>= ") && needs.contains("ca-certificates"), "{needs}");
    assert_eq!(machine.done(&["dpkg", "--verify", "rekeyd"]), "");
}

//! A journal on a disk that is full, or can only be read: nothing is created or deleted before it can be written down.

use super::ground::{CALM, Ground, HASTY, Ledger, Store};
use super::process::Daemon;
use crate::support::counted::counted;
use rekeyd::model::policy::StateUrl;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A command that only root may give. Where it can not be given the test fails: a disk that is never full proves nothing.
fn as_root(words: &[&str]) -> Command {
    let sudo: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["sudo", "-n"] };
    let words = [sudo, words].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    command
}

fn done(words: &[&str]) {
    let output = as_root(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
}

/// A small disk in memory, for as long as this value lives.
struct Disk(PathBuf);

impl Disk {
    fn new(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        let owner = format!("size=4m,mode=0700,uid={}", rustix::process::geteuid().as_raw());
        done(&["mount", "-t", "tmpfs", "-o", &owner, "tmpfs", path.to_str().unwrap()]);
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn fill(&self) {
        let block = vec![0; 4096];
        let mut ballast = fs::File::create(self.file("ballast")).unwrap();
        while std::io::Write::write_all(&mut ballast, &block).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.file("ballast")).unwrap();
    }

    fn remount(&self, how: &str) {
        done(&["mount", "-o", &format!("remount,{how}"), self.0.to_str().unwrap()]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = as_root(&["umount", "--lazy", self.0.to_str().unwrap()]).status();
    }
}

/// An installation whose journal is on such a disk; the disk goes first, for it lies in a folder of the other.
async fn on_a_disk() -> (Ground, Disk) {
    let mut ground = Ground::new(Ledger::Sqlite, Store::Vault).await;
    let disk = Disk::new(ground.path("disk"));
    ground.state = StateUrl::Sqlite(disk.file("journal.db"));
    (ground, disk)
}

/// What the daemon says when it can not append, or can not even note its running time.
const UNWRITABLE: &str = "the journal can not be ";

/// While the journal can not be written, creates and deletes stay as they are.
async fn nothing_changes(ground: &Ground, daemon: &mut Daemon, changes: (usize, usize), what: &str) {
    daemon.until(what, |daemon| daemon.said().contains(UNWRITABLE)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(ground.changes(), changes, "{what}: it created or deleted\n{}", daemon.last_words());
}

/// The disk fills up after so many of these events, and is freed again.
async fn full_after(event: &'static str, times: usize) {
    let (ground, disk) = on_a_disk().await;
    let mut daemon = ground.start(&HASTY, "");
    daemon.until(event, |daemon| daemon.events(event) == times).await;
    disk.fill();
    let changes = ground.changes();
    nothing_changes(&ground, &mut daemon, changes, event).await;
    disk.free();
    let rotations = daemon.events("completed");
    daemon.until("it goes on", |daemon| daemon.events("completed") > rotations).await;
    drop(daemon);
    let mut daemon = ground.start(&CALM, "");
    ground.until_at_rest(&mut daemon).await;
    drop(daemon);
    ground.expect_sound(&CALM, event).await;
    counted("torture runs", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_nothing_is_created_until_there_is_room() {
    full_after("completed", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_nothing_is_deleted_until_there_is_room() {
    full_after("published", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_can_only_be_read_is_refused_at_start() {
    let (ground, disk) = on_a_disk().await;
    let mut daemon = ground.start(&CALM, "");
    ground.until_at_rest(&mut daemon).await;
    drop(daemon);
    let changes = ground.changes();
    disk.remount("ro");
    let refused = ground.run(&["run"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains("journal.db") && said.contains("Read-only file system"), "{said}");
    assert_eq!(ground.changes(), changes);
    disk.remount("rw");
    let mut daemon = ground.start(&CALM, "");
    ground.until_at_rest(&mut daemon).await;
    drop(daemon);
    ground.expect_sound(&CALM, "written again").await;
    counted("torture runs", 1);
}

/// Has every write of the process to its files fail as on a disk that became read-only; ends with SIGTERM, which takes the
/// tracer off and leaves the process as it was. A disk can not be remounted while a file on it is open for writing.
fn read_only_from_now_on(daemon: &Daemon, log: &Path) -> Child {
    let pid = daemon.process.child.id().to_string();
    let fault = "inject=pwrite64,ftruncate:error=EROFS";
    let strace = ["strace", "-f", "-q", "-o", log.to_str().unwrap(), "-e", "trace=pwrite64,ftruncate", "-e", fault];
    as_root(&[&strace[..], &["-p", &pid]].concat()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_can_only_be_read_from_the_middle_on_stops_every_change() {
    let ground = Ground::new(Ledger::Sqlite, Store::Vault).await;
    let mut daemon = ground.start(&HASTY, "");
    daemon.until("a rotation", |daemon| daemon.events("completed") == 1).await;
    let calls = ground.path("calls");
    let mut tracer = read_only_from_now_on(&daemon, &calls);
    nothing_changes(&ground, &mut daemon, (1, 0), "read-only").await;
    let traced = fs::read_to_string(&calls).unwrap();
    assert!(traced.contains("EROFS"), "no write was refused: {traced}");
    done(&["kill", "-TERM", &tracer.id().to_string()]);
    tracer.wait().unwrap();
    daemon.until("it goes on", |daemon| daemon.events("completed") == 2).await;
    drop(daemon);
    let mut daemon = ground.start(&CALM, "");
    ground.until_at_rest(&mut daemon).await;
    drop(daemon);
    ground.expect_sound(&CALM, "read-only in the middle").await;
    counted("torture runs", 1);
}

//! The directory sink, on the file system of this machine.

use super::contract::{Bench, Hand};
use super::{
    at, attempt, conflict, fence, fresh_place, look, not_done, pair, place, publish, put_pair, serves, version,
};
use async_trait::async_trait;
use rekeyd::adapters::directory::Directory;
use rekeyd::model::document::{Content, Names};
use rekeyd::model::fault::{Fault, Outcome};
use rekeyd::model::names::Version;
use rekeyd::ports::{Sink as _, Written};
use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

struct Files(PathBuf);

pub(crate) fn folder() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

pub(crate) fn directory(folder: &TempDir) -> Directory {
    Directory::new(folder.path().to_owned())
}

fn bench() -> Bench {
    let folder = folder();
    Bench {
        sink: Box::new(directory(&folder)),
        hand: Box::new(Files(folder.path().to_owned())),
        _keep: Box::new(folder),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[async_trait]
impl Hand for Files {
    async fn put(&self, path: &str, text: &str) {
        fs::write(self.0.join(path), text).unwrap();
    }

    async fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.0.join(path)).ok()
    }

    async fn remove(&self, path: &str) {
        fs::remove_file(self.0.join(path)).unwrap();
    }
}

mod contract {
    contract!(super::bench());
}

#[tokio::test]
async fn a_file_is_private_and_readable_json_whatever_it_replaces() {
    let folder = folder();
    let (sink, place, pair) = (directory(&folder), place("billing.json"), pair(1));
    let path = folder.path().join("billing.json");
    fs::write(&path, "{}").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    put_pair(&sink, &place, &pair).await;
    assert_eq!(mode(&path), 0o600);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(&format!("\n  \"apiKeySid\": \"{}\"", pair.sid)), "{text}");
}

#[tokio::test]
async fn names_that_would_leave_the_directory_or_hide_in_it_are_refused() {
    let folder = folder();
    let sink = directory(&folder);
    for name in ["", ".", "..", "../x", "a/b", "/etc/passwd", ".rekeyd.lock", ".hidden", "a\0b", &"x".repeat(256)] {
        let read = not_done(sink.read(&place(name), &Names::default(), None).await);
        assert_eq!(read.fault, Fault::Refused, "{name:?}");
        let written = publish(&sink, &place(name), &pair(1), &Version("absent".into())).await;
        assert_eq!(not_done(written).fault, Fault::Refused, "{name:?}");
    }
    put_pair(&sink, &place(&"x".repeat(255)), &pair(1)).await;
}

#[tokio::test]
async fn what_is_not_json_is_foreign_and_a_fence_keeps_it_to_the_byte() {
    let folder = folder();
    let (sink, place) = (directory(&folder), place("other"));
    for bytes in [&b""[..], b"hello\n", b"[1, 2]", b"\xff\xfe\0", b"{\"apiKeySid\": 7}"] {
        fs::write(folder.path().join("other"), bytes).unwrap();
        let seen = look(&sink, &place).await.seen;
        assert_eq!(seen.content, Content::Foreign, "{bytes:?}");
        at(fence(&sink, &place, attempt(), &seen.version).await);
        assert_eq!(fs::read(folder.path().join("other")).unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_publish_over_what_is_not_json_replaces_it() {
    let folder = folder();
    let (sink, place, pair) = (directory(&folder), place("other"), pair(1));
    for bytes in [&b"hello\n"[..], b"[1, 2]", b"\xff\xfe\0"] {
        fs::write(folder.path().join("other"), bytes).unwrap();
        put_pair(&sink, &place, &pair).await;
        serves(&look(&sink, &place).await, &pair);
    }
}

#[tokio::test]
async fn an_edit_in_place_is_another_version() {
    let folder = folder();
    let (sink, place) = (directory(&folder), place("billing.json"));
    let base = put_pair(&sink, &place, &pair(1)).await;
    let path = folder.path().join("billing.json");
    let edited = fs::read_to_string(&path).unwrap().replace("canary1", "canary9");
    fs::write(&path, edited).unwrap();
    assert_ne!(version(&sink, &place).await, base);
    conflict(publish(&sink, &place, &pair(2), &base).await);
}

#[tokio::test]
async fn what_a_crash_left_is_removed_when_asked_and_by_the_next_write() {
    let folder = folder();
    let left = folder.path().join(".rekeyd.new");
    fs::write(&left, "canary of a crash").unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    directory(&folder).tidy();
    assert!(left.exists(), "nothing is done in a directory where others may write");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    let sink = directory(&folder);
    assert!(left.exists(), "who only looks changes nothing");
    sink.tidy();
    assert!(!left.exists());
    fs::write(&left, "canary of another crash").unwrap();
    put_pair(&sink, &place("billing.json"), &pair(1)).await;
    assert!(!left.exists());
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".rekeyd.lock", "billing.json"]);
}

#[tokio::test]
async fn a_write_that_fails_leaves_no_secret_behind() {
    let folder = folder();
    let sink = directory(&folder);
    fs::create_dir(folder.path().join(".rekeyd.new")).unwrap();
    let failure = not_done(publish(&sink, &place("billing.json"), &pair(1), &Version("absent".into())).await);
    assert_eq!(failure.fault, Fault::Local);
    assert!(!failure.detail.contains("canary"), "{failure}");
    assert_eq!(fs::metadata(folder.path().join("billing.json")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_directory_where_others_may_write_is_not_used() {
    let folder = folder();
    let sink = directory(&folder);
    for open in [0o720, 0o702, 0o1777] {
        fs::set_permissions(folder.path(), Permissions::from_mode(open)).unwrap();
        let failure = not_done(sink.read(&place("x"), &Names::default(), None).await);
        assert!(failure.fault == Fault::Local && failure.detail.contains("chmod go-w"), "{open:o}: {failure}");
        not_done(publish(&sink, &place("x"), &pair(1), &Version("absent".into())).await);
    }
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    put_pair(&sink, &place("x"), &pair(1)).await;
}

#[tokio::test]
async fn a_directory_that_is_missing_or_none_is_a_local_fault_and_may_come_later() {
    let folder = folder();
    let path = folder.path().join("later");
    let sink = Directory::new(path.clone());
    assert_eq!(not_done(sink.read(&place("x"), &Names::default(), None).await).fault, Fault::Local);
    assert_eq!(not_done(publish(&sink, &place("x"), &pair(1), &Version("absent".into())).await).fault, Fault::Local);
    fs::write(&path, "a file").unwrap();
    assert_eq!(not_done(sink.read(&place("x"), &Names::default(), None).await).fault, Fault::Local);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    put_pair(&sink, &place("x"), &pair(1)).await;
}

#[tokio::test]
async fn a_link_a_directory_and_a_pipe_are_not_read() {
    let folder = folder();
    let sink = directory(&folder);
    fs::write(folder.path().join("target"), "{}").unwrap();
    std::os::unix::fs::symlink("target", folder.path().join("link")).unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
    for name in ["link", "folder", "pipe"] {
        let failure = not_done(sink.read(&place(name), &Names::default(), None).await);
        assert_eq!(failure.fault, Fault::Local, "{name}");
    }
}

#[tokio::test]
async fn two_processes_never_overwrite_each_other() {
    let folder = folder();
    let (one, other, place) = (directory(&folder), directory(&folder), fresh_place());
    for round in 0..20 {
        let base = version(&one, &place).await;
        let (mine, theirs) = (pair(2 * round), pair(2 * round + 1));
        let (first, second) =
            tokio::join!(publish(&one, &place, &mine, &base), publish(&other, &place, &theirs, &base));
        let (won, winner, lost) = match first {
            Outcome::Done(Written::Conflict) => (second, theirs, first),
            _ => (first, mine, second),
        };
        conflict(lost);
        let reading = look(&one, &place).await;
        serves(&reading, &winner);
        assert_eq!(at(won), reading.seen.version);
    }
}

#[tokio::test]
async fn a_write_waits_for_the_lock() {
    let folder = folder();
    let sink = directory(&folder);
    let lock = File::create(folder.path().join(".rekeyd.lock")).unwrap();
    lock.lock().unwrap();
    let release = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!folder.path().join("x").exists());
        drop(lock);
    };
    let (place, pair, base) = (place("x"), pair(1), Version("absent".into()));
    let (written, ()) = tokio::join!(publish(&sink, &place, &pair, &base), release);
    at(written);
}

#[tokio::test]
async fn a_lock_that_is_never_given_back_is_a_local_fault() {
    let folder = folder();
    let sink = directory(&folder);
    let lock = File::create(folder.path().join(".rekeyd.lock")).unwrap();
    lock.lock().unwrap();
    let failure = not_done(publish(&sink, &place("x"), &pair(1), &Version("absent".into())).await);
    assert!(failure.fault == Fault::Local && failure.detail.contains("holds the lock"), "{failure}");
    look(&sink, &place("x")).await;
}

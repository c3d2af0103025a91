//! The file work behind the directory sink: plain, blocking, and in the order that survives a power cut.

use super::super::content::Text;
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::names::Version;
use crate::ports::Written;
use rustix::fs::OFlags;
use std::fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// Whoever holds a lock on this file may replace files.
const LOCK: &str = ".rekeyd.lock";
/// A new file before it gets its name.
const NEW: &str = ".rekeyd.new";
/// Only the owner may read a file, and write it.
const PRIVATE: u32 = 0o600;
/// The largest file that is read, in bytes.
const LIMIT: u64 = 1024 * 1024;
/// How often the lock is tried, and how long the pause between is: 5 s in all. A holder needs milliseconds.
const TRIES: u32 = 250;
const PAUSE: Duration = Duration::from_millis(20);

/// What lies under a name.
pub(super) struct Held {
    /// Its version.
    pub(super) version: Version,
    /// Its bytes; none if there is no file.
    pub(super) text: Option<Text>,
}

/// The directory.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Removes what a crash left behind. If that fails now, the next write does it or says why it can not.
    pub(super) fn tidy(&self) {
        if let Ok(_lock) = self.check().and_then(|()| self.lock(1)) {
            let _ = fs::remove_file(self.path.join(NEW));
        }
    }

    /// Reads one file.
    pub(super) fn read(&self, name: &str) -> Result<Held, Failure> {
        self.check()?;
        let named = |error: io::Error| failure(&self.path.join(name), &error);
        let Some(file) = self.open(name).map_err(named)? else {
            return Ok(Held { version: absent(), text: None });
        };
        let before = file.metadata().map_err(named)?;
        if !before.is_file() || before.len() > LIMIT {
            return Err(named(io::Error::other("not a regular file of at most 1 MiB")));
        }
        let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(before.len()).unwrap_or_default() + 1));
        (&file).take(LIMIT).read_to_end(&mut text).map_err(named)?;
        let version = version(&before);
        match version == self::version(&file.metadata().map_err(named)?) {
            true => Ok(Held { version, text: Some(text) }),
            false => Err(Failure::new(Fault::Conflict, "the file was written to while it was read")),
        }
    }

    /// Replaces the file if it is still at this version.
    pub(super) fn replace(
        &self,
        name: &str,
        base: &Version,
        text: impl FnOnce(Option<&[u8]>) -> Text,
    ) -> Outcome<Written> {
        let _lock = match self.check().and_then(|()| self.lock(TRIES)) {
            Ok(lock) => lock,
            Err(failure) => return Outcome::NotDone(failure),
        };
        let new = match self.stage(name, base, text) {
            Ok(Some(new)) => new,
            Ok(None) => return Outcome::Done(Written::Conflict),
            Err(failure) => return Outcome::NotDone(failure),
        };
        // From here on the file may have changed: a network file system can carry out what it reports as failed.
        match self.commit(new, name) {
            Ok(version) => Outcome::Done(Written::At(version)),
            Err(error) => Outcome::Unknown(failure(&self.path.join(name), &error)),
        }
    }

    /// Builds the new file, safely on disk; none if the old one is not, or no longer, at this version.
    fn stage(
        &self,
        name: &str,
        base: &Version,
        text: impl FnOnce(Option<&[u8]>) -> Text,
    ) -> Result<Option<New>, Failure> {
        let held = self.read(name)?;
        if held.version != *base {
            return Ok(None);
        }
        let text = text(held.text.as_deref().map(Vec::as_slice));
        let new = New::build(&self.path, &text).map_err(|error| failure(&self.path.join(NEW), &error))?;
        let now = self.stat(name).map_err(|error| failure(&self.path.join(name), &error))?;
        if now.as_ref().map_or_else(absent, version) != *base {
            return Ok(None);
        }
        if let Some(old) = now {
            new.later_than(&old).map_err(|error| failure(&new.path, &error))?;
        }
        Ok(Some(new))
    }

    /// Gives the new file its name.
    fn commit(&self, mut new: New, name: &str) -> io::Result<Version> {
        fs::rename(&new.path, self.path.join(name))?;
        new.renamed = true;
        File::open(&self.path)?.sync_all()?;
        Ok(version(&new.file.metadata()?))
    }

    /// The directory must be one, and nobody else may put files into it or take them away.
    fn check(&self) -> Result<(), Failure> {
        let unfit = |why: &str| Failure::new(Fault::Local, &format!("{}: {why}", self.path.display()));
        let facts = fs::metadata(&self.path).map_err(|error| failure(&self.path, &error))?;
        if !facts.is_dir() {
            return Err(unfit("not a directory"));
        }
        if facts.mode() & 0o022 != 0 {
            return Err(unfit("its group or everybody may write there: chmod go-w it"));
        }
        let owner = facts.uid();
        match owner == 0 || owner == rustix::process::geteuid().as_raw() {
            true => Ok(()),
            false => Err(unfit("it belongs to another user")),
        }
    }

    /// Takes the lock, which is given back when the file is closed, by a crash too.
    #[expect(clippy::disallowed_methods, reason = "a pause between two tries for a lock, on a thread that may block")]
    fn lock(&self, tries: u32) -> Result<File, Failure> {
        let path = self.path.join(LOCK);
        let open = OpenOptions::new().write(true).create(true).mode(PRIVATE).custom_flags(no_link()).open(&path);
        let file = open.map_err(|error| failure(&path, &error))?;
        for _ in 0..tries {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                Err(TryLockError::Error(error)) => return Err(failure(&path, &error)),
            }
        }
        Err(Failure::new(Fault::Local, &format!("{}: another process holds the lock", path.display())))
    }

    fn open(&self, name: &str) -> io::Result<Option<File>> {
        found(OpenOptions::new().read(true).custom_flags(no_link()).open(self.path.join(name)))
    }

    fn stat(&self, name: &str) -> io::Result<Option<Metadata>> {
        found(fs::symlink_metadata(self.path.join(name)))
    }
}

/// A new file, which is removed again unless it was renamed.
struct New {
    path: PathBuf,
    file: File,
    renamed: bool,
}

impl New {
    fn build(folder: &Path, text: &[u8]) -> io::Result<Self> {
        let path = folder.join(NEW);
        found(fs::remove_file(&path))?;
        let file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&path)?;
        let new = Self { path, file, renamed: false };
        new.file.set_permissions(Permissions::from_mode(PRIVATE))?;
        (&new.file).write_all(text)?;
        new.file.sync_all()?;
        Ok(new)
    }

    /// Makes the new file younger than the old one, so that a version never comes back when the file system gives an
    /// old inode out again: its clock ticks every few milliseconds only.
    #[expect(clippy::disallowed_methods, reason = "waits for the clock of the file system to tick")]
    fn later_than(&self, old: &Metadata) -> io::Result<()> {
        for _ in 0..25 {
            let new = self.file.metadata()?;
            if (new.ctime(), new.ctime_nsec()) > (old.ctime(), old.ctime_nsec()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
            self.file.set_permissions(Permissions::from_mode(PRIVATE))?;
        }
        Ok(())
    }
}

impl Drop for New {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn version(facts: &Metadata) -> Version {
    Version(format!("{}-{}.{:09}-{}", facts.ino(), facts.ctime(), facts.ctime_nsec(), facts.size()))
}

fn absent() -> Version {
    Version("absent".to_owned())
}

/// A name that leads elsewhere is not followed, and a pipe is not waited for.
fn no_link() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Fault::Local, &format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(facts: &Metadata) -> (i64, i64) {
        (facts.ctime(), facts.ctime_nsec())
    }

    #[test]
    fn a_new_file_is_younger_than_the_old_one_even_within_one_tick_of_the_clock() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let path = folder.path().join(round.to_string());
            let old = File::create(&path).unwrap().metadata().unwrap();
            let path = folder.path().join(NEW);
            let new = New { file: File::create(&path).unwrap(), path, renamed: false };
            new.later_than(&old).unwrap();
            assert!(time(&new.file.metadata().unwrap()) > time(&old));
        }
    }

    #[test]
    fn a_new_file_that_gets_no_name_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        drop(New::build(folder.path(), b"canary").unwrap());
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}

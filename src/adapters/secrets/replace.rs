//! Replaces the file of a secret as a whole: whoever reads it finds the old content or the new one, and nothing between,
//! also after a power cut. Owner and mode stay as they were.

use crate::model::secret::Secret;
use rustix::fs::OFlags;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// Why a file was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// There is nothing to replace.
    #[error("there is no file {} to be replaced", .0.display())]
    Missing(PathBuf),
    /// Something else than a regular file; a link is some program's way to replace the file itself, as Kubernetes does.
    #[error("{} is a link or no regular file: what made it has to replace it", .0.display())]
    NotAFile(PathBuf),
    /// It could not be done; the old content is still there.
    #[error("{} can not be replaced", .0.display())]
    Failed(PathBuf, #[source] io::Error),
    /// It was done, and may be undone by a power cut.
    #[error("{} was replaced, and it is not certain that the disk has it", .0.display())]
    Unsure(PathBuf, #[source] io::Error),
}

/// Replaces the file.
pub fn replace(path: &Path, text: &Secret) -> Result<(), ReplaceError> {
    let failed = |error| ReplaceError::Failed(path.to_owned(), error);
    let missing = |error: io::Error| match error.kind() == io::ErrorKind::NotFound {
        true => ReplaceError::Missing(path.to_owned()),
        false => failed(error),
    };
    let old = fs::symlink_metadata(path).map_err(missing)?;
    let (Some(folder), Some(name), true) = (path.parent(), path.file_name(), old.is_file()) else {
        return Err(ReplaceError::NotAFile(path.to_owned()));
    };
    let new = folder.join(format!(".{}.rekeyd-new", name.to_string_lossy()));
    New::build(new, &old, text).and_then(|new| new.rename(path)).map_err(failed)?;
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| ReplaceError::Unsure(path.to_owned(), error))
}

/// The new file before it gets its name; it is removed if it does not.
struct New {
    path: PathBuf,
    named: bool,
}

impl New {
    /// Nobody but the owner can open it before it belongs to whom it shall belong to.
    fn build(path: PathBuf, old: &Metadata, text: &Secret) -> io::Result<Self> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // Gone, or what a crash left behind.
            Err(_) | Ok(()) => (),
        }
        let no_link = OFlags::NOFOLLOW.bits().cast_signed();
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(no_link).open(&path)?;
        let new = Self { path, named: false };
        (&file).write_all(text.expose().as_bytes())?;
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(old.mode() & 0o777))?;
        file.sync_all()?;
        Ok(new)
    }

    fn rename(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.named = true;
        Ok(())
    }
}

impl Drop for New {
    fn drop(&mut self) {
        if !self.named {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    fn secret() -> Secret {
        Secret::new("Canary".to_owned())
    }

    fn names(folder: &TempDir) -> Vec<String> {
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_stays_beside_it() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "old").unwrap();
        fs::write(folder.path().join(".key.rekeyd-new"), "what a crash left").unwrap();
        for mode in [0o400, 0o600, 0o440] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            replace(&path, &secret()).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "Canary");
        assert_eq!(names(&folder), ["key"]);
    }

    #[test]
    fn what_is_no_file_of_its_own_is_left_as_it_is() {
        let folder = TempDir::new().unwrap();
        let (path, link) = (folder.path().join("key"), folder.path().join("link"));
        fs::write(&path, "old").unwrap();
        symlink(&path, &link).unwrap();
        assert!(matches!(replace(&link, &secret()), Err(ReplaceError::NotAFile(_))));
        assert!(matches!(replace(folder.path(), &secret()), Err(ReplaceError::NotAFile(_))));
        assert!(matches!(replace(&folder.path().join("none"), &secret()), Err(ReplaceError::Missing(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(&folder).len(), 2);
    }
}

//! Reads the secrets that the policy names by file or environment variable.
//!
//! A file must be a regular file, at the end of whatever links lead to it, that nobody but its owner may touch; `mode` has
//! the two places where the rule is softer. The error texts name the file or the variable, and never what it holds.

mod mode;
mod replace;

use crate::model::names::Place;
use crate::model::policy::SecretSource;
use crate::model::secret::Secret;
use aws_lc_rs::digest::{SHA256, digest};
use mode::{private, way_out};
pub use replace::{ReplaceError, replace};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The longest secret, in bytes: far above any token, far below what could hurt.
pub const LIMIT: usize = 64 * 1024;

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file could not be opened or read.
    #[error("the secret file {} can not be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is a directory, a device, a pipe or a socket.
    #[error("the secret file {} is not a regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner may touch it.
    #[error("the secret file {} has mode {mode:04o}, {}", path.display(), way_out(path))]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The environment variable does not exist.
    #[error("the environment variable {name} is not set")]
    Unset {
        /// The variable.
        name: String,
    },
    /// It lies in a store, which is asked beforehand.
    #[error("{place} is no file and no variable")]
    Elsewhere {
        /// Where.
        place: Place,
    },
    /// What was read cannot be a secret.
    #[error("{origin} {problem}")]
    Unfit {
        /// The file or variable, in words.
        origin: String,
        /// What is wrong.
        problem: Problem,
    },
}

/// What is wrong with a secret that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// More than `LIMIT` bytes.
    #[error("holds more than 64 KiB")]
    TooLong,
    /// Not text.
    #[error("does not hold UTF-8 text")]
    NotText,
    /// A tab, a second line, or worse.
    #[error("holds a line break or another control character inside the secret")]
    Control,
}

/// Reads a secret. It blocks for as long as the file system does.
pub fn read(source: &SecretSource) -> Result<Secret, SecretError> {
    match source {
        SecretSource::File(path) => read_file(path, environment("CREDENTIALS_DIRECTORY").as_deref().map(Path::new)),
        SecretSource::Env(name) => read_variable(name, environment(name)),
        SecretSource::Admin(path) => read_lines(path),
        SecretSource::Stored(place) => Err(SecretError::Elsewhere { place: place.clone() }),
    }
}

/// Reads a secret of several lines, as a private key in PEM is one.
pub fn read_lines(path: &Path) -> Result<Secret, SecretError> {
    let bytes = contents(path, environment("CREDENTIALS_DIRECTORY").as_deref().map(Path::new))?;
    let unfit = |problem| SecretError::Unfit { origin: format!("the secret file {}", path.display()), problem };
    match std::str::from_utf8(&bytes) {
        _ if bytes.len() > LIMIT => Err(unfit(Problem::TooLong)),
        Ok("") => Err(unfit(Problem::Empty)),
        Ok(text) => Ok(Secret::new(text.to_owned())),
        Err(_) => Err(unfit(Problem::NotText)),
    }
}

/// What tells one content of a file from another (SHA-256), whatever its mode is; none if it can not be read.
pub fn fingerprint(path: &Path) -> Option<[u8; 32]> {
    let file = open(path).ok().filter(|file| file.metadata().is_ok_and(|facts| facts.is_file()))?;
    digest(&SHA256, &taken(file).ok()?).as_ref().try_into().ok()
}

#[expect(clippy::disallowed_methods, reason = "this file is where secrets enter from the environment")]
fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

fn read_variable(name: &str, value: Option<OsString>) -> Result<Secret, SecretError> {
    let value = value.ok_or_else(|| SecretError::Unset { name: name.to_owned() })?;
    let bytes = Zeroizing::new(value.into_encoded_bytes());
    accept(&bytes).map_err(|problem| SecretError::Unfit { origin: format!("the environment variable {name}"), problem })
}

fn read_file(path: &Path, credentials: Option<&Path>) -> Result<Secret, SecretError> {
    let bytes = contents(path, credentials)?;
    accept(&bytes)
        .map_err(|problem| SecretError::Unfit { origin: format!("the secret file {}", path.display()), problem })
}

/// Checks and reads through one open handle, so that the file checked is the file read.
fn contents(path: &Path, credentials: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    let file = open(path).map_err(unreadable)?;
    let facts = file.metadata().map_err(unreadable)?;
    if !facts.is_file() {
        return Err(SecretError::NotAFile { path: path.to_owned() });
    }
    let mode = facts.permissions().mode() & 0o7777;
    if !private(path, mode, credentials) {
        return Err(SecretError::Exposed { path: path.to_owned(), mode });
    }
    taken(file).map_err(unreadable)
}

/// What is in the file, up to a little more than the limit.
fn taken(file: File) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room enough from the start: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LIMIT + 64));
    file.take(LIMIT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens without waiting for the other end, should the path lead to a named pipe.
fn open(path: &Path) -> io::Result<File> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(nonblocking).open(path)
}

/// Takes one line break off the end and checks the rest.
fn accept(bytes: &[u8]) -> Result<Secret, Problem> {
    if bytes.len() > LIMIT {
        return Err(Problem::TooLong);
    }
    let line = bytes.strip_suffix(b"\r\n").or_else(|| bytes.strip_suffix(b"\n")).unwrap_or(bytes);
    let text = std::str::from_utf8(line).map_err(|_| Problem::NotText)?;
    match text {
        "" => Err(Problem::Empty),
        text if text.chars().any(char::is_control) => Err(Problem::Control),
        text => Ok(Secret::new(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    const CANARY: &str = "CanaryCanaryCanaryCanaryCanary01";

    fn write(directory: &Path, name: &str, mode: u32, content: &[u8]) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// What was read, or the whole error text; no error may hold what the file holds.
    fn outcome(result: Result<Secret, SecretError>) -> String {
        match result {
            Ok(secret) => secret.expose().to_owned(),
            Err(error) => {
                assert!(!format!("{error} {error:?}").contains("Canary"), "{error}");
                error.to_string()
            }
        }
    }

    fn read_with_mode(mode: u32) -> String {
        let home = TempDir::new().unwrap();
        let path = write(home.path(), "key", mode, CANARY.as_bytes());
        outcome(read_file(&path, None)).replace(&path.display().to_string(), "FILE")
    }

    #[test]
    fn one_line_break_at_the_end_is_not_part_of_a_secret() {
        let home = TempDir::new().unwrap();
        for end in ["", "\n", "\r\n"] {
            let path = write(home.path(), "key", 0o400, format!("{CANARY}{end}").as_bytes());
            assert_eq!(outcome(read(&SecretSource::File(path))), CANARY);
        }
    }

    #[test]
    fn content_that_can_not_be_a_secret_is_refused() {
        let home = TempDir::new().unwrap();
        let control = "holds a line break or another control character inside the secret";
        let cases: [(&[u8], &str); 8] = [
            (b"", "is empty"),
            (b"\n", "is empty"),
            (b"Canary\n\n", control),
            (b"Canary\nCanary", control),
            (b"Canary\tCanary", control),
            (b"Canary\r", control),
            (b"Canary\0", control),
            (b"Canary\xff", "does not hold UTF-8 text"),
        ];
        for (content, problem) in cases {
            let path = write(home.path(), "key", 0o600, content);
            let expected = format!("the secret file {} {problem}", path.display());
            assert_eq!(outcome(read_file(&path, None)), expected, "{content:?}");
        }
    }

    #[test]
    fn a_secret_may_have_64_kib_and_not_a_byte_more() {
        let home = TempDir::new().unwrap();
        let longest = write(home.path(), "longest", 0o400, &vec![b'x'; LIMIT]);
        assert_eq!(outcome(read_file(&longest, None)).len(), LIMIT);
        let longer = write(home.path(), "longer", 0o400, &vec![b'x'; LIMIT + 1]);
        assert!(outcome(read_file(&longer, None)).ends_with("holds more than 64 KiB"));
    }

    #[test]
    fn a_file_that_others_may_touch_is_refused_with_the_way_out() {
        for mode in [0o400, 0o600, 0o700] {
            assert_eq!(read_with_mode(mode), CANARY);
        }
        for mode in [0o440, 0o640, 0o620, 0o610, 0o404, 0o402, 0o401, 0o644, 0o4644] {
            let text = "so others can get at it: chmod 0400 FILE";
            assert_eq!(read_with_mode(mode), format!("the secret file FILE has mode {mode:04o}, {text}"));
        }
    }

    #[test]
    fn group_bits_are_fine_in_the_credentials_directory_of_systemd_and_only_there() {
        let (home, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let path = write(home.path(), "key", 0o440, CANARY.as_bytes());
        assert_eq!(outcome(read_file(&path, Some(home.path()))), CANARY);
        assert!(outcome(read_file(&path, Some(elsewhere.path()))).contains("has mode 0440"));
        assert!(outcome(read_file(&path, Some(&home.path().join("missing")))).contains("has mode 0440"));
        for mode in [0o460, 0o450, 0o444, 0o402] {
            let path = write(home.path(), "other", mode, CANARY.as_bytes());
            assert!(outcome(read_file(&path, Some(home.path()))).contains("has mode"), "{mode:o}");
        }
        let link = home.path().join("link");
        symlink(write(elsewhere.path(), "key", 0o440, CANARY.as_bytes()), &link).unwrap();
        assert!(outcome(read_file(&link, Some(home.path()))).contains("has mode 0440"), "a link leads out of it");
    }

    /// A volume as the kubelet lays it out, with one key.
    fn volume(mode: u32) -> (TempDir, PathBuf) {
        let home = TempDir::new().unwrap();
        let generation = home.path().join("..2026_11_21_05_17_02.1234567890");
        std::fs::create_dir(&generation).unwrap();
        write(&generation, "main_key", mode, CANARY.as_bytes());
        symlink(generation.file_name().unwrap(), home.path().join("..data")).unwrap();
        symlink("..data/main_key", home.path().join("main_key")).unwrap();
        let path = home.path().join("main_key");
        (home, path)
    }

    #[test]
    fn the_modes_of_a_kubernetes_volume_are_accepted_unless_others_may_write() {
        for mode in [0o400, 0o440, 0o640, 0o644, 0o444] {
            let (_home, path) = volume(mode);
            assert_eq!(outcome(read_file(&path, None)), CANARY, "{mode:o}");
        }
        for mode in [0o660, 0o666, 0o777, 0o646] {
            let (_home, path) = volume(mode);
            assert!(outcome(read_file(&path, None)).contains("has mode"), "{mode:o}");
        }
    }

    #[test]
    fn a_file_that_only_lies_beside_a_kubernetes_volume_gets_no_exception() {
        let (home, _) = volume(0o644);
        let beside = write(home.path(), "beside", 0o644, CANARY.as_bytes());
        assert!(outcome(read_file(&beside, None)).contains("has mode 0644"));
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused_at_once() {
        let home = TempDir::new().unwrap();
        let pipe = home.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for path in [home.path().to_owned(), pipe, PathBuf::from("/dev/zero")] {
            let expected = format!("the secret file {} is not a regular file", path.display());
            assert_eq!(outcome(read_file(&path, None)), expected);
        }
        let missing = home.path().join("missing");
        let expected = format!("the secret file {} can not be read", missing.display());
        assert_eq!(outcome(read_file(&missing, None)), expected);
    }

    #[test]
    fn a_variable_is_read_by_the_same_rules() {
        let set = SecretSource::Env("CARGO_PKG_NAME".to_owned());
        assert_eq!(outcome(read(&set)), "rekeyd", "cargo sets this one for tests");
        let unset = SecretSource::Env("REKEYD_NO_SUCH_VARIABLE".to_owned());
        assert_eq!(outcome(read(&unset)), "the environment variable REKEYD_NO_SUCH_VARIABLE is not set");
        let empty = read_variable("KEY", Some(OsString::new()));
        assert_eq!(outcome(empty), "the environment variable KEY is empty");
        let broken = std::os::unix::ffi::OsStringExt::from_vec(b"Canary\xff".to_vec());
        let expected = "the environment variable KEY does not hold UTF-8 text";
        assert_eq!(outcome(read_variable("KEY", Some(broken))), expected);
    }
}

//! The witness: a small file beside the journal that remembers how far the journal had come.
//!
//! A journal that has come less far than its witness was restored from a backup: it no longer knows the last decisions,
//! and deletes are held (protocol, rule 14). The witness is written after each commit and not synced; losing its last
//! value can only make a restore go unnoticed, which the stamps in the sinks then show.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// The file, open.
pub(super) struct Witness {
    file: File,
}

impl Witness {
    /// Opens or creates it, and answers the count it remembers.
    pub(super) fn open(path: &Path) -> io::Result<(Self, u64)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut text = [0; 20];
        let length = file.read_at(&mut text, 0)?;
        let count = std::str::from_utf8(&text[..length]).ok().and_then(|text| text.trim().parse().ok());
        Ok((Self { file }, count.unwrap_or(0)))
    }

    /// Remembers a count. A failure is only told: the journal itself is what counts.
    pub(super) fn remember(&self, count: i64) {
        if let Err(error) = self.file.write_all_at(format!("{count:020}").as_bytes(), 0) {
            tracing::warn!(%error, "the journal's witness could not be written");
        }
    }
}

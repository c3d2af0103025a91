//! A directory as a sink: one file per credential, mode 0600, replaced as a whole.
//!
//! **Version.** Inode, time of the last change of the inode in nanoseconds, and size: every write of ours makes a new
//! file and renames it over the old one, so the inode changes each time, and the size and the time tell when somebody
//! edited the file in place. Nothing is computed from the secret. `absent` where there is no file. Touching the mode or
//! the owner of a file, or making a hard link to it, changes its version too.
//!
//! **Compare-and-set.** Check and rename happen under an advisory lock on `.rekeyd.lock` in the directory, so that two
//! processes of rekeyd never replace each other's files blindly. Whoever writes there without that lock can be
//! overtaken between the last check and the rename, some microseconds later; no file system offers more.
//!
//! **No leftovers.** A new file is built as `.rekeyd.new`, always the same name: what a crash left there, which holds a
//! secret, is removed when the daemon starts and by the next write.

mod files;

use super::content::{self, Text};
use crate::model::document::{Beside, Names, Pair, Seen};
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::key::AttemptId;
use crate::model::names::{BadName, Place, Version};
use crate::ports::{Reading, Sink, Written};
use async_trait::async_trait;
use files::Folder;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The longest name of a file, in bytes (`NAME_MAX` of Linux).
const LONGEST: usize = 255;

/// How long a write waits for those before it; nothing has been done by then.
const PATIENCE: Duration = Duration::from_secs(5);

/// A directory of files.
pub struct Directory {
    folder: Arc<Folder>,
    /// Held by the one write of this process: the lock file is for those of others, and is tried for again and again.
    turn: Arc<Mutex<()>>,
}

impl Directory {
    /// Uses the directory, which must exist when something is read or written.
    pub fn new(path: PathBuf) -> Self {
        Self { folder: Arc::new(Folder::new(path)), turn: Arc::default() }
    }

    /// Removes what a crash left there: for who is about to write, and not for who only looks.
    pub fn tidy(&self) {
        self.folder.tidy();
    }

    /// Checks the name of a file: one that stays in the directory, and that no file of our own can have.
    pub fn accepts(name: &str) -> Result<(), BadName> {
        let fits = (1..=LONGEST).contains(&name.len());
        match fits && !name.starts_with('.') && !name.contains(['/', '\0']) {
            true => Ok(()),
            false => Err(BadName("a file name of 1 to 255 bytes, without slashes and not starting with a dot")),
        }
    }

    /// Does file work where it may block.
    async fn work<T: Send + 'static>(
        &self,
        place: &Place,
        work: impl FnOnce(&Folder, &str) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        if let Err(bad) = Self::accepts(&place.path) {
            return Outcome::NotDone(Failure::new(Fault::Refused, &format!("the name is not {bad}")));
        }
        let (folder, name) = (self.folder.clone(), place.path.clone());
        let done = tokio::task::spawn_blocking(move || work(&folder, &name)).await;
        done.unwrap_or_else(|_| Outcome::Unknown(Failure::new(Fault::Local, "the work on the file was cut off")))
    }

    /// Replaces a file when it is its turn. The turn ends with the work, also if nobody waits for that any more.
    async fn replace(
        &self,
        place: &Place,
        base: &Version,
        text: impl FnOnce(Option<&[u8]>) -> Text + Send + 'static,
    ) -> Outcome<Written> {
        let Ok(turn) = tokio::time::timeout(PATIENCE, self.turn.clone().lock_owned()).await else {
            return Outcome::NotDone(Failure::new(Fault::Local, "other writes to the directory do not end"));
        };
        let base = base.clone();
        self.work(place, move |folder, name| {
            let _turn = turn;
            folder.replace(name, &base, text)
        })
        .await
    }
}

#[async_trait]
impl Sink for Directory {
    async fn read(&self, place: &Place, names: &Names, _: Option<AttemptId>) -> Outcome<Reading> {
        let names = names.clone();
        self.work(place, move |folder, name| match folder.read(name) {
            Err(failure) => Outcome::NotDone(failure),
            Ok(held) => {
                let (content, secret) = content::read(held.text.as_deref().map(Vec::as_slice), &names);
                let seen = Seen { version: held.version, content, staged: false };
                Outcome::Done(Reading { seen, secret, staged: None })
            }
        })
        .await
    }

    async fn publish(&self, place: &Place, names: &Names, pair: &Pair, base: &Version) -> Outcome<Written> {
        let names = names.clone();
        let pair = Pair {
            account: pair.account.clone(),
            sid: pair.sid.clone(),
            secret: pair.secret.duplicate(),
            stamp: pair.stamp.clone(),
            beside: pair.beside.as_ref().map(Beside::duplicate),
        };
        self.replace(place, base, move |there| content::with_pair(there, &names, &pair)).await
    }

    async fn fence(&self, place: &Place, names: &Names, token: AttemptId, base: &Version) -> Outcome<Written> {
        let names = names.clone();
        self.replace(place, base, move |there| content::fenced(there, &names, token)).await
    }
}

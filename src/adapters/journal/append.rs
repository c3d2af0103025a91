//! An entry on its way into a journal, whichever it is.

use super::index::{Note, notes};
use crate::model::event::{Entry, Event};
use crate::model::home::Home;
use crate::model::key::KeySid;
use crate::model::names::CredentialName;
use crate::model::rotation::{HOUR, State};
use crate::model::time::{Moment, Uptime};
use crate::ports::{Claim, JournalError};

/// An entry ready to be written: the state after it, and what to note beside it.
pub(super) struct Append {
    pub(super) name: CredentialName,
    pub(super) home: Home,
    pub(super) seq: u64,
    pub(super) at: Moment,
    pub(super) moment: String,
    pub(super) body: String,
    pub(super) state: String,
    pub(super) notes: Vec<Note>,
    pub(super) spent: Option<Spent>,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    /// It is written.
    Fresh,
    /// Another entry has its number, or another process the credential.
    Taken,
    /// More deletes were decided in the account than it knows of.
    Overspent,
}

/// What a decision to delete rests on: the journal refuses it if the account has spent more (S12).
pub(super) struct Spent {
    /// Deletes decided since then,
    pub(super) since: Uptime,
    /// other than of this key,
    pub(super) but: KeySid,
    /// may be so many.
    pub(super) room: u32,
}

impl Append {
    pub(super) fn new(claim: &Claim, entry: &Entry, state: &State) -> Result<Self, JournalError> {
        let text = |error: serde_json::Error| JournalError::Unavailable(error.to_string());
        Ok(Self {
            name: claim.name.clone(),
            // What was begun stays where it was begun, whatever a policy says since.
            home: state.home.clone().unwrap_or_else(|| claim.home.clone()),
            seq: entry.seq,
            at: entry.at,
            moment: serde_json::to_string(&entry.at).map_err(text)?,
            body: serde_json::to_string(entry).map_err(text)?,
            state: serde_json::to_string(state).map_err(text)?,
            notes: notes(&claim.state, entry),
            spent: Spent::of(entry),
        })
    }

    /// The same, to be checked against what the account has spent or not: history is not.
    pub(super) fn checked(self, spending: bool) -> Self {
        Self { spent: self.spent.filter(|_| spending), ..self }
    }
}

impl Spent {
    fn of(entry: &Entry) -> Option<Self> {
        let Event::Condemned { sid, evidence } = &entry.event else { return None };
        Some(Self { since: entry.at.uptime.minus(HOUR), but: sid.clone(), room: evidence.spent })
    }
}

/// The words of a note that go into a statement: a key or an attempt, and the attempt that made the key.
pub(super) fn words(note: &Note) -> (String, Option<String>) {
    match note {
        Note::Attempt(attempt) | Note::Unmade(attempt) | Note::Abandoned(attempt) => (attempt.to_string(), None),
        Note::Key(sid, attempt) => (sid.to_string(), attempt.map(|attempt| attempt.to_string())),
        Note::Condemned(sid) | Note::Gone(sid) => (sid.to_string(), None),
    }
}

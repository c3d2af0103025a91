//! What every journal keeps beside the entries so that it can be found without reading them: keys, attempts, deletes.

use crate::model::event::{Entry, Event};
use crate::model::key::{AttemptId, KeySid};
use crate::model::rotation::State;
use aws_lc_rs::digest;

/// One thing to note beside an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// An attempt was decided.
    Attempt(AttemptId),
    /// An attempt came to nothing without Twilio having made a key: it does not count.
    Unmade(AttemptId),
    /// This key is ours and alive, made by that attempt if by any.
    Key(KeySid, Option<AttemptId>),
    /// A new key was given up.
    Abandoned(AttemptId),
    /// The deletion of this key was decided.
    Condemned(KeySid),
    /// This key is gone.
    Gone(KeySid),
}

/// The notes that follow from an entry; `before` is the state that it was applied to.
pub fn notes(before: &State, entry: &Entry) -> Vec<Note> {
    let attempt = before.rotation.as_ref().map(|rotation| rotation.attempt);
    match &entry.event {
        Event::Intended(intent) => vec![Note::Attempt(intent.attempt)],
        Event::CreateRefused { .. } => attempt.into_iter().map(Note::Unmade).collect(),
        Event::Adopted { sid, .. } => vec![Note::Key(sid.clone(), None)],
        Event::Created { sid, .. } => vec![Note::Key(sid.clone(), attempt)],
        Event::Abandoned { sid, .. } => {
            let given_up = attempt.into_iter().map(Note::Abandoned);
            std::iter::once(Note::Key(sid.clone(), attempt)).chain(given_up).collect()
        }
        Event::Unsettled | Event::Ambiguous { .. } => attempt.into_iter().map(Note::Abandoned).collect(),
        Event::Found { attempt, sid } => vec![Note::Key(sid.clone(), Some(*attempt))],
        Event::Condemned { sid, .. } => vec![Note::Condemned(sid.clone())],
        Event::Revoked { sid } | Event::Removed { sid } | Event::Missing { sid } => vec![Note::Gone(sid.clone())],
        Event::Requested { .. }
        | Event::Verified { .. }
        | Event::Publishing { .. }
        | Event::Written { .. }
        | Event::Rebased { .. }
        | Event::Widened { .. }
        | Event::Served { .. }
        | Event::Restarting { .. }
        | Event::Restarted { .. }
        | Event::RolledOut { .. }
        | Event::Published { .. }
        | Event::Completed
        | Event::Fencing { .. }
        | Event::Fenced { .. }
        | Event::Revived { .. }
        | Event::Failed { .. }
        | Event::Recovered
        | Event::Halted { .. }
        | Event::Resumed { .. } => Vec::new(),
    }
}

/// The entries of a history, if it is whole: each follows the one before, and the last is the one that the row of the
/// credential names. Each comes as its text and its link; `last` is the number and the link of the last one.
pub fn unbroken(history: &[(String, Vec<u8>)], last: (u64, &[u8])) -> Option<Vec<Entry>> {
    let mut before: &[u8] = &[];
    let mut entries = Vec::with_capacity(history.len());
    for (number, (body, chain)) in (1..).zip(history) {
        let entry: Entry = serde_json::from_str(body).ok()?;
        (link(before, body) == *chain && entry.seq == number).then_some(())?;
        before = chain;
        entries.push(entry);
    }
    (last == (history.len() as u64, before)).then_some(entries)
}

/// The link of an entry: SHA-256 over the link before it and the entry's text, so that a changed or missing entry shows.
pub fn link(before: &[u8], body: &str) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(before);
    context.update(body.as_bytes());
    context.finish().as_ref().to_vec()
}

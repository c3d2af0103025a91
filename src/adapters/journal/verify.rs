//! Whether a journal is whole: every entry linked to the one before it, every state the sum of its entries, and every note
//! beside them where it should be.

use super::index::{Note, notes};
use crate::model::apply::apply;
use crate::model::key::{AttemptId, KeySid};
use crate::model::rotation::State;
use crate::ports::{Journal, JournalError, Row};
use std::collections::BTreeMap;

/// What was checked.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Credentials.
    pub credentials: usize,
    /// Entries.
    pub entries: usize,
    /// Keys.
    pub keys: usize,
}

/// Checks everything; the faults, in words, if there are any.
pub async fn verify(journal: &dyn Journal) -> Result<Result<Verified, Vec<String>>, JournalError> {
    let mut sum = Verified::default();
    let mut faults = Vec::new();
    for row in journal.rows().await? {
        match one(journal, &row).await {
            Ok((entries, keys)) => {
                sum.credentials += 1;
                sum.entries += entries;
                sum.keys += keys;
            }
            Err(JournalError::Corrupt(what)) => faults.push(what),
            Err(unavailable @ JournalError::Unavailable(_)) => return Err(unavailable),
        }
    }
    Ok(if faults.is_empty() { Ok(sum) } else { Err(faults) })
}

/// One credential: how many entries and keys it has.
async fn one(journal: &dyn Journal, row: &Row) -> Result<(usize, usize), JournalError> {
    let name = &row.name;
    let corrupt = |what: String| Err(JournalError::Corrupt(format!("`{name}`: {what}")));
    let mut state = State::default();
    // What a running daemon has added since the row was read is not its business.
    let mut entries = journal.history(name).await?;
    entries.retain(|entry| entry.seq <= row.seq);
    let mut keys: BTreeMap<KeySid, (Option<AttemptId>, bool)> = BTreeMap::new();
    for (number, entry) in (1..).zip(&entries) {
        if entry.seq != number {
            return corrupt(format!("entry {number} is missing"));
        }
        let noted = notes(&state, entry);
        state = match apply(state, entry) {
            Ok(state) => state,
            Err(misfit) => return corrupt(format!("entry {number} can not follow on those before it: {misfit}")),
        };
        for note in noted {
            match note {
                Note::Key(sid, attempt) => keys.entry(sid).or_insert((attempt, false)).1 = false,
                Note::Gone(sid) => drop(keys.entry(sid).and_modify(|key| key.1 = true)),
                Note::Attempt(_) | Note::Unmade(_) | Note::Abandoned(_) | Note::Condemned(_) => {}
            }
        }
    }
    if entries.len() as u64 != row.seq {
        return corrupt(format!("its state is of entry {}, and there are {}", row.seq, entries.len()));
    }
    if state != row.state {
        return corrupt("its state is not the sum of its entries".to_owned());
    }
    for (sid, (attempt, gone)) in &keys {
        let known = journal.key(sid).await?;
        let fits = known.is_some_and(|known| known.attempt == *attempt && known.gone == *gone);
        if !fits {
            return corrupt(format!("what is noted of {sid} is not what its entries say"));
        }
    }
    Ok((entries.len(), keys.len()))
}

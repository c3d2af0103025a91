//! The sandbox's memory of every call, so that a test can ask afterwards what nobody saw at the time.

use super::call::Operation;
use super::faults::Fault;
use super::signature::Form;
use crate::model::home::Region;
use crate::model::key::{AccountSid, KeySid, PublicKeySid};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::VecDeque;

/// One call that was worked on or turned away. A request that was delivered twice makes two entries, one that was
/// delivered late makes its entry then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When, by the true clock.
    pub at: Timestamp,
    /// What was wanted.
    pub operation: Operation,
    /// In which account.
    pub account: Option<AccountSid>,
    /// In which region.
    pub region: Region,
    /// Which key or account the caller came with; nothing if that was no SID, because it might be a misplaced secret.
    pub user: Option<String>,
    /// The key or public key that was made, shown, changed or deleted.
    pub key: Option<KeySid>,
    /// The HTTP status of the outcome, whether or not the caller came to know it.
    pub status: u16,
    /// Twilio's error code.
    pub code: Option<u32>,
    /// Why the credentials were not accepted.
    pub denied: Option<Denial>,
    /// The fault that struck the call.
    pub fault: Option<Fault>,
    /// By which reading of the rules the signature was right, where one was demanded.
    pub signed: Option<Form>,
    /// The public key that the signature was right by.
    pub signer: Option<PublicKeySid>,
}

/// Why credentials are not accepted. Twilio answers nearly all of these alike; a test must be able to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Denial {
    /// There were none.
    Absent,
    /// The user is no SID.
    Malformed,
    /// No key and no account has this SID.
    Unknown,
    /// The secret is not that of the key.
    WrongSecret,
    /// The key is too new for the edge that was met.
    TooNew,
    /// The key was deleted.
    Deleted,
    /// It is a key of another region, or a token where there are none.
    OtherRegion,
    /// The account is suspended or closed, or its parent is.
    AccountInactive,
    /// The pair is good, and does not permit this.
    NotPermitted,
    /// The account demands signed requests, and this one is not signed well.
    BadSignature,
}

impl Denial {
    /// Whether a pair that was once handed out, or should have been, did not work: what no consumer must ever see.
    pub fn dead_pair(self) -> bool {
        let unusable = matches!(self, Denial::Unknown | Denial::WrongSecret | Denial::OtherRegion);
        unusable || matches!(self, Denial::TooNew | Denial::Deleted)
    }
}

/// The entries, oldest first; the oldest are forgotten when there are too many.
#[derive(Debug, Default)]
pub struct Audit {
    entries: VecDeque<Entry>,
    forgotten: u64,
}

/// How many entries are kept: about 50 MB.
const KEPT: usize = 200_000;

impl Audit {
    pub(super) fn note(&mut self, entry: Entry) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
            self.forgotten += 1;
        }
        self.entries.push_back(entry);
    }

    /// Every entry that is kept.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// How many entries were forgotten: a proof from the audit needs this to be zero.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The calls that came with a pair that does not work.
    pub fn dead_pairs(&self) -> impl Iterator<Item = &Entry> {
        self.entries().filter(|entry| entry.denied.is_some_and(Denial::dead_pair))
    }

    /// How often the operation was worked on, or turned away, with this status.
    pub fn count(&self, operation: Operation, status: u16) -> usize {
        self.entries().filter(|entry| entry.operation == operation && entry.status == status).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entries_are_forgotten_and_counted() {
        let mut audit = Audit::default();
        for second in 0..=KEPT as i64 {
            audit.note(Entry {
                at: Timestamp::from_second(second).unwrap(),
                operation: Operation::ListKeys,
                account: None,
                region: Region::us1(),
                user: None,
                key: None,
                status: 200,
                code: None,
                denied: None,
                fault: None,
                signed: None,
                signer: None,
            });
        }
        assert_eq!((audit.entries().count(), audit.forgotten()), (KEPT, 1));
        assert_eq!(audit.entries().next().unwrap().at, Timestamp::from_second(1).unwrap());
    }
}

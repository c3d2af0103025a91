//! How a call to the outside can end, in three outcomes and a short list of faults (protocol, rule 2).

use serde::{Deserialize, Serialize};
use std::fmt;

/// How a call ended. Treating `Unknown` as either of the others is the classic way to lose or double a key.
#[derive(Debug)]
pub enum Outcome<T> {
    /// It took effect, and this is the answer.
    Done(T),
    /// It certainly did not take effect.
    NotDone(Failure),
    /// It may or may not have taken effect: look before deciding.
    Unknown(Failure),
}

impl<T> Outcome<T> {
    /// For reads, where "unknown" means no more than "not answered".
    pub fn answer(self) -> Result<T, Failure> {
        match self {
            Outcome::Done(value) => Ok(value),
            Outcome::NotDone(failure) | Outcome::Unknown(failure) => Err(failure),
        }
    }

    /// The same outcome with another answer.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Outcome::Done(value) => Outcome::Done(change(value)),
            Outcome::NotDone(failure) => Outcome::NotDone(failure),
            Outcome::Unknown(failure) => Outcome::Unknown(failure),
        }
    }

    /// What went wrong, if something did.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Outcome::Done(_) => None,
            Outcome::NotDone(failure) | Outcome::Unknown(failure) => Some(failure.fault),
        }
    }

    /// The outcome as a short word for metrics.
    pub fn word(&self) -> &'static str {
        self.fault().map_or("done", Fault::word)
    }
}

/// A fault with a line for people: at most 200 characters, none that controls or hides anything, never a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind it was.
    pub fault: Fault,
    /// What the other side said, or what happened here.
    pub detail: String,
}

impl Failure {
    /// Cuts and cleans the detail. Secrets must have been scrubbed by the caller, who alone knows them.
    pub fn new(fault: Fault, detail: &str) -> Self {
        let clean = detail.chars().map(|c| if c.is_control() || is_hidden(c) { ' ' } else { c });
        Self { fault, detail: clean.take(200).collect() }
    }
}

/// A letter that takes up no room, breaks the line, or turns the direction of writing (Unicode, general categories Cf,
/// Zl and Zp, as far as a text from outside could hide or forge something with them).
fn is_hidden(c: char) -> bool {
    let ranges = ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{206f}', '\u{e0000}'..='\u{e007f}'];
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{feff}') || ranges.iter().any(|range| range.contains(&c))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.fault.word(), self.detail)
    }
}

/// The kinds of fault: few enough to be label values of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// No connection could be made, or it was cut.
    Unreachable,
    /// No whole answer came in time.
    Timeout,
    /// Too many requests (HTTP 429, or a sink's own throttle).
    Throttled,
    /// The other side failed (HTTP 5xx, or a sealed Vault).
    Server,
    /// The answer could not be understood, was too large, or broke its own rules.
    Malformed,
    /// The credentials that the daemon itself uses were not accepted.
    Unauthorized,
    /// They were accepted and are not enough.
    Forbidden,
    /// What was asked for is not there.
    Missing,
    /// A compare-and-set found another version.
    Conflict,
    /// The key pair that a sink serves was not accepted by Twilio.
    PairRefused,
    /// Twilio will not make more keys for this account (error 70151).
    Quota,
    /// Refused for another reason (HTTP 4xx).
    Refused,
    /// A local file or directory would not do.
    Local,
}

impl Fault {
    /// Every fault, for metrics that start at zero.
    pub const ALL: [Fault; 13] = [
        Fault::Unreachable,
        Fault::Timeout,
        Fault::Throttled,
        Fault::Server,
        Fault::Malformed,
        Fault::Unauthorized,
        Fault::Forbidden,
        Fault::Missing,
        Fault::Conflict,
        Fault::PairRefused,
        Fault::Quota,
        Fault::Refused,
        Fault::Local,
    ];

    /// The word used in metrics, logs and `status`.
    pub fn word(self) -> &'static str {
        match self {
            Fault::Unreachable => "unreachable",
            Fault::Timeout => "timeout",
            Fault::Throttled => "throttled",
            Fault::Server => "server",
            Fault::Malformed => "malformed",
            Fault::Unauthorized => "unauthorized",
            Fault::Forbidden => "forbidden",
            Fault::Missing => "missing",
            Fault::Conflict => "conflict",
            Fault::PairRefused => "pair_refused",
            Fault::Quota => "quota",
            Fault::Refused => "refused",
            Fault::Local => "local",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_cut_and_holds_no_line_breaks() {
        let failure = Failure::new(Fault::Server, &format!("a\nb{}", "x".repeat(500)));
        assert_eq!(failure.detail.chars().count(), 200);
        assert!(failure.detail.starts_with("a b"));
    }

    #[test]
    fn a_detail_shows_every_letter_that_it_holds() {
        let failure = Failure::new(Fault::Server, "a\u{202e}b\u{200b}c\u{feff}d\u{2028}é\u{e0041}");
        assert_eq!(failure.detail, "a b c d é ");
    }

    #[test]
    fn every_fault_is_listed_once() {
        let words: std::collections::BTreeSet<_> = Fault::ALL.iter().map(|f| f.word()).collect();
        assert_eq!(words.len(), Fault::ALL.len());
    }
}

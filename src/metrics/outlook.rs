//! What the numbers come to in one line: what `systemctl status` shows.

use super::Metrics;
use crate::model::names::CredentialName;
use jiff::Timestamp;
use std::fmt;
use std::sync::PoisonError;

/// How all credentials are, in a few numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    credentials: usize,
    rotating: usize,
    halted: usize,
    failing: usize,
    next: Option<(CredentialName, Timestamp)>,
}

impl Metrics {
    /// How all credentials are now.
    pub fn outlook(&self) -> Outlook {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let resting = |word| ["new", "serving", "halted"].contains(&word);
        let soonest = lines.iter().filter_map(|(name, line)| Some((line.next?, name))).min();
        Outlook {
            credentials: lines.len(),
            rotating: lines.values().filter(|line| !resting(line.word)).count(),
            halted: lines.values().filter(|line| line.halt.is_some()).count(),
            failing: lines.values().filter(|line| line.halt.is_none() && line.failures > 0).count(),
            next: soonest.and_then(|(at, name)| Some((name.clone(), Timestamp::from_second(at).ok()?))),
        }
    }
}

/// The time stands there as it is, not as a distance: a line that nobody renews stays true.
impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { credentials, rotating, halted, failing, next } = self;
        write!(f, "credentials: {credentials} known, {rotating} rotating, {failing} failing, {halted} halted")?;
        match next {
            Some((name, at)) => write!(f, "; next rotation: {name} at {}", at.strftime("%Y-%m-%d %H:%M UTC")),
            None => write!(f, "; no rotation is planned yet"),
        }
    }
}

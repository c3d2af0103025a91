//! What the numbers come to in one line: what `systemctl status` shows.

use super::Metrics;
use crate::model::names::CredentialName;
use jiff::Timestamp;
use std::fmt;

/// How all credentials are, in a few numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    pub(super) credentials: usize,
    pub(super) rotating: usize,
    pub(super) halted: usize,
    pub(super) failing: usize,
    pub(super) next: Option<(CredentialName, Timestamp)>,
}

impl Metrics {
    /// How all credentials are now.
    pub fn outlook(&self) -> Outlook {
        self.lines.outlook()
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

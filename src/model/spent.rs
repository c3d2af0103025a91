//! What a credential has spent of its limits.

use super::key::KeySid;
use super::time::Uptime;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What was spent of the limits, in running time so that no wall clock can refill it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// Decisions to create.
    pub creates: Vec<Uptime>,
    /// Decisions to delete, one per key.
    pub deletes: Vec<(KeySid, Uptime)>,
}

/// How long `Spent` remembers.
pub const DAY: Duration = Duration::from_secs(24 * 3600);
/// The window of the hourly limits.
pub const HOUR: Duration = Duration::from_secs(3600);

impl Spent {
    /// Creates decided within the window before `now`.
    pub fn creates_within(&self, window: Duration, now: Uptime) -> usize {
        self.creates.iter().filter(|at| now.since(**at) < window).count()
    }

    /// Deletes of other keys decided within the last hour.
    pub fn deletes_within_hour(&self, except: &KeySid, now: Uptime) -> usize {
        self.deletes.iter().filter(|(sid, at)| sid != except && now.since(*at) < HOUR).count()
    }

    /// Forgets what no limit asks about any more.
    pub fn trim(&mut self, now: Uptime) {
        self.creates.retain(|at| now.since(*at) < DAY);
        self.deletes.retain(|(_, at)| now.since(*at) < DAY);
    }
}

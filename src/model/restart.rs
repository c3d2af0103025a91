//! The restart of one workload, for one rotation.

use super::time::Moment;
use super::workload::{Before, Mark};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The restart of one workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// What it was like when every place served the new pair.
    pub before: Before,
    /// What it carries once this rotation has restarted it.
    pub mark: Mark,
    /// When it was decided.
    pub announced: Moment,
    /// How often this rotation has restarted it: once, unless somebody takes that back.
    pub asked: u32,
    /// When all its pods were seen to be new ones.
    pub done: Option<Rollout>,
}

/// A rollout that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// When that was seen.
    pub at: Moment,
    /// How long a pod that had to end by then may still work.
    #[serde(rename = "drain_ms", with = "super::time::millis")]
    pub drain: Duration,
}

impl Restart {
    /// Whether a workload with this mark was restarted since the decision, for this credential or another.
    pub fn is_met_by(&self, mark: Option<&Mark>) -> bool {
        mark.is_some_and(|mark| *mark == self.mark || mark.number() > self.before.number)
    }
}

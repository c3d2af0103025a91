//! How far a rotation is, and the words for it.

use serde::{Deserialize, Serialize};

/// How far a rotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A create may be under way.
    Issuing,
    /// The new key exists and is being proven.
    Verifying,
    /// The new pair is being written to the sinks.
    Publishing,
    /// Every sink is read back and what it serves is tried.
    Confirming,
    /// Programs that read their pair only once are restarted, and their rollouts awaited.
    Restarting,
    /// Old and new key both work; consumers change over.
    Grace,
    /// The deletion of an old key was decided.
    Revoking,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Phase; 7] = [
        Phase::Issuing,
        Phase::Verifying,
        Phase::Publishing,
        Phase::Confirming,
        Phase::Restarting,
        Phase::Grace,
        Phase::Revoking,
    ];

    /// The word used in metrics, logs and `status`.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Issuing => "issuing",
            Phase::Verifying => "verifying",
            Phase::Publishing => "publishing",
            Phase::Confirming => "confirming",
            Phase::Restarting => "restarting",
            Phase::Grace => "grace",
            Phase::Revoking => "revoking",
        }
    }
}

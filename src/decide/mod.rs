//! The verbs: pure functions that look at plain data and say what to do next.
//!
//! `plan` says when a rotation is due and why, `step` what to do for one credential now, `interlock` whether a key may
//! die, `ownership` whether a key is ours. None of them can touch the world: everything they know comes in a [`View`].

pub mod backoff;
pub mod breaker;
pub mod drift;
mod gate;
pub mod interlock;
pub mod ownership;
pub mod plan;
mod publish;
mod rest;
mod revoke;
mod rollout;
pub mod step;
pub mod stray;
pub mod subaccount;
mod tokens;
mod view;
pub mod wave;

use crate::model::document::Seen;
use crate::model::event::{Event, Evidence, Intent};
use crate::model::key::{AttemptId, KeyFacts, KeySid};
use crate::model::names::{CredentialName, Instance, Place, SinkName, Version};
use crate::model::permission::Granted;
use crate::model::policy::{Limits, Rules, Timing};
use crate::model::reason::{Breaker, Halt, StepName};
use crate::model::rotation::State;
use crate::model::time::{Moment, Uptime};
use crate::model::workload::{Mark, Workload, WorkloadSeen};
use crate::ports::Standing;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
pub use view::{ACCEPTANCE, FRESH, HOLD, INTERLOCK, PROVEN};

/// Everything that a decision may rest on.
pub struct View<'a> {
    /// What the journal says of the credential.
    pub state: &'a State,
    /// The number of its last entry.
    pub seq: u64,
    /// What the policy wants of it.
    pub rules: &'a Rules,
    /// The name of this installation.
    pub instance: &'a Instance,
    /// When things are looked at.
    pub timing: &'a Timing,
    /// How much may happen.
    pub limits: &'a Limits,
    /// The keys that the daemon itself signs in with: never to be deleted (S11).
    pub roots: &'a BTreeSet<KeySid>,
    /// The sinks that are configured.
    pub sinks: &'a BTreeSet<SinkName>,
    /// All clocks.
    pub now: Moment,
    /// This process's own monotonic clock, which the age of a look is measured by: the running time of an installation of
    /// several processes may stand still for a moment.
    pub local: Uptime,
    /// An attempt id that was never used.
    pub fresh: AttemptId,
    /// What is in memory.
    pub hand: Hand,
    /// What was seen since the world was last changed.
    pub sight: &'a Sight,
    /// What holds for the whole account.
    pub weather: &'a Weather,
}

/// What the running attempt holds in memory, without the secret itself.
#[derive(Debug, Clone, Default)]
pub struct Hand {
    /// The attempt whose secret is in memory.
    pub secret_of: Option<AttemptId>,
    /// A sink has it too: it was read back from there.
    pub recalled: bool,
    /// How the new key was accepted so far.
    pub tally: Tally,
}

/// How a new key was accepted so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Accepted calls in a row.
    pub successes: u32,
    /// When the first of that row ended.
    pub first: Option<Uptime>,
    /// When the last call ended.
    pub last: Option<Uptime>,
    /// Calls that were not accepted or not answered, in all.
    pub misses: u32,
}

impl Tally {
    /// Counts one call: a refusal or a lost answer ends the row.
    pub fn count(&mut self, accepted: bool, at: Uptime) {
        self.last = Some(at);
        if accepted {
            self.successes += 1;
            self.first.get_or_insert(at);
        } else {
            self.successes = 0;
            self.first = None;
            self.misses += 1;
        }
    }
}

/// What was seen, and when. Emptied whenever the world was changed.
#[derive(Debug, Clone, Default)]
pub struct Sight {
    /// The last look at each place.
    pub places: BTreeMap<Place, (Seen, Uptime)>,
    /// The last trial of what a place serves.
    pub proofs: BTreeMap<Place, Proof>,
    /// The last answer for a key.
    pub keys: BTreeMap<KeySid, (Option<KeyFacts>, Uptime)>,
    /// Keys of the above that the journal knows as another credential's of the policy.
    pub owners: BTreeMap<KeySid, CredentialName>,
    /// The live keys that carry an attempt's label.
    pub labelled: BTreeMap<AttemptId, Vec<KeyFacts>>,
    /// The last look at each workload.
    pub workloads: BTreeMap<Workload, (WorkloadSeen, Uptime)>,
    /// What Twilio last said that a key may do.
    pub granted: BTreeMap<KeySid, (Granted, Uptime)>,
}

/// A pair as read from a place was accepted by Twilio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The key it named.
    pub sid: KeySid,
    /// The version it was read at.
    pub version: Version,
    /// When Twilio accepted it.
    pub at: Uptime,
}

/// What holds for the whole account.
#[derive(Debug, Clone)]
pub struct Weather {
    /// Open breakers: while there is one, nothing is created or deleted.
    pub breakers: BTreeSet<Breaker>,
    /// What Twilio says of the account.
    pub standing: Standing,
    /// The account's limit of deletes in an hour, and how many of other keys were decided in the last one.
    pub deletes: (u32, u32),
    /// Deletes are held for so long, because the journal was restored.
    pub held: Duration,
    /// It is not this credential's turn in its fleet.
    pub turn: Option<wave::Pause>,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            breakers: BTreeSet::new(),
            standing: Standing::Active,
            deletes: (10, 0),
            held: Duration::ZERO,
            turn: None,
        }
    }
}

/// What to do next for one credential.
///
/// Every variant says what happens if it is done twice, and what if it is done late, when the world has moved on.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Read these places.
    ///
    /// **If repeated:** reads again. **If stale:** every use checks the age of what was seen.
    Look(Vec<Place>),
    /// Try the pairs that these places serve on Twilio, as a consumer would.
    ///
    /// **If repeated:** tries again. **If stale:** a proof names the version it was read at and ages like a look.
    Prove(Vec<Place>),
    /// Ask Twilio for one key by its SID.
    ///
    /// **If repeated:** asks again. **If stale:** every use checks the age of the answer.
    Fetch(KeySid),
    /// Ask Twilio what one key may do.
    ///
    /// **If repeated:** asks again. **If stale:** every use checks the age of the answer.
    Permissions(KeySid),
    /// List the account's keys and look for an attempt's label.
    ///
    /// **If repeated:** lists again. **If stale:** a key that turns up later is found by the sweep.
    Find(AttemptId),
    /// Read the secret of the new key back from a place that has it.
    ///
    /// **If repeated:** reads again. **If stale:** publishing it still needs a compare-and-set.
    Recall(Place),
    /// Ask Twilio for a new key: one request, after the intent is in the journal.
    ///
    /// **If repeated:** cannot be: each intent has its own attempt and sends one request. **If stale:** the key is a
    /// stray, found by its label.
    Issue(Box<Intent>),
    /// Try the new key on Twilio.
    ///
    /// **If repeated:** counts once more. **If stale:** only reads.
    Probe,
    /// Write the new pair over exactly this version.
    ///
    /// **If repeated:** the second fails on the version. **If stale:** it fails on the version.
    Publish {
        /// Where.
        place: Place,
        /// The version to replace.
        base: Version,
    },
    /// Write a place's present content over exactly this version, so that no delayed publish can succeed.
    ///
    /// **If repeated:** the second fails on the version. **If stale:** it fails on the version.
    Fence {
        /// The attempt to be fenced off.
        attempt: AttemptId,
        /// Where.
        place: Place,
        /// The version to replace.
        base: Version,
    },
    /// Look at these workloads: how far their rollouts are.
    ///
    /// **If repeated:** looks again. **If stale:** every use checks the age of what was seen.
    Inspect(Vec<Workload>),
    /// Have a workload restarted.
    ///
    /// **If repeated:** the second fails on the version. **If stale:** it fails on the version, or its pods are replaced
    /// once more than need be.
    Restart {
        /// Which.
        workload: Workload,
        /// What it carries from then on.
        mark: Mark,
        /// The version that it was seen at.
        base: Version,
    },
    /// Delete a key, after the interlock's evidence is in the journal.
    ///
    /// **If repeated:** the second finds no key. **If stale:** a condemned key is never published again, so it only
    /// carries out what was decided.
    Delete {
        /// The key.
        sid: KeySid,
        /// What the decision rests on.
        evidence: Evidence,
    },
    /// Write an event that needs no act.
    ///
    /// **If repeated:** the journal refuses the second. **If stale:** the journal refuses it.
    Record(Event),
    /// Forget the secret in memory; what a sink has can be recalled.
    ///
    /// **If repeated:** nothing is left to forget. **If stale:** the same.
    Drop,
    /// Nothing now.
    ///
    /// **If repeated:** waits again. **If stale:** the next look decides anew.
    Wait {
        /// How long, at most; none if only an operator or a new policy changes anything.
        wait: Option<Duration>,
        /// Why, for people.
        why: String,
    },
}

impl Step {
    /// The name of the step in failures and metrics, if it is one that can fail.
    pub fn name(&self) -> Option<StepName> {
        match self {
            Step::Look(_) => Some(StepName::Look),
            Step::Prove(_) => Some(StepName::Prove),
            Step::Fetch(_) => Some(StepName::Fetch),
            Step::Find(_) => Some(StepName::Find),
            Step::Permissions(_) => Some(StepName::Permissions),
            Step::Recall(_) => Some(StepName::Recall),
            Step::Issue(_) => Some(StepName::Issue),
            Step::Probe => Some(StepName::Probe),
            Step::Publish { .. } => Some(StepName::Publish),
            Step::Fence { .. } => Some(StepName::Fence),
            Step::Inspect(_) => Some(StepName::Inspect),
            Step::Restart { .. } => Some(StepName::Restart),
            Step::Delete { .. } => Some(StepName::Delete),
            Step::Record(_) | Step::Drop | Step::Wait { .. } => None,
        }
    }
}

fn wait(duration: Duration, why: impl Into<String>) -> Step {
    Step::Wait { wait: Some(duration), why: why.into() }
}

fn halt(halt: Halt, detail: impl Into<String>) -> Step {
    Step::Record(Event::Halted { halt, detail: detail.into() })
}

//! What can happen to a credential: the entries of its journal. Past participles; no field can hold a secret.

use super::document::Members;
use super::fault::Failure;
use super::home::Home;
use super::key::{AttemptId, KeySid};
use super::names::{Place, Version};
use super::permission::Permissions;
use super::reason::{Cause, Halt, Reason, StepName};
use super::time::Moment;
use super::workload::{Before, Workload};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One entry of a credential's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, counted from 1 per credential without gaps.
    pub seq: u64,
    /// When it was written.
    pub at: Moment,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened. *Decisions* are written before the world is changed, *findings* after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The operator's statement, from the policy, that this hand-made key is to be replaced and is no Main key.
    Adopted {
        /// Where it lives.
        #[serde(rename = "account")]
        home: Home,
        /// The key.
        sid: KeySid,
        /// When Twilio made it; of an auth token nobody knows.
        created_at: Option<Timestamp>,
    },
    /// An operator asked for a rotation.
    Requested {
        /// Who.
        by: String,
    },
    /// Decision: create a successor.
    Intended(Box<Intent>),
    /// Twilio certainly did not create a key.
    CreateRefused {
        /// Why.
        failure: Failure,
    },
    /// Twilio created the key.
    Created {
        /// The new key.
        sid: KeySid,
        /// Twilio's own date of it.
        created_at: Timestamp,
    },
    /// The create was not answered and no key carries its label: it may still turn up.
    Unsettled,
    /// Several keys carry the label of the create: none can be told to be ours.
    Ambiguous {
        /// The keys.
        sids: Vec<KeySid>,
    },
    /// The new key was accepted often enough, for long enough.
    Verified {
        /// Calls that were accepted.
        successes: u32,
        /// Calls before that were not.
        refusals: u32,
    },
    /// Decision: write one place.
    Publishing {
        /// Where.
        place: Place,
        /// The version to replace.
        base: Version,
    },
    /// The place holds the new pair.
    Written {
        /// Where.
        place: Place,
        /// The version that our write made.
        version: Version,
    },
    /// Decision, with the operator's permission: replace what the place holds now.
    Rebased {
        /// Where.
        place: Place,
        /// The version to replace.
        base: Version,
    },
    /// Places were added to the policy: they get the pair that the others serve.
    Widened {
        /// The places, and their versions.
        bases: BTreeMap<Place, Version>,
    },
    /// Every place was read back and what it serves works; there are workloads to restart before grace may begin.
    Served {
        /// The version of every place.
        versions: BTreeMap<Place, Version>,
    },
    /// Decision: restart what reads its pair only once.
    Restarting {
        /// What makes the marks that they carry from then on other than all before.
        attempt: AttemptId,
        /// What each is like now, when every place has served the new pair for long enough.
        workloads: BTreeMap<Workload, Before>,
    },
    /// It was restarted.
    Restarted {
        /// Which.
        workload: Workload,
    },
    /// It was restarted since the decision, for this credential or another, and all its pods are new ones.
    RolledOut {
        /// Which.
        workload: Workload,
        /// How long a pod that ends may still work.
        #[serde(rename = "drain_ms", with = "super::time::millis")]
        drain: Duration,
    },
    /// Every place was read back and what it serves works.
    Published {
        /// The version of every place.
        versions: BTreeMap<Place, Version>,
    },
    /// Decision, irrevocable: delete this key.
    Condemned {
        /// The key.
        sid: KeySid,
        /// What the decision rests on.
        evidence: Evidence,
    },
    /// An old key is gone.
    Revoked {
        /// The key.
        sid: KeySid,
    },
    /// The rotation has reached its end.
    Completed,
    /// The new key is given up.
    Abandoned {
        /// The key.
        sid: KeySid,
        /// Why.
        cause: Cause,
    },
    /// The key of an unsettled create, or one believed gone, was found alive.
    Found {
        /// The attempt that made it.
        attempt: AttemptId,
        /// The key.
        sid: KeySid,
    },
    /// Decision: bump every place so that no delayed write of this key can succeed.
    Fencing {
        /// The attempt of the key.
        attempt: AttemptId,
        /// The versions to leave behind.
        versions: BTreeMap<Place, Version>,
    },
    /// A place was bumped.
    Fenced {
        /// The attempt of the key.
        attempt: AttemptId,
        /// Where.
        place: Place,
        /// The version that was there.
        from: Version,
        /// The version that is there now.
        to: Version,
    },
    /// A sink serves the key that was given up: its write had succeeded. The rotation goes on.
    Revived {
        /// The attempt of the key.
        attempt: AttemptId,
    },
    /// A stray is gone.
    Removed {
        /// The key.
        sid: KeySid,
    },
    /// A key of ours was deleted by somebody else.
    Missing {
        /// The key.
        sid: KeySid,
    },
    /// A step failed and will be tried again.
    Failed {
        /// Which.
        step: StepName,
        /// How.
        failure: Failure,
    },
    /// What had failed works again.
    Recovered,
    /// A human must look.
    Halted {
        /// The kind.
        halt: Halt,
        /// What was seen.
        detail: String,
    },
    /// A human looked.
    Resumed {
        /// Who.
        by: String,
        /// Whether the next write may replace whatever the sinks hold.
        overwrite: bool,
        /// Places that no longer count.
        forget: BTreeSet<Place>,
    },
}

/// The decision to create a successor, with everything that the attempt will rest on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Where the new key shall live.
    #[serde(rename = "account")]
    pub home: Home,
    /// The attempt.
    pub attempt: AttemptId,
    /// Why.
    pub reason: Reason,
    /// The version of every place.
    pub bases: BTreeMap<Place, Version>,
    /// How the members are called.
    pub members: Members,
    /// How long the predecessors shall live on.
    #[serde(rename = "grace_ms", with = "super::time::millis")]
    pub grace: Duration,
    /// What the new key may do, if not everything that ordinary keys may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    /// Whether it is a key pair.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub key_pair: bool,
    /// Whether it is an auth token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auth_token: bool,
}

/// What the decision to delete a key rests on (protocol, b.7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What every place served, and at which version.
    pub places: BTreeMap<Place, (Option<KeySid>, Version)>,
    /// How many of the pairs, as read from the places, Twilio accepted.
    pub proven: usize,
    /// How many other deletes the account's limit leaves room for within the hour before; the journal refuses the
    /// decision if there are more (S12).
    pub spent: u32,
}

impl Event {
    /// The event's name, as in the journal.
    pub fn word(&self) -> &'static str {
        match self {
            Event::Adopted { .. } => "adopted",
            Event::Requested { .. } => "requested",
            Event::Intended(_) => "intended",
            Event::CreateRefused { .. } => "create_refused",
            Event::Created { .. } => "created",
            Event::Unsettled => "unsettled",
            Event::Ambiguous { .. } => "ambiguous",
            Event::Verified { .. } => "verified",
            Event::Publishing { .. } => "publishing",
            Event::Written { .. } => "written",
            Event::Rebased { .. } => "rebased",
            Event::Widened { .. } => "widened",
            Event::Served { .. } => "served",
            Event::Restarting { .. } => "restarting",
            Event::Restarted { .. } => "restarted",
            Event::RolledOut { .. } => "rolled_out",
            Event::Published { .. } => "published",
            Event::Condemned { .. } => "condemned",
            Event::Revoked { .. } => "revoked",
            Event::Completed => "completed",
            Event::Abandoned { .. } => "abandoned",
            Event::Found { .. } => "found",
            Event::Fencing { .. } => "fencing",
            Event::Fenced { .. } => "fenced",
            Event::Revived { .. } => "revived",
            Event::Removed { .. } => "removed",
            Event::Missing { .. } => "missing",
            Event::Failed { .. } => "failed",
            Event::Recovered => "recovered",
            Event::Halted { .. } => "halted",
            Event::Resumed { .. } => "resumed",
        }
    }

    /// The key that the event tells of, where it names one.
    pub fn sid(&self) -> Option<&KeySid> {
        if let Event::Adopted { sid, .. }
        | Event::Created { sid, .. }
        | Event::Condemned { sid, .. }
        | Event::Revoked { sid }
        | Event::Abandoned { sid, .. }
        | Event::Found { sid, .. }
        | Event::Removed { sid }
        | Event::Missing { sid } = self
        {
            Some(sid)
        } else {
            None
        }
    }

    /// The failure, where the event tells of one.
    pub fn failure(&self) -> Option<(StepName, &Failure)> {
        if let Event::Failed { step, failure } = self {
            Some((*step, failure))
        } else if let Event::CreateRefused { failure } = self {
            Some((StepName::Issue, failure))
        } else {
            None
        }
    }
}

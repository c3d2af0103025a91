//! The state of a credential: what its journal row holds. Plain data; `apply` alone changes it.

use super::document::{Content, Members, Names, Seen};
use super::fault::Failure;
use super::home::Home;
use super::key::{AttemptId, KeySid};
use super::names::{Place, Version};
use super::permission::Permissions;
pub use super::phase::Phase;
use super::reason::{Cause, Halt, Reason, StepName};
pub use super::restart::{Restart, Rollout};
use super::rule::Rule;
pub use super::spent::{DAY, HOUR, Spent};
use super::time::Moment;
use super::workload::Workload;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Everything the protocol knows of one credential. There is no field that could hold a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Where its keys live, from the first event on.
    #[serde(rename = "account")]
    pub home: Option<Home>,
    /// The key that the sinks serve.
    pub current: Option<Current>,
    /// The rotation in flight.
    pub rotation: Option<Rotation>,
    /// Keys of ours that no rotation can use any more and that still have to go.
    pub strays: Vec<Stray>,
    /// Creates that nobody answered and whose key was not found (yet).
    pub unsettled: Vec<Unsettled>,
    /// Keys that an interrupted rotation would have revoked; the next one does.
    pub leftovers: Vec<KeySid>,
    /// Why a human must look, if one must.
    pub halted: Option<Halted>,
    /// The failures since something last succeeded.
    pub trouble: Option<Trouble>,
    /// A rotation asked for by an operator; it stands until a new key is published.
    pub requested: Option<Requested>,
    /// The operator allowed whatever the sinks hold to be replaced, until a new key is published.
    pub overwrite: bool,
    /// Places that are written no more and may still serve an old key: while one does, that key is not revoked.
    pub lingering: BTreeSet<Place>,
    /// Every way in which the policy ever called the members: a place may still be written so.
    pub spellings: Vec<Members>,
    /// Keys that were served and then found deleted by others. Twilio may have been wrong: one that turns up again is an
    /// old key, with all its rights, and no stray.
    pub vanished: BTreeSet<KeySid>,
    /// When keys were asked for and when deletes were decided, within the last day.
    pub spent: Spent,
    /// When Twilio was last told to end an auth token of ours. Such a request names none: one that is still on its way
    /// would hit the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ended: Option<Moment>,
    /// Rotations completed.
    pub completed: u64,
}

/// The key that the sinks serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// The key.
    pub sid: KeySid,
    /// The attempt that made it; none for an adopted key.
    pub attempt: Option<AttemptId>,
    /// When Twilio made it, if known.
    pub created_at: Option<Timestamp>,
    /// When every sink served it, or when it was adopted.
    pub since: Timestamp,
    /// Where it is served, and at which version.
    pub places: BTreeMap<Place, Version>,
    /// How its members are called there.
    pub members: Members,
    /// It was found to be deleted behind our back.
    pub gone: bool,
    /// What it may do, if not everything that ordinary keys may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
}

/// One replacement of the credential's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// The attempt that creates the successor.
    pub attempt: AttemptId,
    /// Why it was started.
    pub reason: Reason,
    /// When.
    pub started: Moment,
    /// How far it is.
    pub phase: Phase,
    /// Since when.
    pub since: Moment,
    /// The new key, once Twilio named it.
    pub successor: Option<KeySid>,
    /// When Twilio made it.
    pub created_at: Option<Timestamp>,
    /// When every place was last read back with the new pair: the start of grace.
    pub published: Option<Moment>,
    /// How often every place was seen to serve the new pair and workloads had to be restarted for it; more than once if
    /// somebody else wrote there since.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rounds: u32,
    /// When that was first so: since then programs may have read the new pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_since: Option<Moment>,
    /// The workloads that are restarted before that, or have been.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub restarts: BTreeMap<Workload, Restart>,
    /// The keys to revoke at the end.
    pub predecessors: Vec<KeySid>,
    /// The places to write.
    pub targets: BTreeMap<Place, Target>,
    /// Some place served the successor at some time: it can be superseded, and not simply be given up.
    pub served: bool,
    /// The successor was found to be deleted behind our back.
    pub lost: bool,
    /// Twilio refused the successor as the places serve it, and an operator has said that it may be replaced.
    pub spoiled: bool,
    /// It was given up and taken up again after fences had been sent: one of them may still arrive and move a place.
    #[serde(default)]
    pub fenced: bool,
    /// How the members are called there.
    pub members: Members,
    /// How long the predecessors live on after every place serves the successor.
    #[serde(rename = "grace_ms", with = "super::time::millis")]
    pub grace: Duration,
    /// What the successor may do, if not everything that ordinary keys may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    /// Whether the successor is a key pair.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub key_pair: bool,
    /// Whether the successor is an auth token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auth_token: bool,
    /// The predecessor whose deletion was decided.
    pub condemned: Option<KeySid>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// One place of a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The version that our write replaces, and no other.
    pub base: Version,
    /// A write may be under way.
    pub asked: bool,
    /// The version that our write made.
    pub written: Option<Version>,
}

/// A key of ours that no rotation can use: its secret is lost, or it was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stray {
    /// The attempt that made it.
    pub attempt: AttemptId,
    /// The key.
    pub sid: KeySid,
    /// Why it was given up.
    pub cause: Cause,
    /// When.
    pub at: Moment,
    /// The rotation it was made for, so that it can go on if a sink turns out to serve the key after all.
    pub rotation: Option<Box<Rotation>>,
    /// The version of every place when the fence was begun; a place at another version is fenced.
    pub fence: Option<BTreeMap<Place, Version>>,
    /// Its deletion was decided.
    pub condemned: bool,
}

/// A create whose answer was lost and whose key was not found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsettled {
    /// The attempt.
    pub attempt: AttemptId,
    /// When it was decided.
    pub intended: Moment,
    /// Several keys carry its label: reported, never deleted.
    pub ambiguous: bool,
    /// It was to make an auth token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auth_token: bool,
}

/// Why a credential stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halted {
    /// The kind.
    pub halt: Halt,
    /// What was seen.
    pub detail: String,
    /// Since when.
    pub at: Timestamp,
}

/// Failures in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The step that failed last.
    pub step: StepName,
    /// How.
    pub failure: Failure,
    /// How many in a row.
    pub count: u32,
    /// The last one.
    pub at: Moment,
    /// The first one of this step with this fault.
    pub first: Moment,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = if self.count == 1 { "once".to_owned() } else { format!("{} times", self.count) };
        write!(f, "{} failed {times}: {}", self.step.word(), self.failure)
    }
}

/// A rotation asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// By whom.
    pub by: String,
    /// When.
    pub at: Moment,
}

impl State {
    /// The phase of the rotation in flight.
    pub fn phase(&self) -> Option<Phase> {
        self.rotation.as_ref().map(|rotation| rotation.phase)
    }

    /// One word for people and metrics: halted, a phase, abandoning, or what it is at rest.
    pub fn word(&self) -> &'static str {
        match (&self.halted, &self.rotation) {
            (Some(_), _) => "halted",
            (None, Some(rotation)) => rotation.phase.word(),
            (None, None) if !self.strays.is_empty() => "abandoning",
            (None, None) if self.current.is_some() => "serving",
            (None, None) => "new",
        }
    }

    /// Every word that `word` can answer.
    pub const WORDS: [&'static str; 11] = [
        "new",
        "serving",
        "issuing",
        "verifying",
        "publishing",
        "confirming",
        "restarting",
        "grace",
        "revoking",
        "abandoning",
        "halted",
    ];

    /// Whether its keys are the account's auth tokens; none if it never had a key.
    pub fn has_tokens(&self) -> Option<bool> {
        let current = self.current.as_ref().map(|current| current.sid.is_auth_token());
        let flight = self.rotation.as_ref().map(|rotation| rotation.auth_token);
        let stray = self.strays.first().map(|stray| stray.sid.is_auth_token());
        current.or(flight).or(stray).or(self.unsettled.first().map(|create| create.auth_token))
    }

    /// Every key that is ours and may be alive, the current one included.
    pub fn keys(&self) -> impl Iterator<Item = &KeySid> {
        let rotation = self.rotation.iter();
        let flight = rotation.flat_map(|r| r.successor.iter().chain(&r.predecessors));
        let current = self.current.iter().map(|current| &current.sid);
        current.chain(flight).chain(self.strays.iter().map(|stray| &stray.sid)).chain(&self.leftovers)
    }

    /// Every place that is, was or shall be written, as far as it still counts.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        let strays = self.strays.iter().filter_map(|stray| stray.rotation.as_deref());
        let targets = self.rotation.iter().chain(strays).flat_map(|rotation| rotation.targets.keys());
        self.current.iter().flat_map(|current| current.places.keys()).chain(targets).chain(&self.lingering)
    }

    /// How the members may be called at its places, written by this rotation or the next.
    pub fn names(&self, wanted: &Members) -> Names {
        let stray = self.strays.first().and_then(|stray| stray.rotation.as_deref());
        let now = self.rotation.as_ref().or(stray).map_or(wanted, |rotation| &rotation.members);
        let before = self.spellings.iter().filter(|members| *members != now);
        Names { now: now.clone(), before: before.cloned().collect() }
    }

    /// How many keys of ours may be alive now.
    pub fn alive(&self) -> usize {
        let lost = self.rotation.iter().filter(|rotation| rotation.lost).flat_map(|rotation| &rotation.successor);
        let gone = self.current.iter().filter(|current| current.gone).map(|current| &current.sid);
        let gone: BTreeSet<&KeySid> = lost.chain(gone).collect();
        self.keys().filter(|sid| !gone.contains(sid)).collect::<BTreeSet<_>>().len()
    }

    /// Whether the deletion of this key was decided: never to be published again (protocol, rule 9).
    pub fn condemned(&self, sid: &KeySid) -> bool {
        self.rotation.as_ref().is_some_and(|rotation| rotation.condemned.as_ref() == Some(sid))
            || self.strays.iter().any(|stray| stray.condemned && &stray.sid == sid)
            || self.spent.deletes.iter().any(|(deleted, _)| deleted == sid)
    }
}

impl Rotation {
    /// The first place, in the order given, that has not been written.
    pub fn unwritten<'a>(&self, order: impl Iterator<Item = &'a Place>) -> Option<&'a Place> {
        let first = |place: &&Place| Rule::EverySink.holds() || self.targets.keys().next() == Some(*place);
        order.filter(first).find(|place| self.targets.get(place).is_some_and(|target| target.written.is_none()))
    }

    /// Whether some place has the new pair, so that its secret can be read back from there.
    pub fn escrowed(&self) -> bool {
        self.targets.values().any(|target| target.written.is_some())
    }

    /// Whether another rotation may begin on top of this one, which then counts the successor among the old keys: it may
    /// have consumers.
    pub fn may_be_superseded(&self) -> bool {
        match self.phase {
            Phase::Issuing | Phase::Verifying => false,
            Phase::Publishing => self.served,
            Phase::Confirming | Phase::Restarting | Phase::Grace | Phase::Revoking => true,
        }
    }

    /// Whether a write to this place may be under way.
    pub fn asked(&self, place: &Place) -> bool {
        self.targets.get(place).is_some_and(|target| target.asked)
    }
}

impl Stray {
    /// An empty place is fenced only if a write to it was decided: nobody reads a key there, and a value without a key
    /// would be news to whoever watches it. Everywhere else the fence is always drawn.
    pub fn needs_fence(&self, place: &Place, seen: &Seen) -> bool {
        seen.content != Content::Absent || self.rotation.as_ref().is_some_and(|rotation| rotation.asked(place))
    }
}

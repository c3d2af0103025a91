//! What a place may show, and what it means if it shows something else (protocol, rule 8: never overwrite, never loop).

use super::{View, halt};
use crate::decide::Step;
use crate::model::document::{Content, Seen};
use crate::model::fault::Fault;
use crate::model::key::KeySid;
use crate::model::names::{Place, Version};
use crate::model::reason::{Halt, StepName};
use crate::model::rotation::State;
use std::collections::BTreeSet;
use std::time::Duration;

/// Why a place must not be touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// The kind.
    pub halt: Halt,
    /// What was seen, for people.
    pub detail: String,
}

impl Drift {
    /// The halt it leads to.
    pub fn step(self) -> Step {
        halt(self.halt, self.detail)
    }

    fn new(halt: Halt, detail: String) -> Result<(), Self> {
        Err(Self { halt, detail })
    }
}

/// Compares what a place shows with the keys it may show; `served` tells whether it has to show one at all.
///
/// The operator's permission to overwrite lifts everything, also a journal that is older than the sinks.
pub fn check(view: &View<'_>, place: &Place, seen: &Seen, allowed: &[&KeySid], served: bool) -> Result<(), Drift> {
    if view.state.overwrite {
        return Ok(());
    }
    match &seen.content {
        Content::Absent | Content::Blank if served => {
            Drift::new(Halt::PlaceGone, format!("{place} holds no key, {} expected", list(allowed)))
        }
        Content::Absent | Content::Blank => Ok(()),
        Content::Foreign => Drift::new(Halt::ForeignContent, format!("{place} holds something that is not a key pair")),
        Content::Pair { sid, stamp } => {
            let ours = |s: &&crate::model::document::Stamp| {
                &s.instance == view.instance && s.credential == view.rules.name && s.seq > view.seq
            };
            if let Some(newer) = stamp.as_ref().filter(ours) {
                let (theirs, mine) = (newer.seq, view.seq);
                return Drift::new(
                    Halt::JournalStale,
                    format!("{place} was written from journal entry {theirs}, the journal ends at {mine}"),
                );
            }
            if view.state.condemned(sid) {
                return Drift::new(Halt::Drift, format!("{place} serves {sid}, whose deletion was decided"));
            }
            if allowed.contains(&sid) {
                return Ok(());
            }
            if allowed.is_empty() {
                return Drift::new(Halt::ForeignContent, format!("{place} already serves {sid}, which is not ours"));
            }
            Drift::new(Halt::Drift, format!("{place} serves {sid}, {} expected", list(allowed)))
        }
    }
}

fn list(sids: &[&KeySid]) -> String {
    match sids {
        [] => "none".to_owned(),
        sids => sids.iter().map(|sid| sid.as_str()).collect::<Vec<_>>().join(" or "),
    }
}

/// Whether a place that serves a credential at rest shows what decisions must be made of: anything but the current key,
/// or what a rotation that was cut short has left.
pub fn unexpected(state: &State, shown: Option<&KeySid>) -> bool {
    let rests = state.rotation.is_none() && state.strays.is_empty() && state.halted.is_none();
    let known = state.current.iter().map(|current| &current.sid).chain(&state.leftovers);
    rests && !known.into_iter().any(|sid| Some(sid) == shown)
}

/// How long a place may show a version older than one that it has had before that is believed.
const LAG: Duration = Duration::from_secs(15 * 60);

/// The version that the place has had already, if this one is older: what a standby shows that has not heard of our write
/// (protocol, fault 32). Only versions that are counted can be told to be older. What stays so is no lag, but a sink that
/// was restored, and then it is believed; so it is if an operator allows whatever is there.
pub fn outdated<'a>(state: &'a State, place: &Place, version: &Version) -> Option<&'a Version> {
    let lagged = state.trouble.as_ref().filter(|t| t.step == StepName::Look && t.failure.fault == Fault::Conflict);
    if state.overwrite || lagged.is_some_and(|trouble| trouble.at.uptime.since(trouble.first.uptime) > LAG) {
        return None;
    }
    let count = |version: &Version| version.0.parse::<u64>().ok();
    let current = state.current.as_ref().and_then(|current| current.places.get(place));
    let target = state.rotation.as_ref().and_then(|rotation| rotation.targets.get(place));
    let known = current.into_iter().chain(target.and_then(|t| t.written.as_ref())).chain(target.map(|t| &t.base));
    let newest = known.max_by_key(|known| count(known))?;
    (count(version)? < count(newest)?).then_some(newest)
}

/// Every place that the credential is served at, or shall be.
pub fn places(view: &View<'_>) -> BTreeSet<Place> {
    let state = view.state;
    let current = state.current.iter().flat_map(|current| current.places.keys());
    let targets = state.rotation.iter().flat_map(|rotation| rotation.targets.keys());
    view.rules.places.iter().chain(current).chain(targets).cloned().collect()
}

/// Those of the places whose sink is configured, and the first one whose sink is not.
pub fn reachable(view: &View<'_>, places: BTreeSet<Place>) -> (BTreeSet<Place>, Option<Place>) {
    let (here, gone): (BTreeSet<_>, BTreeSet<_>) = places.into_iter().partition(|p| view.sinks.contains(&p.sink));
    (here, gone.into_iter().next())
}

/// The halt for a place whose sink is not in the policy any more.
pub fn removed(place: &Place) -> Step {
    halt(Halt::SinkRemoved, format!("{place} may still serve the old key, and its sink is not in the policy"))
}

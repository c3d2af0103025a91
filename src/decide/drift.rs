//! What a place may show, and what it means if it shows something else (protocol, rule 8: never overwrite, never loop).

use super::{View, halt};
use crate::decide::Step;
use crate::model::document::{Content, Seen};
use crate::model::key::KeySid;
use crate::model::names::Place;
use crate::model::reason::Halt;
use std::collections::BTreeSet;

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

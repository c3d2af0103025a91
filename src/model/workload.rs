//! Programs that take their secret up when they start, and so have to be restarted after a rotation.

use super::key::AttemptId;
use super::names::{BadName, SinkName, Version};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// One workload of a cluster: its pods read what they need when they start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Workload {
    /// The sink that is its cluster.
    pub sink: SinkName,
    /// What kind it is.
    pub kind: WorkloadKind,
    /// Its name there.
    pub name: std::sync::Arc<str>,
}

/// What runs pods and can replace them one after the other (Kubernetes docs, "Workload Management").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// Pods that are alike.
    Deployment,
    /// Pods with names of their own.
    StatefulSet,
    /// One pod on each node.
    DaemonSet,
}

impl WorkloadKind {
    /// Every kind.
    pub const ALL: [WorkloadKind; 3] = [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet];

    /// The word for it, as `kubectl` has it.
    pub fn word(self) -> &'static str {
        match self {
            WorkloadKind::Deployment => "deployment",
            WorkloadKind::StatefulSet => "statefulset",
            WorkloadKind::DaemonSet => "daemonset",
        }
    }
}

/// What a workload carries since it was last restarted by us: never the same twice, and with a number that is greater than all
/// that it carried before. So a template that was put back is not taken for a newer one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mark(pub String);

impl Mark {
    /// The one that comes after all of so many.
    pub fn after(before: u64, attempt: AttemptId) -> Self {
        Self(format!("{}-{attempt}", before.saturating_add(1)))
    }

    /// Its number; what we did not write has none.
    pub fn number(&self) -> u64 {
        self.0.split_once('-').and_then(|(number, _)| number.parse().ok()).unwrap_or_default()
    }
}

/// A workload as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadSeen {
    /// What names this state of it.
    pub version: Version,
    /// How often it was changed: a number that nobody can put back.
    pub generation: u64,
    /// What the last restart by any rekeyd has left on it, unless its template was put back since.
    pub mark: Option<Mark>,
    /// What is still to come until every pod is one of the latest; none if that is so.
    pub rollout: Option<String>,
    /// How long a pod that ends may still work.
    pub drain: Duration,
}

/// What was known of a workload when its restart was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// No mark that it ever carried until then has a greater number.
    pub number: u64,
    /// How long a pod of those days may still work once it has to end.
    #[serde(rename = "drain_ms", with = "super::time::millis")]
    pub drain: Duration,
}

impl WorkloadSeen {
    /// What a later restart is held against. Each change makes the generation greater by one, and a mark is one more than
    /// the generation was before it; only what was deleted and made anew counts from the beginning, with the mark that it has.
    pub fn before(&self) -> Before {
        let number = self.mark.as_ref().map_or(0, Mark::number);
        Before { number: number.max(self.generation), drain: self.drain }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.sink, self.kind.word(), self.name)
    }
}

impl TryFrom<String> for Workload {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        let bad = || BadName("SINK:KIND/NAME");
        let (sink, rest) = text.split_once(':').ok_or_else(bad)?;
        let (kind, name) = rest.split_once('/').ok_or_else(bad)?;
        let kind = WorkloadKind::ALL.into_iter().find(|known| known.word() == kind).ok_or_else(bad)?;
        Ok(Self { sink: SinkName::new(sink)?, kind, name: name.into() })
    }
}

impl From<Workload> for String {
    fn from(workload: Workload) -> Self {
        workload.to_string()
    }
}

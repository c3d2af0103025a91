//! The door to what runs the consumers of a secret.

use crate::model::fault::Outcome;
use crate::model::names::Version;
use crate::model::workload::{Mark, Workload, WorkloadSeen};
use crate::ports::Written;
use async_trait::async_trait;

/// A cluster whose workloads take up a new pair when their pods start.
#[async_trait]
pub trait Workloads: Send + Sync {
    /// How far its last rollout is, and whose restart that was. Never out of date: it is asked of the cluster's store itself.
    async fn look(&self, workload: &Workload) -> Outcome<WorkloadSeen>;

    /// Has every pod replaced, in the way the workload itself says, unless it is at another version than this one. From then
    /// on it carries the mark.
    async fn restart(&self, workload: &Workload, mark: &Mark, base: &Version) -> Outcome<Written>;
}

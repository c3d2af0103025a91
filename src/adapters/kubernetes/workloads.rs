//! Workloads: what is restarted so that its pods read the new pair.
//!
//! **Restart.** An annotation of the pod template gets another value, which makes every pod be replaced in the way the
//! workload says; it is what `kubectl rollout restart` does, under a name of our own. It is applied server-side, forced, under
//! the field manager `rekeyd`, which then owns that one annotation and nothing else: tools that apply a manifest which does
//! not have it leave it there, and theirs is everything else. `uid` and `resourceVersion` make it a compare-and-set; the
//! status of a workload counts too, so while its pods come and go a restart may have to be tried again.
//!
//! **Rolled out** is what `kubectl rollout status` calls so (`rollout_status.go` of its library `kubectl`), but for three
//! things: pods that a `partition` keeps back hold the old pair, and so does everything where nothing is replaced by itself
//! (`OnDelete`, a paused Deployment): such a workload can not be restarted, and is told of in words. And a StatefulSet that
//! was made smaller meanwhile is not through while pods above its new size are there.

use super::Cluster;
use super::wire::{Ask, Id, Target, metadata, written};
use crate::adapters::json::object;
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::names::Version;
use crate::model::sink::is_object_name;
use crate::model::workload::{Mark, Workload, WorkloadKind, WorkloadSeen};
use crate::ports::{Workloads, Written};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::time::Duration;

/// The annotation of the pod template that a restart changes.
const RESTARTED_FOR: &str = "rekeyd.dev/restarted-for";

/// A workload as the server shows it.
struct Found {
    id: Id,
    value: Value,
}

#[async_trait]
impl Workloads for Cluster {
    async fn look(&self, workload: &Workload) -> Outcome<WorkloadSeen> {
        self.found(workload).await.map_or_else(Outcome::NotDone, |(_, found)| {
            let annotation = &found.value["spec"]["template"]["metadata"]["annotations"][RESTARTED_FOR];
            Outcome::Done(WorkloadSeen {
                version: found.id.version(),
                generation: found.number("/metadata/generation"),
                mark: annotation.as_str().map(|mark| Mark(mark.to_owned())),
                rollout: found.rollout(workload.kind),
                drain: found.drain(),
            })
        })
    }

    async fn restart(&self, workload: &Workload, mark: &Mark, base: &Version) -> Outcome<Written> {
        let (target, found) = match self.found(workload).await {
            Ok(found) => found,
            Err(failure) => return Outcome::NotDone(failure),
        };
        if found.id.version() != *base {
            return Outcome::Done(Written::Conflict);
        }
        let ask = Ask::apply(&json!({
            "apiVersion": "apps/v1",
            "kind": target.kind,
            "metadata": metadata(&target, self.wire.namespace(), Some(&found.id)),
            "spec": { "template": { "metadata": { "annotations": { RESTARTED_FOR: mark.0 } } } },
        }));
        match self.wire.send(&target, ask).await {
            Outcome::Done(answer) => written(&answer, &target, &[]),
            Outcome::NotDone(failure) => Outcome::NotDone(failure),
            Outcome::Unknown(failure) => Outcome::Unknown(failure),
        }
    }
}

impl Cluster {
    /// Where a workload is.
    pub(super) fn running(workload: &Workload) -> Result<Target, Failure> {
        let (kind, resource) = match workload.kind {
            WorkloadKind::Deployment => ("Deployment", "deployments"),
            WorkloadKind::StatefulSet => ("StatefulSet", "statefulsets"),
            WorkloadKind::DaemonSet => ("DaemonSet", "daemonsets"),
        };
        if is_object_name(&workload.name) {
            Ok(Target { group: "apps", kind, resource, name: workload.name.to_string() })
        } else {
            Err(Failure::new(Fault::Refused, "the name is no subdomain as RFC 1123 has it"))
        }
    }

    /// The workload, if it is there and can be restarted.
    async fn found(&self, workload: &Workload) -> Result<(Target, Found), Failure> {
        let target = Self::running(workload)?;
        let answer = self.wire.send(&target, Ask::Get).await.answer()?;
        if answer.status != 200 {
            return Err(answer.failure(&[]));
        }
        let found = answer.id().zip(object(&answer.body).ok()).map(|(id, value)| Found { id, value });
        let found = found.filter(|found| found.value["kind"] == target.kind);
        let found = found.ok_or_else(|| Failure::new(Fault::Malformed, "the answer is no such workload"))?;
        match found.hindrance(workload.kind) {
            Some(why) => Err(Failure::new(Fault::Refused, &format!("{workload} can not be restarted: {why}"))),
            None => Ok((target, found)),
        }
    }
}

impl Found {
    /// A number; Kubernetes leaves zeros out.
    fn number(&self, pointer: &str) -> u64 {
        self.value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
    }

    /// Why its pods would go on with the old pair.
    fn hindrance(&self, kind: WorkloadKind) -> Option<String> {
        let spec = &self.value["spec"];
        let partition = self.number("/spec/updateStrategy/rollingUpdate/partition");
        match kind {
            WorkloadKind::Deployment if spec["paused"] == true => {
                Some("it is paused; `kubectl rollout resume` ends that".to_owned())
            }
            WorkloadKind::Deployment => None,
            WorkloadKind::StatefulSet | WorkloadKind::DaemonSet if spec["updateStrategy"]["type"] == "OnDelete" => {
                Some("its update strategy is OnDelete, which replaces no pod before somebody deletes it".to_owned())
            }
            WorkloadKind::StatefulSet if partition > 0 => {
                Some(format!("its update strategy keeps back the pods below number {partition} (`partition`)"))
            }
            WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => None,
        }
    }

    /// What is still to come until every pod is one of the latest; none if that is so.
    fn rollout(&self, kind: WorkloadKind) -> Option<String> {
        if self.number("/status/observedGeneration") < self.number("/metadata/generation") {
            return Some("its controller has not seen the change yet".to_owned());
        }
        // The server puts 1 where nothing is said.
        let wanted = self.value.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
        let few = |field: &str, of: u64, what: &str| {
            let there = self.number(&format!("/status/{field}"));
            (there < of).then(|| format!("{there} of {of} pods are {what}"))
        };
        let old =
            |all: u64, updated: u64| (all > updated).then(|| format!("{} old pods are still there", all - updated));
        match kind {
            WorkloadKind::Deployment => {
                let (all, updated) = (self.number("/status/replicas"), self.number("/status/updatedReplicas"));
                self.deadline()
                    .or_else(|| few("updatedReplicas", wanted, "updated"))
                    .or_else(|| old(all, updated))
                    .or_else(|| few("availableReplicas", updated, "available"))
            }
            // Pods above a number that was made smaller count until they are gone, and may be old ones.
            WorkloadKind::StatefulSet => few("updatedReplicas", wanted, "updated")
                .or_else(|| old(self.number("/status/replicas"), self.number("/status/updatedReplicas")))
                .or_else(|| few("readyReplicas", wanted, "ready")),
            WorkloadKind::DaemonSet => {
                let wanted = self.number("/status/desiredNumberScheduled");
                few("updatedNumberScheduled", wanted, "updated").or_else(|| few("numberAvailable", wanted, "available"))
            }
        }
    }

    /// How long a pod may take to end, which nothing else tells: a Deployment does not count those that do. The server puts 30
    /// seconds where nothing is said (Kubernetes docs, "Pod Lifecycle").
    fn drain(&self) -> Duration {
        let said = self.value.pointer("/spec/template/spec/terminationGracePeriodSeconds").and_then(Value::as_u64);
        Duration::from_secs(said.unwrap_or(30))
    }

    /// Whether a Deployment has given up (Kubernetes docs, "Deployments", "Failed Deployment").
    fn deadline(&self) -> Option<String> {
        let conditions = self.value["status"]["conditions"].as_array()?;
        let over =
            |condition: &Value| condition["type"] == "Progressing" && condition["reason"] == "ProgressDeadlineExceeded";
        conditions.iter().any(over).then(|| {
            format!("its progress deadline is exceeded with {} pods updated", self.number("/status/updatedReplicas"))
        })
    }
}

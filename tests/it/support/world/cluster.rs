//! Programs that read their pair when they start and never again, and the cluster that restarts them.

use super::ghost::sid_of;
use super::{Truth, World};
use async_trait::async_trait;
use rekeyd::model::fault::{Failure, Fault, Outcome};
use rekeyd::model::key::KeySid;
use rekeyd::model::names::{Place, SinkName, Version};
use rekeyd::model::workload::{Mark, Workload, WorkloadKind, WorkloadSeen};
use rekeyd::ports::{Workloads, Written};
use std::collections::BTreeSet;
use std::time::Duration;

/// One workload. Its pods are replaced within a time; while that goes on, some of those before are still there.
#[derive(Clone)]
pub struct Pods {
    reads: Place,
    version: u64,
    pub mark: Option<Mark>,
    /// What it carried before its last restart.
    pub mark_before: Option<Mark>,
    /// The keys that pods before the last restart may hold.
    before: BTreeSet<KeySid>,
    /// The key that the first pod after it has read.
    holds: BTreeSet<KeySid>,
    /// When the last of those before is gone.
    replaced: Duration,
    /// How long it takes to replace all of them.
    pub takes: Duration,
    /// How long a pod that ends goes on.
    pub drain: Duration,
    /// How old what a pod is given may be.
    pub cached: Duration,
    /// How often it was restarted.
    pub restarts: u32,
}

/// A deployment of this name in the cluster of a sink.
pub fn deployment(sink: &str, name: &str) -> Workload {
    Workload { sink: SinkName::new(sink).unwrap(), kind: WorkloadKind::Deployment, name: name.into() }
}

impl Truth {
    /// There are pods that read this place when they start.
    pub fn runs(&mut self, workload: &Workload, reads: &Place, takes: Duration) {
        let holds = self.serves(reads).into_iter().collect();
        let pods = Pods {
            reads: reads.clone(),
            version: 1,
            mark: None,
            mark_before: None,
            drain: Duration::from_secs(30),
            cached: Duration::ZERO,
            before: BTreeSet::new(),
            holds,
            replaced: Duration::ZERO,
            takes,
            restarts: 0,
        };
        self.pods.insert(workload.clone(), pods);
    }

    /// Every pod is replaced, for whatever reason: the first of them at once.
    pub fn replace_pods(&mut self, workload: &Workload, mark: Option<Mark>) {
        let now = self.now();
        let Some(mut pods) = self.pods.remove(workload) else { return };
        if now >= pods.replaced + pods.drain {
            pods.before.clear();
        }
        pods.before.append(&mut pods.holds);
        pods.holds = self.served_within(&pods.reads, pods.cached);
        pods.mark_before = pods.mark.take();
        (pods.mark, pods.replaced) = (mark, now + pods.takes);
        pods.version += 1;
        pods.restarts += 1;
        self.pods.insert(workload.clone(), pods);
    }

    /// What a pod may be given that starts now, where caches are so old.
    fn served_within(&mut self, place: &Place, cached: Duration) -> BTreeSet<KeySid> {
        let now = self.now();
        let before = self.places.get(place).filter(|slot| now < slot.written + cached);
        let before = before.and_then(|slot| slot.before.as_ref()?.1.as_ref()).and_then(sid_of);
        self.serves(place).into_iter().chain(before).collect()
    }

    /// A person takes our mark away, as a tool does that keeps a cluster as it is written down elsewhere.
    pub fn human_reverts(&mut self, workload: &Workload) {
        self.replace_pods(workload, None);
    }

    /// A person undoes the last restart before it is through (`kubectl rollout undo`): pods that were not replaced stay.
    pub fn human_undoes(&mut self, workload: &Workload) {
        let now = self.now();
        let Some(pods) = self.pods.get_mut(workload).filter(|pods| now < pods.replaced) else { return };
        pods.holds.append(&mut pods.before);
        (pods.mark, pods.replaced) = (pods.mark_before.take(), now);
        pods.version += 1;
    }

    fn inspect(&mut self, workload: &Workload) -> Outcome<WorkloadSeen> {
        let now = self.now();
        let Some(pods) = self.pods.get(workload) else {
            return Outcome::NotDone(Failure::new(Fault::Refused, "there is no such workload"));
        };
        let rollout = (now < pods.replaced).then(|| "old pods are left".to_owned());
        let version = Version(pods.version.to_string());
        let (generation, mark) = (pods.version, pods.mark.clone());
        Outcome::Done(WorkloadSeen { version, generation, mark, rollout, drain: pods.drain })
    }

    fn restart(&mut self, workload: &Workload, mark: &Mark, base: &Version) -> Outcome<Written> {
        let version = self.pods.get(workload).map(|pods| pods.version.to_string());
        if version.as_ref() != Some(&base.0) {
            return Outcome::Done(Written::Conflict);
        }
        let intended = self.journal.values().any(|state| {
            let restarts = state.rotation.iter().flat_map(|rotation| &rotation.restarts);
            restarts.into_iter().any(|(of, restart)| of == workload && restart.mark == *mark)
        });
        if !intended {
            self.broken.push(format!("S13: {workload} was restarted without an intent"));
        }
        self.replace_pods(workload, Some(mark.clone()));
        let version = self.pods[workload].version;
        Outcome::Done(Written::At(Version(version.to_string())))
    }

    /// The workloads of which some pod may hold the key. What a person has deleted no pod can be spared.
    pub(super) fn held_by_pods(&mut self, sid: &KeySid) -> Vec<String> {
        let now = self.now();
        let holds =
            |pods: &Pods| pods.holds.contains(sid) || (now < pods.replaced + pods.drain && pods.before.contains(sid));
        let held = self.pods.iter().filter(|(_, pods)| holds(pods));
        held.map(|(workload, _)| workload.to_string()).collect()
    }
}

/// The cluster as seen by one life of the daemon.
pub(super) struct FakeCluster {
    pub(super) world: World,
    pub(super) generation: u64,
}

#[async_trait]
impl Workloads for FakeCluster {
    async fn look(&self, workload: &Workload) -> Outcome<WorkloadSeen> {
        let of = workload.clone();
        let look = move |truth: &mut Truth| truth.inspect(&of);
        self.world.effect(self.generation, workload.sink.as_str(), "inspect", look).await
    }

    async fn restart(&self, workload: &Workload, mark: &Mark, base: &Version) -> Outcome<Written> {
        let (of, mark, base) = (workload.clone(), mark.clone(), base.clone());
        let restart = move |truth: &mut Truth| truth.restart(&of, &mark, &base);
        self.world.effect(self.generation, workload.sink.as_str(), "restart", restart).await
    }
}

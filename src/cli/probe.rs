//! The first look at the sinks: one place or workload of each is read, so that it is known at the start who answers. It only reads.

use crate::adapters::clock::SystemClock;
use crate::model::document::Names;
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::names::{Place, SinkName};
use crate::model::policy::Policy;
use crate::model::workload::Workload;
use crate::ports::{Call, Clock, Observer, Sink, Workloads};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long until a sink that could not be read is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// What is known of a sink.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Nothing yet.
    Nothing,
    /// It was tried, and could not be read.
    Silent,
    /// It was read.
    Read,
}

/// What of a sink is read first.
enum First {
    /// What is published there.
    Place(Arc<dyn Sink>, Place, Names),
    /// What is restarted there.
    Workload(Arc<dyn Workloads>, Workload),
}

impl First {
    async fn read(&self) -> Outcome<()> {
        match self {
            First::Place(sink, place, names) => sink.read(place, names, None).await.map(drop),
            First::Workload(cluster, workload) => {
                let outcome = cluster.look(workload).await.map(drop);
                // The cluster answers. That this workload can not be restarted now, or is not there, is told when it has to be.
                let answers = |failure: &Failure| failure.fault == Fault::Refused;
                if matches!(&outcome, Outcome::NotDone(failure) if answers(failure)) {
                    Outcome::Done(())
                } else {
                    outcome
                }
            }
        }
    }
}

/// What is known of each sink of a credential.
pub(super) struct Probes(Mutex<BTreeMap<SinkName, Known>>);

impl Probes {
    /// Reads one place of each sink; who can not be read is tried again until it can, or until `stop`.
    ///
    /// One place, and not all: there may be ten thousand, and each read of AWS is on the bill. `rekeyd check --online` reads
    /// them all.
    pub(super) fn begin(
        policy: &Policy,
        doors: &BTreeMap<SinkName, Arc<dyn Sink>>,
        clusters: &BTreeMap<SinkName, Arc<dyn Workloads>>,
        observer: Arc<dyn Observer>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let mut firsts: BTreeMap<SinkName, First> = BTreeMap::new();
        for rules in policy.credentials.values() {
            for place in &rules.places {
                if let Some(door) = doors.get(&place.sink).filter(|_| !firsts.contains_key(&place.sink)) {
                    let names = Names { now: rules.members.clone(), before: Vec::new() };
                    firsts.insert(place.sink.clone(), First::Place(door.clone(), place.clone(), names));
                }
            }
        }
        // A cluster in which workloads are restarted, and nothing is published.
        for workload in policy.credentials.values().flat_map(|rules| &rules.restart) {
            if let Some(door) = clusters.get(&workload.sink).filter(|_| !firsts.contains_key(&workload.sink)) {
                firsts.insert(workload.sink.clone(), First::Workload(door.clone(), workload.clone()));
            }
        }
        let probes = Arc::new(Self(Mutex::new(firsts.keys().map(|sink| (sink.clone(), Known::Nothing)).collect())));
        let noting = probes.clone();
        tokio::spawn(async move {
            let reads = firsts.iter().map(|(name, first)| noting.read(name, first, &observer));
            stop.run_until_cancelled(join_all(reads)).await;
        });
        probes
    }

    async fn read(&self, name: &SinkName, first: &First, observer: &Arc<dyn Observer>) {
        let clock = SystemClock::new();
        loop {
            let start = clock.running();
            let outcome = first.read().await;
            let took = clock.running().saturating_sub(start);
            observer.called(Call { peer: name.as_str(), operation: "read", outcome: outcome.word(), took });
            match outcome.answer() {
                Ok(()) => {
                    self.note(name, Known::Read);
                    return;
                }
                Err(failure) => {
                    tracing::warn!(sink = %name, %failure, "the sink can not be read");
                    self.note(name, Known::Silent);
                }
            }
            clock.sleep(AGAIN).await;
        }
    }

    fn note(&self, sink: &SinkName, known: Known) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(sink.clone(), known);
    }

    fn which(&self, what: Known) -> Vec<SinkName> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter(|(_, known)| **known == what).map(|(sink, _)| sink.clone()).collect()
    }

    /// The sinks that were not tried yet.
    pub(super) fn untried(&self) -> Vec<SinkName> {
        self.which(Known::Nothing)
    }

    /// The sinks that were tried and could never be read since the start.
    pub(super) fn silent(&self) -> Vec<SinkName> {
        self.which(Known::Silent)
    }
}

//! What rekeyd may do, asked of the API server beforehand (Kubernetes docs, "Authorization", `SelfSubjectAccessReview`;
//! everybody who is signed in may ask).

use super::wire::{Ask, Target};
use super::{Cluster, RULES};
use crate::adapters::json::object;
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::names::Place;
use crate::model::workload::Workload;
use serde::Deserialize;
use serde_json::json;

impl Cluster {
    /// The verbs that a Secret needs and that are not allowed.
    pub async fn forbidden(&self, place: &Place) -> Outcome<Vec<&'static str>> {
        self.refused(Self::target(place)).await
    }

    /// The verbs that a workload needs to be restarted, and that are not allowed.
    pub async fn forbidden_of(&self, workload: &Workload) -> Outcome<Vec<&'static str>> {
        self.refused(Self::running(workload)).await
    }

    async fn refused(&self, target: Result<Target, Failure>) -> Outcome<Vec<&'static str>> {
        let target = match target {
            Ok(target) => target,
            Err(failure) => return Outcome::NotDone(failure),
        };
        let mut forbidden = Vec::new();
        for verb in RULES.iter().filter(|rule| rule.1 == target.resource).flat_map(|rule| rule.2) {
            match self.may(&target, verb).await {
                Ok(true) => (),
                Ok(false) => forbidden.push(*verb),
                Err(failure) => return Outcome::NotDone(failure),
            }
        }
        Outcome::Done(forbidden)
    }

    async fn may(&self, target: &Target, verb: &str) -> Result<bool, Failure> {
        #[derive(Deserialize)]
        struct Reviewed {
            status: Verdict,
        }
        #[derive(Deserialize)]
        struct Verdict {
            allowed: bool,
        }
        let mut asked = json!({
            "namespace": self.wire.namespace(), "group": target.group, "resource": target.resource, "verb": verb,
        });
        // When something is made, its name is not known to who decides.
        if verb != "create" {
            asked["name"] = target.name.as_str().into();
        }
        let ask = Ask::review(&json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": asked },
        }));
        let answer = self.wire.send(target, ask).await.answer()?;
        if !answer.status.is_success() {
            return Err(answer.failure(&[]));
        }
        let malformed = |_| Failure::new(Fault::Malformed, "the answer does not say what is allowed");
        object::<Reviewed>(&answer.body).map(|reviewed| reviewed.status.allowed).map_err(malformed)
    }
}

//! Kubernetes: Secrets of one namespace as a sink, and its workloads.
//!
//! **Form.** Each member of the pair is one key of the Secret's data, its value the bytes of that key: what consumers get as
//! variables (`envFrom`) or as files. Keys that people added stay. Data that is no UTF-8 text is nobody's member here, and
//! stays too.
//!
//! **Version.** `UID/RESOURCEVERSION`; `absent` where there is no Secret. Every change of an object gives it another
//! `resourceVersion` (Kubernetes docs, "Kubernetes API Concepts"), and an object that was deleted and made again has
//! another `uid`. Reads name no version, and so are answered from etcd's quorum, never from a cache (the same page).
//!
//! **Compare-and-set.** A first write is a POST, which fails if the name is taken. All others carry `uid` and
//! `resourceVersion` of what they replace: the server answers 409 if the object has another `resourceVersion`, and also if
//! there is none any more, which only `uid` ensures (`patch.go` of its library `apiserver`; a server-side apply that names
//! a `resourceVersion` alone makes the object anew). A PATCH is one request, so all keys of a Secret change together.
//!
//! **Server-side apply.** The pair is applied under the field manager `rekeyd`, which owns those keys and no others. The
//! apply is forced, since the version it replaces was looked at and is named: whoever else applied the same keys, as a
//! GitOps tool might, loses them, is told so by its own next apply, and keeps every other field. An apply takes away only
//! what the same manager applied before (Kubernetes docs, "Server-Side Apply"), so where members of an old name, or of
//! a hand-made pair, have to go, a JSON merge patch takes the place of the apply, which removes whatever it names.
//!
//! **Fencing.** An annotation with a value that was never there. A patch that changes nothing changes no version either.
//!
//! **Rights.** See [`RULES`].

mod access;
mod rights;
mod secret;
mod wire;
mod workloads;

use super::content;
use super::http::Base;
use crate::model::document::{Names, Pair, Seen};
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::key::AttemptId;
use crate::model::names::{Place, Version};
use crate::model::policy::SecretSource;
use crate::model::secret::Secret;
use crate::model::sink::is_object_name;
use crate::ports::{Reading, Sink, Written};
pub use access::{Unfit, in_cluster};
use async_trait::async_trait;
use secret::{Change, Held, held};
use wire::{Ask, Target, Wire, written};

/// Who owns what is written here (Kubernetes docs, "Server-Side Apply", field managers).
const MANAGER: &str = "rekeyd";

/// What rekeyd asks the cluster to be allowed, as API group, resource and verbs of a Role in the namespace of the sink.
/// `create` can not be limited to names, the other verbs can (Kubernetes docs, "Using RBAC Authorization"). The last three
/// are needed only where the policy names something to restart.
pub const RULES: [(&str, &str, &[&str]); 4] = [
    ("", "secrets", &["get", "create", "patch"]),
    ("apps", "deployments", &["get", "patch"]),
    ("apps", "statefulsets", &["get", "patch"]),
    ("apps", "daemonsets", &["get", "patch"]),
];

/// One namespace of one cluster.
pub struct Cluster {
    wire: Wire,
}

impl Cluster {
    /// Uses the API server at this address; nothing is sent yet.
    pub fn new(http: reqwest::Client, base: Base, token: SecretSource, namespace: &str) -> Self {
        Self { wire: Wire::new(http, base, token, namespace) }
    }

    /// The Secret of a place. Its name has no large letters; the SID of an account has two.
    fn target(place: &Place) -> Result<Target, Failure> {
        let name = place.path.to_ascii_lowercase();
        if is_object_name(&name) {
            Ok(Target { group: "", kind: "Secret", resource: "secrets", name })
        } else {
            Err(Failure::new(Fault::Refused, "the name is no subdomain as RFC 1123 has it"))
        }
    }

    /// What is there now.
    async fn held(&self, target: &Target) -> Outcome<Option<Held>> {
        match self.wire.send(target, Ask::Get).await {
            Outcome::Done(answer) => match answer.status.as_u16() {
                200 => held(&answer.body).map_or_else(Outcome::NotDone, |held| Outcome::Done(Some(held))),
                404 if answer.is_of(target) => Outcome::Done(None),
                _ => Outcome::NotDone(answer.failure(&[])),
            },
            Outcome::NotDone(failure) | Outcome::Unknown(failure) => Outcome::NotDone(failure),
        }
    }

    /// Changes exactly this version as `change` says; `hide` is kept out of what is said of a failure.
    async fn replace(
        &self,
        place: &Place,
        base: &Version,
        hide: &[&Secret],
        change: impl FnOnce(Option<&Held>) -> Change + Send,
    ) -> Outcome<Written> {
        let ready = async {
            let target = Self::target(place)?;
            let held = self.held(&target).await.answer()?;
            Ok((target, held))
        };
        let (target, held) = match ready.await {
            Ok(ready) => ready,
            Err(failure) => return Outcome::NotDone(failure),
        };
        if version(held.as_ref()) != *base {
            return Outcome::Done(Written::Conflict);
        }
        let change = change(held.as_ref());
        // Its annotations can be changed even so (Kubernetes docs, "Secrets"), which is all that most fences want.
        if held.as_ref().is_some_and(|held| held.immutable) && change.is_of_data() {
            let detail = "the Secret is immutable: only deleting it and making it anew would change that";
            return Outcome::NotDone(Failure::new(Fault::Refused, detail));
        }
        let ask = change.ask(&target, self.wire.namespace(), held.as_ref());
        match self.wire.send(&target, ask).await {
            Outcome::Done(answer) => written(&answer, &target, hide),
            Outcome::NotDone(failure) => Outcome::NotDone(failure),
            Outcome::Unknown(failure) => Outcome::Unknown(failure),
        }
    }
}

/// What names the state of a place.
fn version(held: Option<&Held>) -> Version {
    held.map_or(Version("absent".to_owned()), |held| held.id.version())
}

/// What the data says, as the object that it stands for.
fn text(held: Option<&Held>) -> Option<&[u8]> {
    held.map(|held| held.text.as_slice())
}

#[async_trait]
impl Sink for Cluster {
    async fn read(&self, place: &Place, names: &Names, _: Option<AttemptId>) -> Outcome<Reading> {
        let target = match Self::target(place) {
            Ok(target) => target,
            Err(failure) => return Outcome::NotDone(failure),
        };
        self.held(&target).await.map(|held| {
            let (content, secret) = content::read(text(held.as_ref()), names);
            Reading { seen: Seen { version: version(held.as_ref()), content, staged: false }, secret, staged: None }
        })
    }

    async fn publish(&self, place: &Place, names: &Names, pair: &Pair, base: &Version) -> Outcome<Written> {
        let change = |held: Option<&Held>| {
            let ours = content::with_pair(None, names, pair);
            let whole = content::with_pair(text(held), names, pair);
            Change::to(&ours, &whole, held)
        };
        self.replace(place, base, &pair.secrets(), change).await
    }

    async fn fence(&self, place: &Place, names: &Names, token: AttemptId, base: &Version) -> Outcome<Written> {
        let change = |held: Option<&Held>| {
            Change::fence(&content::fenced(text(held), names, token), held, format!("{token} {base}"))
        };
        self.replace(place, base, &[], change).await
    }
}

//! HashiCorp Vault and OpenBao as a sink: the KV engine, version 2.
//!
//! **Version.** The number of the current version; `0` for a path that was never written. A deleted or destroyed
//! version serves nothing and still has its number (Vault docs, "KV secrets engine v2 API": `options.cas`). Deleting a
//! path with its metadata starts its numbers again: whoever does that and writes the path anew up to the same number
//! between our look and our write is not told apart from nobody.
//!
//! **Policy.** The token needs `create`, `read` and `update` on `MOUNT/data/PATH`, and `patch` on `MOUNT/metadata/PATH`
//! where there is `custom_metadata`; nothing else (`rights`). Set `cas_required` on the mount or the path, and nobody can
//! overwrite what they have not seen; rekeyd always says what it replaces.
//!
//! **Stale reads.** A write always ends at the active node, which compares the version there. A read may be answered by
//! a standby that lags behind: OpenBao's standbys do unless `disable_standby_reads = true`, Vault Enterprise's
//! performance standbys do unless `disable_performance_standby = true` (the "Eventual consistency" pages of both). No
//! answer says so. A stale read can make a write fail, which is harmless, and it can hide for a moment what somebody
//! has just written, which matters when an old key is about to be deleted. So let `address` lead to the active node:
//! set one of these options, or use a load balancer that asks `/v1/sys/health`, which only the active node answers
//! with 200.
//!
//! The `vaultrs` crate builds the requests and knows the form of the answers; they are sent by the HTTP client that
//! Twilio is called with too: bounded, never redirected, never repeated. None of its errors or settings is formatted,
//! because their `Debug` shows tokens and bodies.

mod lease;
mod login;
mod metadata;
mod rights;
mod session;
mod wire;

use super::content::{self, Text};
use super::json::{Object, object};
use crate::model::document::{Names, Pair, Seen};
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::key::AttemptId;
use crate::model::names::{BadName, Place, Version};
use crate::model::policy::{VaultAuth, VaultPolicy};
use crate::model::secret::Secret;
use crate::ports::{Clock, Reading, Sink, Written};
use async_trait::async_trait;
pub use metadata::Keeping;
pub use rights::{Rule, Use, pattern, rules};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use session::Session;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use vaultrs::api::kv2::requests::ReadSecretRequest;
use vaultrs::api::kv2::responses::SecretVersionMetadata;
use wire::{Answer, DescribeMount, Wire, WriteSecret};
use zeroize::Zeroizing;

/// One KV engine of one server.
pub struct Vault {
    wire: Wire,
    session: Session,
    mount: String,
    /// What is said of each path beside its content.
    notes: BTreeMap<String, String>,
}

/// Why a Vault sink can not be built.
#[derive(Debug, thiserror::Error)]
#[error("{what}: accepted is {accepted}")]
pub struct Unfit {
    /// The key of the policy.
    what: &'static str,
    accepted: BadName,
}

/// What lies at a path.
struct Held {
    /// The number of the current version.
    version: u64,
    /// The object that it serves, as JSON; none if there is none.
    text: Option<Text>,
    /// What is said of the path beside that.
    notes: HashMap<String, String>,
}

impl Vault {
    /// Uses the engine at this mount; nothing is sent yet.
    pub fn new(http: reqwest::Client, engine: &VaultPolicy) -> Result<Self, Unfit> {
        let VaultPolicy { address, mount, namespace, auth, .. } = engine;
        let unfit = |what: &'static str| move |accepted| Unfit { what, accepted };
        Self::accepts(mount).map_err(unfit("mount"))?;
        let wire = Wire::new(http, address, namespace.as_deref())?;
        match auth {
            VaultAuth::Token { .. } => (),
            VaultAuth::AppRole { mount, .. } | VaultAuth::Jwt { mount, .. } | VaultAuth::Certificate { mount, .. } => {
                Self::accepts(mount).map_err(unfit("auth.mount"))?;
            }
        }
        let (session, notes) = (Session::new(auth.clone()), engine.custom_metadata.clone());
        Ok(Self { wire, session, mount: mount.clone(), notes })
    }

    /// Renews the token before its lease ends, until nobody holds the sink any more: between two rotations nothing else is
    /// sent that would.
    pub fn stay_signed_in(vault: &Arc<Self>, clock: Arc<dyn Clock>) {
        let vault = Arc::downgrade(vault);
        tokio::spawn(async move {
            while let Some(vault) = vault.upgrade() {
                let pause = vault.session.tend(&vault.wire).await;
                drop(vault);
                clock.sleep(pause).await;
            }
        });
    }

    /// Checks a path or a mount: segments that a URL keeps as they are, so that nothing leaves the mount.
    pub fn accepts(path: &str) -> Result<(), BadName> {
        let stays = |segment: &str| !matches!(segment, "" | "." | "..") && !segment.contains(char::is_control);
        match path.split('/').all(stays) {
            true => Ok(()),
            false => Err(BadName("segments divided by single slashes, none of them empty, . or ..")),
        }
    }

    fn check(place: &Place) -> Result<(), Failure> {
        Self::accepts(&place.path).map_err(|bad| Failure::new(Fault::Refused, &format!("the path is not {bad}")))
    }

    /// What lies at a place, whatever it is, with its version.
    pub async fn text(&self, place: &Place) -> Outcome<Option<(Version, Secret)>> {
        self.held(place)
            .await
            .map(|held| content::text(held.text.as_deref().map(Vec::as_slice)).map(|text| (held.version(), text)))
    }

    /// Reads what is there now.
    async fn held(&self, place: &Place) -> Outcome<Held> {
        if let Err(failure) = Self::check(place) {
            return Outcome::NotDone(failure);
        }
        let request = ReadSecretRequest { mount: self.mount.clone(), path: place.path.to_string(), version: None };
        match self.session.call(&self.wire, request).await {
            Outcome::Done(answer) => match held(&answer) {
                Ok(held) => Outcome::Done(held),
                Err(failure) => Outcome::NotDone(failure),
            },
            Outcome::NotDone(failure) => Outcome::NotDone(failure),
            Outcome::Unknown(failure) => Outcome::Unknown(failure),
        }
    }

    /// Before the first write to a path: an engine of version 1 answers a read of it in the same way, and would store
    /// the pair where nobody looks. It is what `vault secrets enable kv` makes unless told otherwise.
    async fn check_engine(&self, held: &Held) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Described {
            data: Mount,
        }
        #[derive(Deserialize)]
        struct Mount {
            options: Option<BTreeMap<String, Value>>,
        }
        if held.version > 0 {
            return Ok(());
        }
        let answer = self.session.call(&self.wire, DescribeMount { mount: &self.mount }).await.answer()?;
        // Where the question is not allowed there is no answer to go by.
        let described = serde_json::from_slice(&answer.body);
        match described.map(|Described { data }| data.options.unwrap_or_default().remove("version")) {
            Ok(version) if !version.as_ref().is_some_and(|version| *version == "2" || *version == 2) => {
                let detail = format!("{} is no KV engine of version 2: see `vault kv enable-versioning`", self.mount);
                Err(Failure::new(Fault::Refused, &detail))
            }
            _ => Ok(()),
        }
    }

    /// Replaces exactly this version by what `text` makes of it; `hide` is kept out of what is said of a failure.
    async fn replace(
        &self,
        place: &Place,
        base: &Version,
        hide: &[&Secret],
        text: impl FnOnce(Option<&[u8]>) -> Text + Send,
    ) -> Outcome<Written> {
        let held = match self.held(place).await.answer() {
            Ok(held) => held,
            Err(failure) => return Outcome::NotDone(failure),
        };
        if held.version() != *base {
            return Outcome::Done(Written::Conflict);
        }
        if let Err(failure) = self.check_engine(&held).await {
            return Outcome::NotDone(failure);
        }
        let text = text(held.text.as_deref().map(Vec::as_slice));
        let Ok(data) = serde_json::from_slice(&text) else {
            return Outcome::NotDone(Failure::new(Fault::Refused, "what is there can not be written again as JSON"));
        };
        let request = WriteSecret { mount: &self.mount, path: &place.path, cas: held.version, data };
        match self.session.call(&self.wire, request).await {
            Outcome::Done(answer) => {
                let outcome = written(&answer, hide);
                if matches!(outcome, Outcome::Done(Written::At(_))) {
                    self.describe(place, &held).await;
                }
                outcome
            }
            Outcome::NotDone(failure) => Outcome::NotDone(failure),
            Outcome::Unknown(failure) => Outcome::Unknown(failure),
        }
    }
}

#[async_trait]
impl Sink for Vault {
    async fn read(&self, place: &Place, names: &Names, _: Option<AttemptId>) -> Outcome<Reading> {
        self.held(place).await.map(|held| {
            let (content, secret) = content::read(held.text.as_deref().map(Vec::as_slice), names);
            Reading { seen: Seen { version: held.version(), content, staged: false }, secret, staged: None }
        })
    }

    async fn publish(&self, place: &Place, names: &Names, pair: &Pair, base: &Version) -> Outcome<Written> {
        self.replace(place, base, &pair.secrets(), |there| content::with_pair(there, names, pair)).await
    }

    async fn fence(&self, place: &Place, names: &Names, token: AttemptId, base: &Version) -> Outcome<Written> {
        self.replace(place, base, &[], |there| content::fenced(there, names, token)).await
    }
}

impl Held {
    fn version(&self) -> Version {
        Version(self.version.to_string())
    }
}

/// The answer to a read: a version, or 404 with the number of a version that serves nothing, or 404 with nothing.
#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    data: Object<FoundVersion<'a>>,
}

#[derive(Deserialize)]
struct FoundVersion<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    metadata: Object<SecretVersionMetadata>,
}

fn held(answer: &Answer) -> Result<Held, Failure> {
    let found = object::<Found<'_>>(&answer.body).ok().map(|found| found.data.0);
    match (answer.status.as_u16(), found) {
        (200, Some(FoundVersion { data: Some(data), metadata: Object(metadata) })) if metadata.version > 0 => {
            let text = Some(Zeroizing::new(data.get().as_bytes().to_vec()));
            Ok(Held { version: metadata.version, text, notes: metadata.custom_metadata.unwrap_or_default() })
        }
        (404, Some(FoundVersion { metadata: Object(metadata), .. })) => {
            Ok(Held { version: metadata.version, text: None, notes: metadata.custom_metadata.unwrap_or_default() })
        }
        (404, None) if answer.errors().is_some_and(|errors| errors.is_empty()) => {
            Ok(Held { version: 0, text: None, notes: HashMap::new() })
        }
        (200..300, _) => Err(Failure::new(Fault::Malformed, "the answer is not that of a KV engine of version 2")),
        _ => Err(answer.failure(&[])),
    }
}

/// The answer to a write: the new version, or the version had changed, or it was refused; anything else is unclear.
fn written(answer: &Answer, hide: &[&Secret]) -> Outcome<Written> {
    #[derive(Deserialize)]
    struct Stored {
        data: Object<SecretVersionMetadata>,
    }
    match answer.status.as_u16() {
        status @ 200..300 => match object::<Stored>(&answer.body) {
            Ok(stored) if status == 200 => Outcome::Done(Written::At(Version(stored.data.0.version.to_string()))),
            _ => Outcome::Unknown(Failure::new(Fault::Malformed, "the answer to a write names no version")),
        },
        400 if answer.says("check-and-set parameter did not match") => Outcome::Done(Written::Conflict),
        300..400 | 429 => Outcome::NotDone(answer.failure(hide)),
        // Without an error of Vault's own form, something in between may have answered, before or after Vault.
        400..500 if answer.errors().is_some() => Outcome::NotDone(answer.failure(hide)),
        _ => Outcome::Unknown(answer.failure(hide)),
    }
}

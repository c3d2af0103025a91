//! What stands beside the secret of a path: the operator's own notes, and how many versions are kept.

use super::super::json::{Object, object};
use super::wire::Ask;
use super::{Held, Vault};
use crate::model::fault::{Failure, Fault};
use crate::model::names::Place;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use rustify::enums::RequestMethod;
use serde::Deserialize;
use serde_json::json;

/// What a KV engine does with the versions of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// How many versions it keeps.
    pub versions: u64,
    /// Whether every write has to say what it replaces.
    pub checked: bool,
}

/// What is said of an engine, and of a path in it, in the same words (Vault docs, "KV secrets engine v2 API").
#[derive(Default, Deserialize)]
struct Settings {
    #[serde(default)]
    max_versions: u64,
    #[serde(default)]
    cas_required: bool,
}

/// What an engine keeps for which nobody has said a number.
const USUAL: u64 = 10;
/// So many paths are asked about at the same time.
const AT_ONCE: usize = 16;

impl Vault {
    /// Writes the notes of the policy beside a pair, if others stand there; what people wrote under other names stays. The
    /// pair is served already, so that this fails is told and changes nothing: it is tried again with the next write.
    pub(super) async fn describe(&self, place: &Place, held: &Held) {
        let described = self.notes.iter().all(|(name, note)| held.notes.get(name) == Some(note));
        if described {
            return;
        }
        if let Err(failure) = self.note(place).await {
            tracing::warn!(%place, %failure, "custom_metadata could not be written");
        }
    }

    async fn note(&self, place: &Place) -> Result<(), Failure> {
        let path = self.metadata_path(place);
        let body = Some(json!({ "custom_metadata": self.notes }));
        let mut request = self.wire.request(Ask { method: RequestMethod::PATCH, path, body })?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/merge-patch+json"));
        let answer = self.session.send(&self.wire, request).await.answer()?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.failure(&[])) }
    }

    /// What is kept of each of these places: what the engine says or what the path says, whichever is more, as OpenBao
    /// does it. The token needs `read` on `MOUNT/config` and `MOUNT/metadata/PATH`, which no rotation needs.
    pub async fn keeping(&self, places: &[Place]) -> Result<Vec<Keeping>, Failure> {
        let engine = self.settings(format!("{}/config", self.mount)).await?;
        let settings = places.iter().map(|place| self.settings(self.metadata_path(place)));
        let kept = |path: Settings| Keeping {
            versions: match engine.max_versions.max(path.max_versions) {
                0 => USUAL,
                versions => versions,
            },
            checked: engine.cas_required || path.cas_required,
        };
        stream::iter(settings).buffered(AT_ONCE).map(|path| path.map(kept)).try_collect().await
    }

    /// A path to which nothing was ever written has no settings of its own.
    async fn settings(&self, path: String) -> Result<Settings, Failure> {
        #[derive(Deserialize)]
        struct Found {
            data: Object<Settings>,
        }
        let ask = Ask { method: RequestMethod::GET, path, body: None };
        let answer = self.session.call(&self.wire, ask).await.answer()?;
        match answer.status.as_u16() {
            200 => object::<Found>(&answer.body)
                .map(|found| found.data.0)
                .map_err(|_| Failure::new(Fault::Malformed, "the answer is not that of a KV engine of version 2")),
            404 => Ok(Settings::default()),
            _ => Err(answer.failure(&[])),
        }
    }

    fn metadata_path(&self, place: &Place) -> String {
        format!("{}/metadata/{}", self.mount, place.path)
    }
}

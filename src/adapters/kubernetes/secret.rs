//! A Secret as it is read, and as it is changed. What is copied here is wiped by the allocator, as elsewhere.

use super::super::content::Text;
use super::super::json::{Object, object};
use super::MANAGER;
use super::wire::{Ask, Id, Target, metadata};
use crate::model::fault::{Failure, Fault};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Where a fence leaves its mark.
const FENCE: &str = "rekeyd.dev/fence";

/// Data by key, in base64.
pub(super) type Data = BTreeMap<String, String>;

/// A Secret that is there.
pub(super) struct Held {
    pub(super) id: Id,
    /// Nobody can change its data any more.
    pub(super) immutable: bool,
    /// Its data as a JSON object: a text for each key, or `null` where that is no text.
    pub(super) text: Text,
    data: Data,
    /// The keys that an apply of ours would take away if it did not say them again.
    applied: Vec<String>,
}

/// What is changed in a Secret, or what it is made of.
pub(super) struct Change {
    /// What its data says from then on.
    put: Data,
    /// Keys that go.
    gone: Vec<String>,
    /// What the fence says, if this is one.
    fence: Option<String>,
}

#[derive(Deserialize)]
struct Found {
    kind: String,
    metadata: Object<Id>,
    #[serde(default)]
    immutable: Option<bool>,
    #[serde(default)]
    data: Option<Data>,
}

/// The part of the metadata that says who owns which field (Kubernetes docs, "Server-Side Apply").
#[derive(Deserialize)]
struct Owned {
    metadata: Owners,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Owners {
    #[serde(default)]
    managed_fields: Vec<Value>,
}

/// Reads the answer to a GET.
pub(super) fn held(body: &[u8]) -> Result<Held, Failure> {
    let malformed = || Failure::new(Fault::Malformed, "the answer is no Secret");
    let found: Found = object(body).map_err(|_| malformed())?;
    let Object(id) = found.metadata;
    if found.kind != "Secret" || !id.is_whole() {
        return Err(malformed());
    }
    let data = found.data.unwrap_or_default();
    let decoded = |(key, value): (&String, &String)| Some((key.clone(), Zeroizing::new(STANDARD.decode(value).ok()?)));
    let decoded: BTreeMap<_, _> = data.iter().map(decoded).collect::<Option<_>>().ok_or_else(malformed)?;
    let shown: BTreeMap<_, _> = decoded.iter().map(|(key, bytes)| (key, std::str::from_utf8(bytes).ok())).collect();
    let text = Zeroizing::new(serde_json::to_vec(&shown).map_err(|_| malformed())?);
    Ok(Held { id, immutable: found.immutable == Some(true), text, data, applied: applied(body) })
}

/// The keys of the data that we own by an apply.
fn applied(body: &[u8]) -> Vec<String> {
    let Ok(Owned { metadata }) = object(body) else { return Vec::new() };
    let ours = |entry: &&Value| entry["manager"] == MANAGER && entry["operation"] == "Apply";
    let fields =
        metadata.managed_fields.iter().filter(ours).filter_map(|entry| entry["fieldsV1"]["f:data"].as_object());
    fields.flat_map(|fields| fields.keys()).filter_map(|field| field.strip_prefix("f:")).map(str::to_owned).collect()
}

/// The members of an object of texts, as data.
fn data(text: &Text) -> Data {
    let members: BTreeMap<String, String> = serde_json::from_slice(text).unwrap_or_default();
    members.into_iter().map(|(key, text)| (key, STANDARD.encode(text))).collect()
}

impl Change {
    /// Puts our members there, and takes away what `whole`, which has all members that there shall be, has no more.
    pub(super) fn to(ours: &Text, whole: &Text, held: Option<&Held>) -> Self {
        let stays: BTreeMap<String, Value> = serde_json::from_slice(whole).unwrap_or_default();
        let (mut put, mut gone) = (data(ours), Vec::new());
        if let Some(held) = held {
            gone = held.data.keys().filter(|key| !stays.contains_key(*key)).cloned().collect();
            let again = held.applied.iter().filter(|key| stays.contains_key(*key));
            for (key, value) in again.filter_map(|key| held.data.get_key_value(key)) {
                put.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        Self { put, gone, fence: None }
    }

    /// Puts this there, if that is another text, and leaves the mark of a fence.
    pub(super) fn fence(fenced: &Text, held: Option<&Held>, mark: String) -> Self {
        let same = held.is_some_and(|held| held.text == *fenced);
        Self { put: if same { Data::new() } else { data(fenced) }, gone: Vec::new(), fence: Some(mark) }
    }

    /// Whether the data will be other than before.
    pub(super) fn is_of_data(&self) -> bool {
        !(self.put.is_empty() && self.gone.is_empty())
    }

    /// The one request that does it: a POST where nothing is, an apply of what is ours alone, a merge patch for the rest.
    pub(super) fn ask(&self, target: &Target, namespace: &str, held: Option<&Held>) -> Ask {
        let mut metadata = metadata(target, namespace, held.map(|held| &held.id));
        if let Some(fence) = &self.fence {
            metadata["annotations"] = json!({ FENCE: fence });
        }
        let mut body = json!({ "apiVersion": "v1", "kind": target.kind, "metadata": metadata });
        let put = self.put.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str())));
        let gone = self.gone.iter().map(|key| (key.clone(), Value::Null));
        if self.is_of_data() {
            body["data"] = put.chain(gone).collect();
        }
        if held.is_none() {
            body["type"] = "Opaque".into();
            body["metadata"]["labels"] = json!({ "app.kubernetes.io/managed-by": MANAGER });
            return Ask::create(&body);
        }
        // A fence says nothing again, so an apply of it would take the pair away.
        if self.gone.is_empty() && self.fence.is_none() { Ask::apply(&body) } else { Ask::merge(&body) }
    }
}

//! Objects, who owns which of their fields, and how patches change both ("Server-Side Apply").

use super::{Call, NAMESPACE, Wrong};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The fields of a Secret, and no others.
const OF_A_SECRET: [&str; 6] = ["apiVersion", "kind", "metadata", "type", "data", "immutable"];
/// What nobody owns: it names the object, or the server writes it.
const NAMING: [&str; 6] = ["name", "namespace", "uid", "resourceVersion", "generation", "managedFields"];

type Path = Vec<String>;
/// Manager and operation.
type Owner = (String, &'static str);

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    pub(super) uid: String,
    pub(super) version: u64,
    pub(super) generation: u64,
    /// Without what names it.
    pub(super) value: Value,
    owners: BTreeMap<Owner, BTreeSet<Path>>,
}

/// A change that is asked for.
pub(super) enum Patch {
    /// Server-side, and whether by force.
    Apply(Value, bool),
    /// RFC 7386.
    Merge(Value),
}

impl Object {
    pub(super) fn new(group: &str, kind: &str, name: &str, uid: String) -> Self {
        let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        let value =
            json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name, "namespace": NAMESPACE } });
        Self { uid, version: 0, generation: 0, value, owners: BTreeMap::new() }
    }

    /// As it is answered.
    pub(super) fn shown(&self) -> Value {
        let entries = self.owners.iter().filter(|(_, paths)| !paths.is_empty());
        let managed = entries.map(|((manager, operation), paths)| {
            let mut fields = Value::Object(Map::new());
            for path in paths {
                let mut at = &mut fields;
                for part in path {
                    at = &mut at[format!("f:{part}")];
                    if at.is_null() {
                        *at = json!({});
                    }
                }
            }
            json!({
                "manager": manager, "operation": operation, "apiVersion": self.value["apiVersion"],
                "fieldsType": "FieldsV1", "fieldsV1": fields,
            })
        });
        let mut shown = self.value.clone();
        shown["metadata"]["managedFields"] = managed.collect();
        shown["metadata"]["uid"] = self.uid.as_str().into();
        shown["metadata"]["resourceVersion"] = self.version.to_string().into();
        if shown["apiVersion"] != "v1" {
            shown["metadata"]["generation"] = self.generation.into();
        }
        shown
    }

    /// As it is after a person changed it.
    pub(super) fn edited(&self, manager: &str, change: impl FnOnce(&mut Value)) -> Self {
        let mut after = self.clone();
        change(&mut after.value);
        after.own_changes(self, manager);
        after
    }

    /// As it is after a patch, if that may be.
    pub(super) fn patched(&self, call: &Call<'_>, patch: &Patch, manager: &str) -> Result<Self, Wrong> {
        let (Patch::Apply(sent, _) | Patch::Merge(sent)) = patch;
        self.named_rightly(call, sent)?;
        let mut after = self.clone();
        match patch {
            Patch::Merge(sent) => {
                merge(&mut after.value, &without_naming(sent));
                after.own_changes(self, manager);
            }
            Patch::Apply(sent, force) => after.apply(&without_naming(sent), manager, *force)?,
        }
        after.valid(call, self)?;
        Ok(after)
    }

    fn named_rightly(&self, call: &Call<'_>, sent: &Value) -> Result<(), Wrong> {
        if serde_json::from_slice::<Value>(call.body).is_err() || !sent.is_object() {
            return Err(Wrong::plain(400, "BadRequest", "the object provided is unrecognized"));
        }
        let other = |at: &Value, own: &str| at.as_str().is_some_and(|text| text != own);
        let (kind, version) = (&sent["kind"], &sent["apiVersion"]);
        let own_version = self.value["apiVersion"].as_str().unwrap();
        if kind != call.kind || version != own_version {
            return Err(Wrong::plain(400, "BadRequest", &format!("{version}/{kind} is not served here")));
        }
        if other(&sent["metadata"]["name"], call.name) || other(&sent["metadata"]["namespace"], NAMESPACE) {
            let message = "the name of the object does not match the name on the URL";
            return Err(Wrong::plain(400, "BadRequest", message));
        }
        Ok(())
    }

    /// Takes the fields that are said, and takes away what this manager applied before and does not say again.
    fn apply(&mut self, sent: &Value, manager: &str, force: bool) -> Result<(), Wrong> {
        let owner: Owner = (manager.to_owned(), "Apply");
        let said: BTreeSet<Path> = leaves(sent);
        let taken: Vec<(Owner, Path)> = self
            .owners
            .iter()
            .filter(|(other, _)| **other != owner)
            .flat_map(|(other, paths)| paths.intersection(&said).map(move |path| (other.clone(), path.clone())))
            .filter(|(_, path)| at(&self.value, path) != at(sent, path))
            .collect();
        if let Some(((other, _), path)) = taken.first().filter(|_| !force) {
            let message = format!("Apply failed with 1 conflict: conflict with \"{other}\": .{}", path.join("."));
            let causes = json!({ "causes": [{ "reason": "FieldManagerConflict", "message": message }] });
            return Err(Wrong(409, "Conflict", message, causes));
        }
        for (other, path) in taken {
            self.owners.get_mut(&other).unwrap().remove(&path);
        }
        let before = self.owners.insert(owner, said.clone()).unwrap_or_default();
        for path in before.difference(&said) {
            if !self.owners.values().any(|paths| paths.contains(path)) {
                remove(&mut self.value, path);
            }
        }
        merge(&mut self.value, sent);
        Ok(())
    }

    /// Whoever changes a field without applying it owns it, and nobody else does.
    fn own_changes(&mut self, before: &Self, manager: &str) {
        let (old, new) = (leaves(&before.value), leaves(&self.value));
        let changed = |path: &&Path| !old.contains(*path) || at(&before.value, path) != at(&self.value, path);
        let changed: BTreeSet<Path> = new.iter().filter(changed).cloned().collect();
        for paths in self.owners.values_mut() {
            paths.retain(|path| new.contains(path) && !changed.contains(path));
        }
        self.owners.entry((manager.to_owned(), "Update")).or_default().extend(changed);
    }

    fn valid(&self, call: &Call<'_>, before: &Self) -> Result<(), Wrong> {
        if call.kind != "Secret" {
            return Ok(());
        }
        if let Some(field) = self.value.as_object().unwrap().keys().find(|field| !OF_A_SECRET.contains(&field.as_str()))
        {
            return Err(Wrong::plain(400, "BadRequest", &format!("strict decoding error: unknown field \"{field}\"")));
        }
        let data = self.value["data"].as_object().cloned().unwrap_or_default();
        let mut size = 0;
        for (key, value) in &data {
            let letters = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if !letters || key.is_empty() || key.len() > 253 || key == "." || key.starts_with("..") {
                return Err(Wrong::invalid(
                    call,
                    &format!("data[{key}]: Invalid value: \"{key}\": a valid config key"),
                ));
            }
            let Some(Ok(bytes)) = value.as_str().map(|text| STANDARD.decode(text)) else {
                return Err(Wrong::plain(400, "BadRequest", "illegal base64 data at input byte 0"));
            };
            size += bytes.len();
        }
        if size > 1 << 20 {
            return Err(Wrong::invalid(call, "data: Too long: may not be more than 1048576 bytes"));
        }
        let changed = |field: &str| before.value.get(field) != self.value.get(field);
        if before.version > 0 && changed("type") {
            return Err(Wrong::invalid(call, "type: Invalid value: field is immutable"));
        }
        if before.value["immutable"] == true && (changed("data") || changed("immutable")) {
            return Err(Wrong::invalid(call, "data: Forbidden: field is immutable when `immutable` is set"));
        }
        Ok(())
    }
}

fn without_naming(sent: &Value) -> Value {
    let mut sent = sent.clone();
    if let Some(metadata) = sent["metadata"].as_object_mut() {
        metadata.retain(|field, _| !NAMING.contains(&field.as_str()));
    }
    sent
}

/// The paths of all values that are no objects, but for those that name the object.
fn leaves(value: &Value) -> BTreeSet<Path> {
    fn walk(value: &Value, path: &[String], found: &mut BTreeSet<Path>) {
        match value.as_object().filter(|object| !object.is_empty()) {
            Some(object) => {
                object.iter().for_each(|(key, value)| walk(value, &[path, std::slice::from_ref(key)].concat(), found))
            }
            None => drop(found.insert(path.to_vec())),
        }
    }
    let mut found = BTreeSet::new();
    walk(value, &[], &mut found);
    let named = |path: &Path| match &path[..] {
        [one] => ["apiVersion", "kind", "metadata"].contains(&one.as_str()),
        [one, two, ..] => one == "metadata" && NAMING.contains(&two.as_str()),
        [] => true,
    };
    found.retain(|path| !named(path));
    found
}

fn at<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, part| value.get(part))
}

fn remove(value: &mut Value, path: &[String]) {
    let Some((last, way)) = path.split_last() else { return };
    let parent = way.iter().try_fold(value, |value, part| value.get_mut(part));
    if let Some(object) = parent.and_then(Value::as_object_mut) {
        object.remove(last);
    }
}

/// RFC 7386.
fn merge(value: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    let object = value.as_object_mut().unwrap();
    for (key, patch) in patch {
        if patch.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key.clone()).or_insert(Value::Null), patch);
        }
    }
}

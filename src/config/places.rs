//! `publish_to`: the places where a pair is served, each of them for one credential only.

use super::reader::{Field, Table};
use super::restart::{Restarts, restarts};
use super::sinks::{self, Kind, Named, Sinks, vault_path};
use super::suggest::did_you_mean;
use crate::model::document::Members;
use crate::model::fleet::{ACCOUNT_NAME, ACCOUNT_SID};
use crate::model::names::Place;
use crate::model::policy::{SinkPolicy, VaultPolicy};
use crate::model::sink::{is_object_name, is_secret_key};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

const ITEM: &str = "{ sink = \"NAME\", path = \"PATH\" }, or `name` in place of `path` for all but Vault";
const PATH: &str = "a path inside the mount, such as \"twilio/billing-sms\"";
const SECRET: &str = "the name of a secret: 1 to 512 of a-z, A-Z, 0-9 and /_+=.@-";
const OBJECT: &str =
    "the name of a Secret: 1 to 253 of a-z, 0-9, - and ., and a letter or digit at each end and beside each .";
const FILE: &str = "the name of a file: 1 to 128 of a-z, A-Z, 0-9 and -_., not beginning with . or -";
const LIST: &str = "[ { sink = \"NAME\", path = \"PATH\" } ]";

/// The places that are taken so far.
pub(super) struct Taken<'s> {
    sinks: &'s Sinks<'s>,
    /// The files that the daemon itself needs, and what for.
    own: HashMap<PathBuf, &'static str>,
    /// By store and path: where Main keys are read.
    main_keys: HashSet<(usize, String)>,
    /// By store and path: the credential, and where the file says so.
    places: HashMap<(usize, String), (String, usize)>,
}

impl<'s> Taken<'s> {
    pub(super) fn new<'p>(
        sinks: &'s Sinks<'s>,
        own: HashMap<PathBuf, &'static str>,
        main_keys: impl Iterator<Item = &'p Place>,
    ) -> Self {
        let key = |place: &Place| {
            let sink = sinks.named.get(place.sink.as_str())?.as_ref()?;
            Some((sink.store?, place.path.to_string()))
        };
        Self { sinks, own, main_keys: main_keys.filter_map(key).collect(), places: HashMap::new() }
    }

    /// The files that the daemon itself needs.
    pub(super) fn own(&self) -> BTreeSet<PathBuf> {
        self.own.keys().cloned().collect()
    }

    /// Reads `publish_to`. Places that can stage a value come first, else the order is that of the file.
    pub(super) fn read(&mut self, table: &Table<'_>, credential: &str) -> Option<Vec<Place>> {
        all(table, |item| self.place(item, credential))
    }

    /// Reads `publish_to` of a fleet, whose places have the account in them. Whether they are taken shows when the accounts
    /// are known.
    pub(super) fn templates(&self, table: &Table<'_>) -> Option<Vec<Place>> {
        all(table, |item| self.template(item))
    }

    /// What is restarted once a pair is served.
    pub(super) fn restarts(&self, table: &Table<'_>) -> Option<Restarts> {
        restarts(table, self.sinks)
    }

    /// Whether every place can hold members of these names; tells if not.
    pub(super) fn can_hold(&self, table: &Table<'_>, places: &[Place], members: &Members) -> bool {
        let kind = |place: &Place| self.sinks.right.get(&place.sink).map(sinks::kind);
        let in_secret = places.iter().any(|place| kind(place) == Some(Kind::Kubernetes));
        let Some(name) = members.all().into_iter().find(|name| in_secret && !name.is_empty() && !is_secret_key(name))
        else {
            return true;
        };
        if let Some(field) = table.field("members").or(table.field("publish_to")) {
            let message = format!("`{name}` can not be a key of a Secret of Kubernetes, which is one of the places");
            field.clashes(message, "`members` with names of a-z, A-Z, 0-9, -, _ and .");
        }
        false
    }

    fn template(&self, item: &Field<'_>) -> Option<(Kind, Place)> {
        let table = item.table(ITEM)?;
        let (sink, kind) = named(self.sinks, &table)?;
        let check = |text: &str| {
            let sample = text.replace(ACCOUNT_SID, "AC").replace(ACCOUNT_NAME, "name");
            if sample == text {
                return Err(
                    "all accounts would be published at one place: there is no {account_sid} or {account_name} in it",
                );
            }
            fit(kind, &sample).map(|_| text.trim_matches('/').to_owned())
        };
        let (path, _) = within(&table, kind, check)?;
        table.finish();
        Some((kind, Place::new(sink.name.clone(), &path)))
    }

    fn place(&mut self, item: &Field<'_>, credential: &str) -> Option<(Kind, Place)> {
        let table = item.table(ITEM)?;
        let (sink, kind) = named(self.sinks, &table)?;
        let (path, at) = within(&table, kind, |text| fit(kind, text))?;
        table.finish();
        self.take(sink, &path, credential, at)?;
        if kind == Kind::Vault {
            doubt_data(self.sinks, sink, &path, at);
        }
        Some((kind, Place::new(sink.name.clone(), &path)))
    }

    /// Notes that the place belongs to this credential, unless it is taken.
    fn take(&mut self, sink: &Named<'_>, path: &str, credential: &str, field: Field<'_>) -> Option<()> {
        if let Some(SinkPolicy::Directory { path: directory }) = self.sinks.right.get(&sink.name)
            && let Some(what) = self.own.get(&directory.join(path))
        {
            field.clashes(format!("this would overwrite {what}"), "a file of its own");
            return None;
        }
        // A sink that could not be read is told of where it stands.
        let key = (sink.store?, path.to_owned());
        if self.main_keys.contains(&key) {
            field.clashes("this would overwrite a Main key, which is read there", "a place of its own");
            return None;
        }
        if let Some((owner, offset)) = self.places.get(&key) {
            let line = field.line_of(*offset);
            let owner = if owner == credential { "this credential itself".to_owned() } else { format!("`{owner}`") };
            field.clashes(format!("this place is taken by {owner} in line {line}"), "a place of its own");
            return None;
        }
        self.places.insert(key, (credential.to_owned(), field.offset()));
        Some(())
    }
}

/// The sink that a place is in.
pub(super) fn named<'s>(sinks: &'s Sinks<'s>, table: &Table<'_>) -> Option<(&'s Named<'s>, Kind)> {
    let sink = table.need("sink", "the name of a sink", |field| {
        let name = field.text("the name of a sink")?;
        let sink = sinks.named.get(name);
        if sink.is_none() {
            let hint = did_you_mean(name, sinks.named.keys().copied());
            field.clashes(format!("there is no sink of this name{hint}"), known(sinks));
        }
        sink
    });
    // Without the sink it is not known which of the two, path or name, belongs here.
    let (sink, kind) = sink.and_then(|sink| sink.as_ref().and_then(|sink| Some((sink, sink.kind?))))?;
    sink.used.set(true);
    Some((sink, kind))
}

/// Reads the place of a Main key.
pub(super) fn stored(sinks: &Sinks<'_>, field: &Field<'_>) -> Option<Place> {
    let table = field.table(ITEM)?;
    let (sink, kind) = named(sinks, &table)?;
    let instead = match kind {
        Kind::Directory => Some("a file is named by `main_key_file`"),
        Kind::Kubernetes => {
            Some("a Secret of Kubernetes is mounted into the pod, and its file named by `main_key_file`")
        }
        Kind::Vault | Kind::SecretsManager => None,
    };
    if let Some(instead) = instead {
        field.clashes(instead, "a sink that is a Vault or a Secrets Manager");
        return None;
    }
    let (path, at) = within(&table, kind, |text| fit(kind, text))?;
    table.finish();
    if kind == Kind::Vault {
        doubt_data(sinks, sink, &path, at);
    }
    Some(Place::new(sink.name.clone(), &path))
}

/// `[subaccounts]`: where the keys of new subaccounts are published.
pub(super) fn subaccounts(field: Option<Field<'_>>, taken: &Taken<'_>) -> Option<Vec<Place>> {
    let Some(field) = field else { return Some(Vec::new()) };
    let table = field.table("a table `[subaccounts]` with `publish_to`")?;
    let places = taken.templates(&table);
    table.finish();
    places
}

/// All places, if all are right; those that can stage a value first.
fn all(table: &Table<'_>, one: impl FnMut(&Field<'_>) -> Option<(Kind, Place)>) -> Option<Vec<Place>> {
    let field = table.need("publish_to", LIST, Some)?;
    let items = field.items(LIST)?;
    if items.is_empty() {
        field.wrong("a new key would be known to nobody", LIST);
    }
    let places: Vec<_> = items.iter().map(one).collect();
    let mut places = places.into_iter().collect::<Option<Vec<_>>>().filter(|places| !places.is_empty())?;
    places.sort_by_key(|(kind, _)| *kind != Kind::SecretsManager);
    Some(places.into_iter().map(|(_, place)| place).collect())
}

/// Reads the one key that says where inside a sink of this kind.
fn within<'t>(
    table: &'t Table<'_>,
    kind: Kind,
    check: impl FnOnce(&str) -> Result<String, &'static str>,
) -> Option<(String, Field<'t>)> {
    let (key, other, accepts) = match kind {
        Kind::Vault => ("path", "name", PATH),
        Kind::SecretsManager => ("name", "path", SECRET),
        Kind::Kubernetes => ("name", "path", OBJECT),
        Kind::Directory => ("name", "path", FILE),
    };
    let Some(field) = table.field(key) else {
        match table.field(other) {
            Some(field) => {
                field.clashes(format!("in a sink of this kind a place has a `{key}`, not a `{other}`"), accepts)
            }
            None => table.missing(key, "this key is missing", accepts),
        }
        return None;
    };
    let path = check(field.free_text(accepts)?).map_err(|wrong| field.wrong(wrong, accepts)).ok()?;
    Some((path, field))
}

/// Whether a sink of this kind can have such a place.
pub(super) fn fit(kind: Kind, text: &str) -> Result<String, &'static str> {
    match kind {
        Kind::Vault => vault_path(text),
        Kind::SecretsManager => secret_name(text),
        Kind::Kubernetes => object_name(text),
        Kind::Directory => file_name(text),
    }
}

/// Large letters become small ones: there are none in such a name, and two of them in the SID of every account.
fn object_name(text: &str) -> Result<String, &'static str> {
    let name = text.to_ascii_lowercase();
    if is_object_name(&name) { Ok(name) } else { Err("this is no name for a Secret of Kubernetes") }
}

/// AWS Secrets Manager API reference, "CreateSecret", parameter `Name`.
fn secret_name(text: &str) -> Result<String, &'static str> {
    if text.starts_with("arn:") {
        return Err("this is an ARN: the name is the part behind `secret:`, without the hyphen and six characters");
    }
    if !(1..=512).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+=.@-".contains(&b)) {
        return Err("this is no name for a secret");
    }
    let tail = text.rsplit_once('-').map(|(_, tail)| tail);
    if tail.is_some_and(|tail| tail.len() == 6 && !tail.contains('/')) {
        // AWS appends such an end to each ARN, and may take the name for a part of one.
        return Err("a name must not end in a hyphen and six characters: AWS would mistake it for an ARN");
    }
    Ok(text.to_owned())
}

/// A plain name: the directory's own temporary files begin with a dot.
fn file_name(text: &str) -> Result<String, &'static str> {
    if text.contains('/') {
        return Err("this is a path: the file lies in the directory of the sink itself");
    }
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = (1..=128).contains(&text.len()) && !text.starts_with(['.', '-']) && text.bytes().all(letters);
    if fits { Ok(text.to_owned()) } else { Err("this is no name for a file here") }
}

/// Vault's API has `MOUNT/data/PATH` in its URLs, and people copy it: the secret would lie at `MOUNT/data/data/PATH`.
fn doubt_data(sinks: &Sinks<'_>, sink: &Named<'_>, path: &str, field: Field<'_>) {
    let Some(SinkPolicy::Vault(VaultPolicy { mount, .. })) = sinks.right.get(&sink.name) else { return };
    let inside = path.strip_prefix(mount.as_str()).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path);
    if let Some(rest) = inside.strip_prefix("data/") {
        field.doubt("the mount and `data/` are no part of a path here", format!("\"{rest}\", if that is meant"));
    }
}

/// The sinks of the file, or the first of them, for a message.
fn known(sinks: &Sinks<'_>) -> String {
    let kinds = sinks.named.values().flatten().filter(|sink| sink.kind.is_some());
    let mut names: Vec<_> = kinds.map(|sink| format!("`{}`", sink.name)).collect();
    if names.is_empty() {
        return "the name of a sink; there is none in this file yet".to_owned();
    }
    names.sort();
    let more = if names.len() > 8 { ", …" } else { "" };
    names.truncate(8);
    format!("the name of a sink: {}{more}", names.join(", "))
}

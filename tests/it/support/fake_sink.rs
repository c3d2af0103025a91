//! A sink in memory: as strict as the real ones, and able to fail on demand.

use async_trait::async_trait;
use rekeyd::model::document::{self, Content, Members, Names, Pair, Seen};
use rekeyd::model::fault::{Failure, Fault, Outcome};
use rekeyd::model::key::AttemptId;
use rekeyd::model::names::{Place, Version};
use rekeyd::model::secret::Secret;
use rekeyd::ports::{Reading, Sink, Written};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is carried out as it should be.
    None,
    /// It is not carried out, and says so.
    Refused(Fault),
    /// It is carried out, and the answer is lost.
    AnswerLost,
    /// It does not arrive, which looks the same.
    Lost,
    /// Of a write, only the first half is carried out: the pair lies there staged. The answer is lost.
    Staged,
}

/// A sink in memory; its clones are the same sink.
#[derive(Clone, Default)]
pub(crate) struct FakeSink {
    stages: bool,
    store: Arc<Mutex<Store>>,
}

#[derive(Default)]
struct Store {
    /// Counts writes to all places, so that no version ever comes back.
    clock: u64,
    places: BTreeMap<String, Slot>,
    /// What happens to the next writes, one after the other.
    troubles: VecDeque<Trouble>,
    /// What happens to every read.
    blind: Option<Fault>,
}

/// One place.
#[derive(Default)]
struct Slot {
    version: u64,
    text: Option<String>,
    staged: BTreeMap<AttemptId, String>,
}

impl FakeSink {
    /// One that can hold a pair before it is served.
    pub(crate) fn staging() -> Self {
        Self { stages: true, ..Self::default() }
    }

    /// Chooses what happens to the next write, after those chosen before.
    pub(crate) fn next_write(&self, trouble: Trouble) {
        self.lock().troubles.push_back(trouble);
    }

    /// Makes every read fail, or none.
    pub(crate) fn blind(&self, fault: Option<Fault>) {
        self.lock().blind = fault;
    }

    /// Writes as a person would, whatever is there.
    pub(crate) fn put(&self, path: &str, text: &str) {
        self.lock().store(path, Some(text.to_owned()));
    }

    /// Removes what is there, as a person would.
    pub(crate) fn remove(&self, path: &str) {
        self.lock().store(path, None);
    }

    /// What is there.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        self.lock().places.get(path)?.text.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    fn write(
        &self,
        place: &Place,
        base: &Version,
        attempt: Option<AttemptId>,
        text: impl FnOnce(Option<&str>) -> String,
    ) -> Outcome<Written> {
        let mut store = self.lock();
        let trouble = store.troubles.pop_front().unwrap_or(Trouble::None);
        let lost = || Outcome::Unknown(Failure::new(Fault::Timeout, "the fake sink was told to lose this"));
        match trouble {
            Trouble::Refused(fault) => {
                return Outcome::NotDone(Failure::new(fault, "the fake sink was told to refuse this"));
            }
            Trouble::Lost => return lost(),
            Trouble::None | Trouble::AnswerLost | Trouble::Staged => {}
        }
        let slot = store.places.entry(place.path.to_string()).or_default();
        if slot.version.to_string() != base.0 {
            return if trouble == Trouble::None { Outcome::Done(Written::Conflict) } else { lost() };
        }
        let text = text(slot.text.as_deref());
        if let (true, Some(attempt)) = (self.stages, attempt) {
            slot.staged.insert(attempt, text.clone());
        }
        if trouble != Trouble::Staged {
            slot.staged.clear();
            store.store(&place.path, Some(text));
        }
        let version = store.clock.to_string();
        if trouble == Trouble::None { Outcome::Done(Written::At(Version(version))) } else { lost() }
    }
}

impl Store {
    fn store(&mut self, path: &str, text: Option<String>) {
        self.clock += 1;
        let slot = self.places.entry(path.to_owned()).or_default();
        slot.version = self.clock;
        slot.text = text;
    }
}

#[async_trait]
impl Sink for FakeSink {
    async fn read(&self, place: &Place, names: &Names, attempt: Option<AttemptId>) -> Outcome<Reading> {
        let store = self.lock();
        if let Some(fault) = store.blind {
            return Outcome::NotDone(Failure::new(fault, "the fake sink was told to show nothing"));
        }
        let slot = store.places.get(&*place.path);
        let (content, secret) = says(slot.and_then(|slot| slot.text.as_deref()), names);
        let staged = attempt.and_then(|attempt| says(Some(slot?.staged.get(&attempt)?), names).1);
        let version = Version(slot.map_or(0, |slot| slot.version).to_string());
        Outcome::Done(Reading { seen: Seen { version, content, staged: staged.is_some() }, secret, staged })
    }

    async fn publish(&self, place: &Place, names: &Names, pair: &Pair, base: &Version) -> Outcome<Written> {
        self.write(place, base, Some(pair.stamp.attempt), |there| {
            let kept: BTreeMap<String, &RawValue> =
                there.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            let mut ours = Map::new();
            document::write(&mut ours, names, pair);
            let before: Vec<&str> = names.before.iter().flat_map(before_names).collect();
            let theirs = kept.iter().filter(|(name, _)| !ours.contains_key(*name) && !before.contains(&name.as_str()));
            let theirs = theirs.map(|(name, text)| format!("{}:{text}", Value::from(name.as_str())));
            let ours = ours.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())));
            format!("{{{}}}", ours.chain(theirs).collect::<Vec<_>>().join(","))
        })
    }

    async fn fence(&self, place: &Place, names: &Names, token: AttemptId, base: &Version) -> Outcome<Written> {
        self.write(place, base, None, |there| match says(there, names).0 {
            Content::Absent | Content::Blank => Value::Object(document::reservation(names, token)).to_string(),
            Content::Pair { .. } | Content::Foreign => there.unwrap_or_default().to_owned(),
        })
    }

    fn stages(&self) -> bool {
        self.stages
    }
}

fn before_names(members: &Members) -> [&str; 4] {
    [&members.account_sid, &members.api_key_sid, &members.api_key_secret, &members.stamp]
}

fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok()
}

fn says(text: Option<&str>, names: &Names) -> (Content, Option<Secret>) {
    match text.map(object) {
        None => (Content::Absent, None),
        Some(None) => (Content::Foreign, None),
        Some(Some(object)) => document::read(&object, names),
    }
}

//! The doors of the world: the ports, for one life of the daemon.

use super::World;
use async_trait::async_trait;
use jiff::Timestamp;
use rekeyd::model::document::{self, Beside, Content, Names, Pair, Seen, Stamp};
use rekeyd::model::event::{Entry, Event};
use rekeyd::model::fault::{Failure, Fault, Outcome};
use rekeyd::model::home::Home;
use rekeyd::model::key::{AttemptId, KeyFacts, KeySid, Label};
use rekeyd::model::names::{CredentialName, Place, Version};
use rekeyd::model::permission::Granted;
use rekeyd::model::reason::Breaker;
use rekeyd::model::rotation::State;
use rekeyd::model::secret::Secret;
use rekeyd::ports::{Call, Clock, Issuer, Make, NewKey, Observer, Reading, Served, Sink, Standing, Verdict, Written};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// Twilio as seen by one life of the daemon.
pub(super) struct FakeIssuer {
    pub(super) world: World,
    pub(super) generation: u64,
    pub(super) seen: Mutex<Option<(Timestamp, Duration)>>,
    pub(super) born: tokio::time::Instant,
    pub(super) haste: u32,
}

impl FakeIssuer {
    pub(super) async fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        apply: impl Fn(&mut super::Truth) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        let outcome = self.world.effect(self.generation, "twilio", name, apply).await;
        if matches!(outcome, Outcome::Done(_)) {
            let date = self.world.truth(|t| t.date(t.twilio_ahead));
            let date = Timestamp::from_second(date.as_second()).unwrap();
            *self.seen.lock().unwrap() = Some((date, self.born.elapsed() * self.haste));
        }
        outcome
    }

    async fn managed<T: Send + 'static>(
        &self,
        name: &'static str,
        apply: impl Fn(&mut super::Truth) -> T + Send + 'static,
    ) -> Outcome<T> {
        self.call(name, move |truth| {
            if truth.main_key_refused {
                return Outcome::NotDone(Failure::new(Fault::Unauthorized, "20003: Authenticate"));
            }
            Outcome::Done(apply(truth))
        })
        .await
    }
}

#[async_trait]
impl Issuer for FakeIssuer {
    async fn create(&self, home: &Home, label: &Label, make: Make<'_>) -> Outcome<NewKey> {
        let (permissions, prefix) = match make {
            Make::AuthToken { served, .. } => {
                let (label, served) = (label.clone(), served.map(|secret| secret.expose().to_owned()));
                let made = self.call("create", move |truth| truth.create_token(&label, served.as_deref())).await;
                return made.map(|(facts, secret)| NewKey { facts, secret: Secret::new(secret) });
            }
            Make::Standard => (None, "SK"),
            Make::Restricted(permissions) => (Some(permissions.clone()), "SK"),
            Make::KeyPair => (None, "CR"),
        };
        let (home, label) = (home.clone(), label.clone());
        let made = self.managed("create", move |truth| truth.create(&home, &label, permissions.as_ref(), prefix)).await;
        made.map(|(facts, secret)| NewKey { facts, secret: Secret::new(secret) })
    }

    async fn list(&self, home: &Home) -> Outcome<Vec<KeyFacts>> {
        let home = home.clone();
        self.managed("list", move |truth| truth.list(&home)).await
    }

    async fn fetch(&self, home: &Home, sid: &KeySid) -> Outcome<Option<KeyFacts>> {
        let (home, sid) = (home.clone(), sid.clone());
        let shown =
            move |truth: &mut super::Truth| if truth.is_elsewhere(&home, &sid) { None } else { truth.fetch(&sid) };
        self.managed("fetch", shown).await
    }

    async fn permissions(&self, _home: &Home, sid: &KeySid) -> Outcome<Granted> {
        let sid = sid.clone();
        let granted = move |truth: &mut super::Truth| match (truth.fetch(&sid), truth.granted.get(&sid)) {
            (None, _) => Granted::Gone,
            (Some(_), None) => Granted::Everything,
            (Some(_), Some(granted)) => Granted::Only(granted.clone()),
        };
        self.managed("permissions", granted).await
    }

    async fn delete(&self, home: &Home, sid: &KeySid) -> Outcome<()> {
        let (home, sid) = (home.clone(), sid.clone());
        self.world.truth(|truth| truth.about_to_delete(&sid));
        let delete = move |truth: &mut super::Truth| {
            if !truth.is_elsewhere(&home, &sid) {
                truth.delete(&sid);
            }
        };
        self.managed("delete", delete).await
    }

    async fn probe(&self, home: &Home, sid: &KeySid, secret: &Secret, _at: Option<&url::Url>) -> Outcome<Verdict> {
        let (home, sid, secret) = (home.clone(), sid.clone(), secret.expose().to_owned());
        let verdict = move |truth: &mut super::Truth| {
            let works = !truth.is_elsewhere(&home, &sid) && truth.accepts(&sid, &secret);
            Outcome::Done(if works { Verdict::Works } else { Verdict::Refused })
        };
        self.call("probe", verdict).await
    }

    async fn standing(&self, _home: &Home) -> Outcome<Standing> {
        self.managed("standing", |truth| truth.standing.unwrap_or(Standing::Active)).await
    }

    fn roots(&self) -> BTreeMap<KeySid, Home> {
        BTreeMap::from([(KeySid::new(&format!("SK{}", "f".repeat(32))).unwrap(), super::daemon::home())])
    }

    fn date(&self) -> Option<(Timestamp, Duration)> {
        *self.seen.lock().unwrap()
    }
}

/// A sink as seen by one life of the daemon.
pub(super) struct FakeSink {
    pub(super) world: World,
    pub(super) generation: u64,
    pub(super) stages: bool,
}

#[async_trait]
impl Sink for FakeSink {
    fn stages(&self) -> bool {
        self.stages
    }

    async fn read(&self, place: &Place, names: &Names, attempt: Option<AttemptId>) -> Outcome<Reading> {
        let (place, names) = (place.clone(), names.clone());
        let peer = place.sink.as_str().to_owned();
        let read = move |truth: &mut super::Truth| {
            let (version, value) = truth.read(&place);
            let (content, secret) = match &value {
                None => (Content::Absent, None),
                Some(value) => document::read(value, &names),
            };
            let staged = attempt.and_then(|attempt| truth.staged(&place, attempt)).map(Secret::new);
            Outcome::Done(Reading { seen: Seen { version, content, staged: staged.is_some() }, secret, staged })
        };
        self.world.effect(self.generation, &peer, "read", read).await
    }

    async fn publish(&self, place: &Place, names: &Names, pair: &Pair, base: &Version) -> Outcome<Written> {
        let (place, names, base) = (place.clone(), names.clone(), base.clone());
        let pair = Pair {
            account: pair.account.clone(),
            sid: pair.sid.clone(),
            secret: pair.secret.duplicate(),
            stamp: Stamp { ..pair.stamp.clone() },
            beside: pair.beside.as_ref().map(Beside::duplicate),
        };
        let peer = place.sink.as_str().to_owned();
        if self.stages {
            let (at, staged) = (place.clone(), pair.secret.expose().to_owned());
            let (sid, attempt) = (pair.sid.clone(), pair.stamp.attempt);
            let stage = move |truth: &mut super::Truth| {
                truth.stage(&at, attempt, &sid, &staged);
                Outcome::Done(())
            };
            match self.world.effect(self.generation, &peer, "stage", stage).await {
                Outcome::Done(()) => {}
                Outcome::NotDone(failure) => return Outcome::NotDone(failure),
                Outcome::Unknown(failure) => return Outcome::Unknown(failure),
            }
        }
        let write = move |truth: &mut super::Truth| {
            Outcome::Done(truth.publish(&place, &names, &pair, &base).map_or(Written::Conflict, Written::At))
        };
        self.world.effect(self.generation, &peer, "publish", write).await
    }

    async fn fence(&self, place: &Place, names: &Names, token: AttemptId, base: &Version) -> Outcome<Written> {
        let (place, base, reserve) = (place.clone(), base.clone(), document::reservation(names, token));
        let peer = place.sink.as_str().to_owned();
        let write = move |truth: &mut super::Truth| {
            Outcome::Done(truth.fence(&place, reserve.clone(), &base).map_or(Written::Conflict, Written::At))
        };
        self.world.effect(self.generation, &peer, "fence", write).await
    }
}

/// Virtual time; the wall clock can be set wrong.
pub(super) struct FakeClock {
    pub(super) world: World,
    pub(super) born: tokio::time::Instant,
    pub(super) ids: AtomicU64,
    pub(super) haste: u32,
    pub(super) generation: u64,
}

#[async_trait]
impl Clock for FakeClock {
    fn wall(&self) -> Timestamp {
        self.world.truth(super::Truth::wall)
    }

    fn running(&self) -> Duration {
        self.born.elapsed() * self.haste
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration / self.haste).await;
    }

    fn attempt(&self) -> AttemptId {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        AttemptId(Uuid::from_u128((u128::from(self.generation) << 64) | u128::from(id) | (7 << 76)))
    }
}

/// The key of each credential, as each process last told it.
pub type Shown = std::sync::Arc<Mutex<BTreeMap<(u64, CredentialName), Option<KeySid>>>>;

/// Keeps the words of all events, and checks the consumers' side after each.
pub(super) struct Watcher {
    pub(super) world: World,
    pub(super) events: std::sync::Arc<Mutex<Vec<(CredentialName, Entry)>>>,
    pub(super) shown: Shown,
    pub(super) generation: u64,
}

impl Watcher {
    fn show(&self, name: &CredentialName, state: &State) {
        let key = state.current.as_ref().map(|current| current.sid.clone());
        self.shown.lock().unwrap().insert((self.generation, name.clone()), key);
    }
}

impl Observer for Watcher {
    fn recorded(&self, name: &CredentialName, _before: &State, entry: &Entry, after: &State) {
        self.show(name, after);
        self.events.lock().unwrap().push((name.clone(), entry.clone()));
        if let Event::Missing { sid } = &entry.event {
            self.world.truth(|truth| truth.believed_gone(sid));
        }
        self.world.truth(super::Truth::consumers_are_served);
    }

    fn released(&self, name: &CredentialName, state: &State, _wake: Option<Timestamp>, _waiting: &str) {
        self.show(name, state);
        self.world.truth(super::Truth::consumers_are_served);
    }

    fn called(&self, _call: Call<'_>) {}

    fn breaker(&self, _home: &Home, _breaker: Breaker, _open: bool) {}

    fn unexplained(&self, home: &Home, keys: usize) {
        self.world.truth(|truth| truth.reported.insert(home.clone(), keys));
    }

    fn main_key(&self, _home: &Home, _key: &KeySid, _created: Option<Timestamp>) {}

    fn served(&self, _name: &CredentialName, served: Served<'_>) {
        self.world.truth(|truth| truth.told_of(served.place, served.flaw));
    }

    fn seen(&self, name: &CredentialName, state: &State) {
        self.show(name, state);
    }
}

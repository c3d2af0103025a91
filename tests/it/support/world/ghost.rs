//! What is true in the world, and the invariants that must hold whatever happens (protocol, a.5).

use super::cluster::Pods;
use super::tokens::TokenPair;
use jiff::Timestamp;
use rekeyd::model::document::{self, Content, Members, Names, Pair};
use rekeyd::model::home::Home;
use rekeyd::model::key::{AttemptId, KeyFacts, KeySid, Label};
use rekeyd::model::names::{Place, Version};
use rekeyd::model::permission::{Permission, Permissions};
use rekeyd::model::rotation::{Phase, State};
use rekeyd::model::rule::Rule;
use rekeyd::model::secret::Secret;
use rekeyd::model::time::later;
use rekeyd::model::workload::Workload;
use rekeyd::ports::Standing;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Everything that is true, and what was seen to be broken.
#[derive(Default)]
pub struct Truth {
    /// Every key there ever was.
    pub keys: BTreeMap<KeySid, Made>,
    /// Every place that was ever written.
    pub places: BTreeMap<Place, Slot>,
    /// Broken invariants, in words. A test fails if there is one.
    pub broken: Vec<String>,
    /// Main key refused, for tests of the breaker.
    pub main_key_refused: bool,
    /// How long a new key is refused.
    pub acceptance: Duration,
    /// How far Twilio's clock is ahead of true time, in seconds.
    pub twilio_ahead: i64,
    /// How far the daemon's wall clock is ahead of true time, in seconds.
    pub wall_ahead: i64,
    /// The daemon's wall clock stands still at this date.
    pub wall_frozen: Option<Timestamp>,
    /// The daemon's wall clock runs at double speed.
    pub wall_hurries: bool,
    /// How much faster than true time a daemon's monotonic clock runs from its start on; 0 counts as 1.
    pub haste: u32,
    /// A daemon's monotonic clock ever ran at another speed.
    pub hurried: bool,
    /// How many keys of each home were last reported that look like ours and can not be told to be.
    pub reported: BTreeMap<Home, usize>,
    /// What Twilio says of the account, if it is not active.
    pub standing: Option<Standing>,
    /// One of Twilio's edges refuses every other trial of a pair.
    pub one_edge_refuses: bool,
    /// Twilio refuses every pair.
    pub refuses_all: bool,
    /// Lists leave out every key.
    pub list_hides: bool,
    /// Sinks show what they held before the last write.
    pub stale_reads: bool,
    /// Twilio neither lists nor shows any key.
    pub all_vanish: bool,
    /// Keys that were made after the backup which the journal was restored from.
    pub forgotten: BTreeSet<KeySid>,
    trials: u64,
    /// Keys that lists leave out.
    pub unlisted: BTreeSet<KeySid>,
    /// Deletes applied, and when.
    pub deleted: Vec<(KeySid, Duration)>,
    /// Shortest grace that any policy in this test allows.
    pub grace: Duration,
    /// The journal's states, as last written: what intents there are (S13).
    pub journal: BTreeMap<String, State>,
    /// For each delete sent, how old the oldest last look at the places of its credential was.
    pub ages: Vec<(KeySid, Duration)>,
    /// What Restricted keys may do.
    pub granted: BTreeMap<KeySid, Permissions>,
    /// So many keys more may do more than was asked for.
    pub widened: u32,
    /// The permissions that keys must have to be served, if they are Restricted ones.
    pub wanted: Option<Permissions>,
    /// The pods of each workload.
    pub pods: BTreeMap<Workload, Pods>,
    /// What the watch has told last of each place: why it is of no use, if it is not, and when.
    pub told: BTreeMap<Place, (Option<String>, Duration)>,
    /// The auth tokens of the account, where they are rotated.
    pub tokens: Option<TokenPair>,
    staged: BTreeMap<Place, (AttemptId, String)>,
    looked: BTreeMap<Place, Duration>,
    next: u64,
    /// Tells whoever waits for it that there is one key more.
    pub made: Arc<Notify>,
    start: Option<tokio::time::Instant>,
}

/// One key.
#[derive(Clone)]
pub struct Made {
    pub home: Home,
    pub label: Option<String>,
    pub secret: String,
    pub created_at: Timestamp,
    pub created: Duration,
    pub ours: bool,
    pub live: bool,
    pub killed_by_human: bool,
    pub proven: bool,
    pub served: bool,
}

/// One place in a sink.
#[derive(Clone)]
pub struct Slot {
    pub version: u64,
    pub value: Option<Map<String, Value>>,
    pub by_human: bool,
    /// When the daemon first read the present key here.
    pub read_back: Option<(KeySid, Duration)>,
    /// What was there before the last write of the daemon.
    pub before: Option<(u64, Option<Map<String, Value>>)>,
    /// When that write was.
    pub written: Duration,
}

const EPOCH: i64 = 1_800_000_000;

impl Truth {
    /// True time since the world began.
    pub fn now(&mut self) -> Duration {
        self.start.get_or_insert_with(tokio::time::Instant::now).elapsed()
    }

    /// True time as a date, ahead by so many seconds.
    pub fn date(&mut self, ahead: i64) -> Timestamp {
        later(Timestamp::from_second(EPOCH + ahead).unwrap(), self.now())
    }

    /// The step that the credential `billing` is at, as its journal has it: a column of the fault matrix.
    pub fn step(&mut self) -> char {
        let date = self.date(0);
        let Some(state) = self.journal.get("billing") else { return 'I' };
        let Some(rotation) = &state.rotation else { return if state.strays.is_empty() { 'I' } else { 'O' } };
        let over = rotation.published.is_some_and(|start| later(start.wall, rotation.grace) <= date);
        match rotation.phase {
            Phase::Issuing => 'C',
            Phase::Verifying => 'V',
            Phase::Publishing => 'W',
            Phase::Confirming | Phase::Restarting => 'B',
            Phase::Grace if !over => 'G',
            Phase::Grace | Phase::Revoking => 'D',
        }
    }

    /// What the daemon's wall clock shows.
    pub fn wall(&mut self) -> Timestamp {
        let hurried = self.now() * u32::from(self.wall_hurries);
        self.wall_frozen.unwrap_or_else(|| later(self.date(self.wall_ahead), hurried))
    }

    /// A value is laid beside what a place serves.
    pub fn stage(&mut self, place: &Place, attempt: AttemptId, sid: &KeySid, secret: &str) {
        let proven = self.keys.get(sid).is_some_and(|made| made.proven && made.secret == secret);
        self.check(proven, || format!("S4: {sid} was staged without having been accepted"));
        self.staged.insert(place.clone(), (attempt, secret.to_owned()));
    }

    /// The secret of this attempt, if it lies there staged.
    pub fn staged(&self, place: &Place, attempt: AttemptId) -> Option<String> {
        self.staged.get(place).filter(|(of, _)| *of == attempt).map(|(_, secret)| secret.clone())
    }

    /// The live keys that the daemon made and can know to be its own: they share no label, and the date that Twilio gave
    /// them is not far from the truth.
    pub fn tellable(&self) -> Vec<KeySid> {
        let tellable = |sid: &KeySid| {
            let made = &self.keys[sid];
            let twins = self.keys.values().filter(|other| other.label == made.label).count();
            let true_date = later(Timestamp::from_second(EPOCH).unwrap(), made.created);
            // A clock that runs at another speed carries Twilio's date to a wrong one.
            let dated = !self.hurried;
            dated
                && !self.forgotten.contains(sid)
                && twins == 1
                && made.created_at.duration_since(true_date).unsigned_abs() < Duration::from_secs(60)
        };
        self.ours().into_iter().filter(tellable).collect()
    }

    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let what = what();
            self.broken.push(what);
        }
    }

    /// A key of a person's, or of another program's.
    pub fn foreign_key(&mut self, label: Option<&str>) -> KeySid {
        // A copy lives where the original does.
        let original = self.keys.values().find(|made| label.is_some() && made.label.as_deref() == label);
        let home = original.map_or_else(super::daemon::home, |made| made.home.clone());
        self.make_as("SK", home, label.map(str::to_owned), false)
    }

    fn make_as(&mut self, prefix: &str, home: Home, label: Option<String>, ours: bool) -> KeySid {
        let sid = KeySid::new(&format!("{prefix}{:032x}", self.next + 1)).unwrap();
        self.make_named(sid.clone(), home, label, ours);
        sid
    }

    pub(super) fn make_named(&mut self, sid: KeySid, home: Home, label: Option<String>, ours: bool) {
        self.next += 1;
        let (created, at) = (self.now(), self.date(self.twilio_ahead));
        let made = Made {
            home,
            label,
            secret: format!("secret{:026}", self.next),
            created_at: Timestamp::from_second(at.as_second()).unwrap(),
            created,
            ours,
            live: true,
            killed_by_human: false,
            proven: false,
            served: false,
        };
        self.keys.insert(sid, made);
        self.made.notify_waiters();
    }

    /// Twilio makes a key. Never before its intent is in the journal (S13), never too many (S5).
    pub fn create(
        &mut self,
        home: &Home,
        label: &Label,
        permissions: Option<&Permissions>,
        prefix: &str,
    ) -> (KeyFacts, String) {
        self.created(label, permissions, |truth| truth.make_as(prefix, home.clone(), Some(label.to_string()), true))
    }

    pub(super) fn created(
        &mut self,
        label: &Label,
        permissions: Option<&Permissions>,
        make: impl FnOnce(&mut Self) -> KeySid,
    ) -> (KeyFacts, String) {
        let intended = self.journal.get(label.credential.as_str()).is_some_and(|state| {
            let flight = state.rotation.as_ref().is_some_and(|rotation| rotation.attempt == label.attempt);
            flight || state.unsettled.iter().any(|create| create.attempt == label.attempt)
        });
        self.check(intended, || format!("S13: a create without an intent: {label}"));
        let sid = make(self);
        if let Some(permissions) = permissions {
            let mut granted = permissions.clone();
            if self.widened > 0 {
                self.widened -= 1;
                granted.insert(Permission::new("/twilio/messaging/messages/*").unwrap());
            }
            self.granted.insert(sid.clone(), granted);
        }
        let mine = format!(":{}:", label.credential);
        let twin = |made: &Made| self.keys.values().filter(|other| other.label == made.label).count() > 1;
        let live = |made: &&Made| {
            made.live && !twin(made) && made.ours && made.label.as_deref().is_some_and(|l| l.contains(&mine))
        };
        // Nobody can count what lists leave out.
        let listed = self.keys.iter().filter(|(sid, _)| !self.unlisted.contains(*sid)).map(|(_, made)| made);
        let alive = listed.filter(live).count();
        // A create whose key could not be told to be ours leaves it behind, twice a day at most.
        let state = self.journal.get(label.credential.as_str());
        let unclear = state.map_or(0, |state| state.unsettled.iter().filter(|create| create.ambiguous).count());
        self.check(alive <= 3 + unclear.min(2), || format!("S5: {alive} live keys of {}", label.credential));
        let made = &self.keys[&sid];
        (facts(&sid, made), made.secret.clone())
    }

    /// Twilio deletes a key: ours (S2), condemned (S13), not served (S1), and grace over (S3).
    pub fn delete(&mut self, sid: &KeySid) {
        let now = self.now();
        let Some(made) = self.keys.get(sid).cloned() else { return };
        let label = made.label.clone().unwrap_or_default();
        let mine = self.looked.iter().filter(|(place, _)| label.contains(&format!(":{}:", place.path)));
        let age = mine.map(|(_, at)| now.saturating_sub(*at)).max().unwrap_or_default();
        self.ages.push((sid.clone(), age));
        self.check(made.ours, || format!("S2: {sid} is not ours"));
        let condemned = self.journal.values().any(|state| state.condemned(sid));
        self.check(condemned, || format!("S13: {sid} was deleted without being condemned"));
        for (place, slot) in self.places.clone() {
            let serves = slot.value.as_ref().and_then(sid_of).as_ref() == Some(sid);
            // What a person wrote counts once the daemon has read it.
            let unread = slot.by_human && slot.read_back.as_ref().is_none_or(|(read, _)| read != sid);
            self.check(!serves || unread, || format!("S1: {sid} was deleted while {place} serves it"));
            // Other credentials are served elsewhere; of a key that a person made nobody knows where.
            let elsewhere = made.label.is_some() && !label.contains(&format!(":{}:", place.path));
            if made.served && made.live && !slot.by_human && !elsewhere {
                let since = slot.read_back.as_ref().map(|(_, at)| now.saturating_sub(*at));
                let over = since.is_none_or(|since| since + Duration::from_secs(1) >= self.grace);
                self.check(over, || format!("S3: {sid} was deleted {since:?} after {place} served another key"));
            }
        }
        for workload in self.held_by_pods(sid) {
            self.check(!made.live, || format!("S3: {sid} was deleted while pods of {workload} hold it"));
        }
        if made.live {
            self.deleted.push((sid.clone(), now));
        }
        self.keys.entry(sid.clone()).and_modify(|made| made.live = false);
    }

    /// Whether a pair is accepted now.
    pub fn accepts(&mut self, sid: &KeySid, secret: &str) -> bool {
        let (now, acceptance) = (self.now(), self.acceptance);
        self.trials += 1;
        let refused = self.refuses_all || (self.one_edge_refuses && self.trials.is_multiple_of(2));
        let Some(made) = self.keys.get_mut(sid) else { return false };
        let accepted = !refused && made.live && made.secret == secret && now.saturating_sub(made.created) >= acceptance;
        made.proven |= accepted;
        accepted
    }

    /// A DELETE is about to be sent: the places that count were read just now (rule 11).
    pub fn about_to_delete(&mut self, sid: &KeySid) {
        let now = self.now();
        let mut counts = BTreeSet::new();
        for state in self.journal.values() {
            let stray = state.strays.iter().find(|stray| &stray.sid == sid);
            counts.extend(stray.iter().flat_map(|stray| stray.fence.iter().flat_map(|fence| fence.keys().cloned())));
            let rotation = state.rotation.iter().filter(|rotation| rotation.predecessors.contains(sid));
            counts.extend(rotation.flat_map(|rotation| rotation.targets.keys().cloned()));
        }
        let looks = counts.iter().map(|place| now.saturating_sub(self.looked.get(place).copied().unwrap_or_default()));
        let age = looks.max().unwrap_or_default();
        self.check(age <= Duration::from_secs(2), || {
            format!("rule 11: a place was last read {age:?} before the end of {sid}")
        });
    }

    /// The daemon believes that somebody else has deleted the key.
    pub fn believed_gone(&mut self, sid: &KeySid) {
        let gone = self.all_vanish || self.keys.get(sid).is_none_or(|made| !made.live);
        self.check(gone, || format!("rule 16: {sid} is believed gone and is not"));
    }

    /// The watch tells what a consumer has at a place. It never cries wolf.
    pub fn told_of(&mut self, place: &Place, flaw: Option<&str>) {
        let now = self.now();
        let served = self.places.get(place).and_then(|slot| slot.value.as_ref()).map(pair_of);
        let works = served.is_some_and(|(content, secret)| {
            let made = content.sid().and_then(|sid| self.keys.get(sid)).zip(secret);
            made.is_some_and(|(made, secret)| made.live && made.secret == secret.expose())
        });
        self.check(flaw.is_none() || !works, || format!("{place} was told to be of no use ({flaw:?}), and works"));
        self.told.insert(place.clone(), (flaw.map(str::to_owned), now));
    }

    /// A sink is read by the daemon.
    pub fn read(&mut self, place: &Place) -> (Version, Option<Map<String, Value>>) {
        let now = self.now();
        self.looked.insert(place.clone(), now);
        let stale = self.stale_reads;
        let slot = self.places.entry(place.clone()).or_insert(empty());
        if let Some((version, value)) = slot.before.clone().filter(|_| stale) {
            return (Version(version.to_string()), value);
        }
        let sid = slot.value.as_ref().and_then(sid_of);
        if slot.read_back.as_ref().map(|(sid, _)| sid) != sid.as_ref() {
            slot.read_back = sid.map(|sid| (sid, now));
        }
        (Version(slot.version.to_string()), slot.value.clone())
    }

    /// A compare-and-set by the daemon: a pair that was proven (S4), alive (S1), and never condemned (S9).
    pub fn publish(&mut self, place: &Place, names: &Names, pair: &Pair, base: &Version) -> Option<Version> {
        let asked = self.journal.get(pair.stamp.credential.as_str()).is_some_and(|state| {
            let flight = state.rotation.as_ref().is_some_and(|r| r.asked(place));
            flight || state.strays.iter().any(|s| s.rotation.as_ref().is_some_and(|r| r.asked(place)))
        });
        let made = self.keys.get(&pair.sid).cloned();
        let proven = made.as_ref().is_some_and(|made| made.proven && made.secret == pair.secret.expose());
        self.check(proven, || format!("S4: {} was published without having been accepted", pair.sid));
        let permitted = self.wanted.is_none() || self.granted.get(&pair.sid) == self.wanted.as_ref();
        self.check(permitted, || format!("S4: {} was published and may do what nobody asked for", pair.sid));
        let slot = self.places.entry(place.clone()).or_insert(empty());
        if slot.version.to_string() != base.0 && Rule::SinkBase.holds() {
            return None;
        }
        let read = slot.version.to_string() == base.0;
        self.check(read, || format!("S8: {place} was replaced at a version that was not read"));
        self.check(asked, || format!("S13: {place} was written without an intent"));
        let alive = made.as_ref().is_some_and(|made| made.live || made.killed_by_human);
        self.check(alive, || format!("S1: {place} was made to serve {}, which we had deleted", pair.sid));
        let now = self.now();
        let slot = self.places.get_mut(place).unwrap();
        slot.written = now;
        slot.before = Some((slot.version, slot.value.clone()));
        document::write(slot.value.get_or_insert_default(), names, pair);
        let sids = slot.value.iter().flat_map(|value| value.values()).filter_map(Value::as_str);
        let sids = sids.filter(|text| KeySid::new(text).is_ok()).count();
        slot.version += 1;
        slot.by_human = false;
        slot.read_back = None;
        let version = Version(slot.version.to_string());
        self.check(sids == usize::from(!pair.sid.is_auth_token()), || {
            format!("S1: {place} got {} and still shows another key beside it", pair.sid)
        });
        self.keys.entry(pair.sid.clone()).and_modify(|made| made.served = true);
        Some(version)
    }

    /// A fence by the daemon.
    pub fn fence(&mut self, place: &Place, reservation: Map<String, Value>, base: &Version) -> Option<Version> {
        let slot = self.places.entry(place.clone()).or_insert(empty());
        if slot.version.to_string() != base.0 {
            return None;
        }
        slot.value.get_or_insert(reservation);
        slot.version += 1;
        Some(Version(slot.version.to_string()))
    }

    /// A person writes a sink.
    pub fn human_writes(&mut self, place: &Place, value: Option<Map<String, Value>>) {
        let slot = self.places.entry(place.clone()).or_insert(empty());
        (slot.value, slot.by_human, slot.read_back) = (value, true, None);
        slot.version += 1;
    }

    /// A person writes again what is there.
    pub fn human_touches(&mut self, place: &Place) {
        let value = self.places.get(place).and_then(|slot| slot.value.clone());
        self.human_writes(place, value);
    }

    /// A person deletes a key in the Console.
    pub fn human_deletes(&mut self, sid: &KeySid) {
        let made = self.keys.get_mut(sid).unwrap();
        (made.live, made.killed_by_human) = (false, true);
    }

    /// What Twilio shows of a live key.
    pub fn fetch(&self, sid: &KeySid) -> Option<KeyFacts> {
        self.keys.get(sid).filter(|made| made.live && !self.all_vanish).map(|made| facts(sid, made))
    }

    /// Whether it is a key that lives elsewhere: nobody may ask for it here, and here it does not exist.
    pub fn is_elsewhere(&mut self, home: &Home, sid: &KeySid) -> bool {
        let elsewhere = self.keys.get(sid).is_some_and(|made| made.home != *home);
        self.check(!elsewhere, || format!("S2: {sid} was asked for in {home}, where it does not live"));
        elsewhere
    }

    /// What Twilio lists there.
    pub fn list(&self, home: &Home) -> Vec<KeyFacts> {
        let hidden = self.list_hides || self.all_vanish;
        let unlisted = |sid: &KeySid| self.unlisted.contains(sid) || sid.is_auth_token();
        let shown = self.keys.iter().filter(|(sid, made)| made.live && !hidden && !unlisted(sid));
        let shown = shown.filter(|(_, made)| made.home == *home);
        shown.map(|(sid, made)| facts(sid, made)).collect()
    }

    /// The live keys that the daemon made.
    pub fn ours(&self) -> Vec<KeySid> {
        self.keys.iter().filter(|(_, made)| made.live && made.ours).map(|(sid, _)| sid.clone()).collect()
    }

    /// The key that a place serves.
    pub fn serves(&self, place: &Place) -> Option<KeySid> {
        self.places.get(place).and_then(|slot| slot.value.as_ref()).and_then(sid_of)
    }

    /// S1 from the consumers' side: whatever a sink serves works, unless a person broke it.
    pub fn consumers_are_served(&mut self) {
        for (place, slot) in self.places.clone() {
            let Some(sid) = slot.value.as_ref().and_then(sid_of) else { continue };
            let made = self.keys.get(&sid).cloned();
            let fine = slot.by_human || made.is_some_and(|made| made.live || made.killed_by_human);
            self.check(fine, || format!("S1: {place} serves {sid}, which does not work"));
        }
    }
}

fn empty() -> Slot {
    Slot { version: 0, value: None, by_human: false, read_back: None, before: None, written: Duration::ZERO }
}

fn facts(sid: &KeySid, made: &Made) -> KeyFacts {
    KeyFacts { sid: sid.clone(), label: made.label.clone(), created_at: made.created_at }
}

pub(super) fn sid_of(value: &Map<String, Value>) -> Option<KeySid> {
    pair_of(value).0.sid().cloned()
}

fn pair_of(value: &Map<String, Value>) -> (Content, Option<Secret>) {
    // The one other set of names that tests use.
    let renamed = Members { api_key_sid: "TWILIO_API_KEY".into(), ..Members::default() };
    let before = vec![renamed, Members::of_tokens()];
    document::read(value, &Names { now: Members::default(), before })
}

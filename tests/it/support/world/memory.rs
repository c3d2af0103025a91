//! A journal in memory that outlives the daemon, with the same rules as the real ones.

use super::World;
use async_trait::async_trait;
use jiff::Timestamp;
use rekeyd::adapters::journal::index::{Note, notes};
use rekeyd::adapters::journal::{LEASE, SharedClock};
use rekeyd::model::apply::apply;
use rekeyd::model::event::{Entry, Event};
use rekeyd::model::fault::Outcome;
use rekeyd::model::home::Home;
use rekeyd::model::key::{AttemptId, KeySid, LabelKey};
use rekeyd::model::names::CredentialName;
use rekeyd::model::reason::Breaker;
use rekeyd::model::rotation::{HOUR, State};
use rekeyd::model::rule::Rule;
use rekeyd::model::time::{Moment, Uptime};
use rekeyd::ports::{
    Attempts, Claim, Enrolled, Journal, JournalError, KnownAttempt, KnownKey, Page, PassOver, Refused, Request, Row,
    Taken,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// What a disk would keep.
#[derive(Default, Clone)]
pub struct Disk {
    rows: BTreeMap<CredentialName, Row>,
    leases: BTreeMap<CredentialName, Lease>,
    pub entries: BTreeMap<CredentialName, Vec<Entry>>,
    attempts: BTreeMap<AttemptId, (CredentialName, Home, Moment, bool)>,
    keys: BTreeMap<KeySid, (KnownKey, Home, Option<Uptime>)>,
    requests: BTreeMap<i64, Request>,
    asked: i64,
    uptime: Uptime,
    ticked: Option<Instant>,
    held: Option<Uptime>,
    evidence: BTreeSet<String>,
    breakers: Vec<(Home, Breaker)>,
    /// Broken invariants of the journal, in words.
    pub broken: Vec<String>,
}

/// Who has a credential, where several daemons share the journal.
#[derive(Default, Clone)]
struct Lease {
    token: u64,
    until: Option<Instant>,
}

impl Disk {
    /// Whether this journal has ever heard of the key.
    pub fn knows(&self, sid: &KeySid) -> bool {
        self.keys.contains_key(sid)
    }
}

/// The journal as opened by one life of the daemon.
pub struct MemoryJournal {
    disk: Arc<Mutex<Disk>>,
    clock: SharedClock,
    born: Instant,
    shared: bool,
    world: Option<(World, u64)>,
}

impl MemoryJournal {
    /// Opens the disk; with a world, appends are numbered effects that can be crashed.
    pub fn open(disk: Arc<Mutex<Disk>>, world: Option<(World, u64)>) -> Self {
        let clock = SharedClock::new(disk.lock().unwrap().uptime, Duration::ZERO);
        Self { disk, clock, born: Instant::now(), shared: false, world }
    }

    /// As a journal on a server: others may have it open, too.
    pub fn shared(self) -> Self {
        Self { shared: true, ..self }
    }

    /// Waits while the process is stopped; fails while it is cut off.
    async fn reach(&self) -> Result<(), JournalError> {
        let Some((world, generation)) = &self.world else { return Ok(()) };
        world.alive(*generation).await;
        if world.is_cut_off(*generation) {
            return Err(JournalError::Unavailable("cut off".into()));
        }
        Ok(())
    }

    fn leased_until(&self) -> Option<Duration> {
        self.shared.then(|| self.born.elapsed() + LEASE)
    }

    /// Takes a lease that is free; only a shared journal has any.
    fn lease(&self, disk: &mut Disk, row: Row) -> Option<Claim> {
        let Row { name, home, seq, state, .. } = row;
        let mut token = 0;
        if self.shared {
            let (lease, now) = (disk.leases.entry(name.clone()).or_default(), Instant::now());
            if lease.until.is_some_and(|until| until > now) {
                return None;
            }
            lease.token += 1;
            lease.until = Some(now + LEASE);
            token = lease.token;
        }
        Some(Claim { name, home, seq, state, token, leased_until: self.leased_until() })
    }

    fn disk<T>(&self, look: impl FnOnce(&mut Disk) -> T) -> T {
        look(&mut self.disk.lock().unwrap())
    }

    /// Makes what is on the disk known to the world's invariants.
    fn show(world: &World, disk: &Disk) {
        let states = disk.rows.iter().map(|(name, row)| (name.as_str().to_owned(), row.state.clone())).collect();
        world.truth(|truth| truth.journal = states);
    }
}

/// What became of an append.
#[derive(PartialEq, Eq)]
enum Inserted {
    Fresh,
    Taken,
    Overspent,
}

fn write(disk: &mut Disk, claim: &Claim, entry: &Entry, state: &State) -> Inserted {
    let row = disk.rows.get_mut(&claim.name).unwrap();
    if row.seq != claim.seq && Rule::Sequence.holds() {
        // A server is asked again whether it is our own entry that is there.
        let last = disk.entries.get(&claim.name).and_then(|entries| entries.last());
        let token = disk.leases.get(&claim.name).map(|lease| lease.token);
        let ours = claim.leased_until.is_some() && last == Some(entry) && token == Some(claim.token);
        return if ours { Inserted::Fresh } else { Inserted::Taken };
    }
    if claim.leased_until.is_some() {
        let lease = disk.leases.entry(claim.name.clone()).or_default();
        let expired = lease.until.is_none_or(|until| until <= Instant::now());
        if (lease.token != claim.token || expired) && Rule::Token.holds() {
            return Inserted::Taken;
        }
        if lease.token != claim.token {
            disk.broken.push(format!("S10: {} was written by a process that had lost it", claim.name));
        }
        lease.until = Some(Instant::now() + LEASE);
    }
    let home = state.home.as_ref().unwrap_or(&claim.home);
    if let Event::Condemned { sid, evidence } = &entry.event
        && deletes_since(disk, home, entry.at.uptime.minus(HOUR), Some(sid)) > evidence.spent
    {
        return Inserted::Overspent;
    }
    let row = disk.rows.get_mut(&claim.name).unwrap();
    if row.seq + 1 != entry.seq {
        disk.broken.push(format!("S10: entry {} of {} follows on {}", entry.seq, claim.name, row.seq));
    }
    (row.seq, row.state) = (entry.seq, state.clone());
    for note in notes(&claim.state, entry) {
        keep(disk, (&claim.name, home), entry, note);
    }
    disk.uptime = disk.uptime.max(entry.at.uptime);
    disk.entries.entry(claim.name.clone()).or_default().push(entry.clone());
    Inserted::Fresh
}

fn deletes_since(disk: &Disk, home: &Home, since: Uptime, except: Option<&KeySid>) -> u32 {
    let counts = |(key, of, at): &&(KnownKey, Home, Option<Uptime>)| {
        of == home && at.is_some_and(|at| at > since) && Some(&key.sid) != except
    };
    disk.keys.values().filter(counts).count() as u32
}

fn keep(disk: &mut Disk, (name, home): (&CredentialName, &Home), entry: &Entry, note: Note) {
    match note {
        Note::Attempt(attempt) => {
            disk.attempts.insert(attempt, (name.clone(), home.clone(), entry.at, false));
        }
        Note::Unmade(attempt) => drop(disk.attempts.remove(&attempt)),
        Note::Abandoned(attempt) => disk.attempts.get_mut(&attempt).unwrap().3 = true,
        Note::Key(sid, attempt) => {
            let key = KnownKey { sid: sid.clone(), credential: name.clone(), attempt, gone: false };
            disk.keys.entry(sid).or_insert((key, home.clone(), None)).0.gone = false;
        }
        Note::Condemned(sid) => drop(disk.keys.entry(sid).and_modify(|key| key.2 = Some(entry.at.uptime))),
        Note::Gone(sid) => drop(disk.keys.entry(sid).and_modify(|key| key.0.gone = true)),
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    fn label_key(&self) -> LabelKey {
        LabelKey::new([9; 32])
    }

    fn uptime(&self, running: Duration) -> Uptime {
        self.clock.at(running)
    }

    async fn deletes_held_until(&self) -> Result<Option<Uptime>, JournalError> {
        self.reach().await?;
        Ok(self.disk(|disk| disk.held))
    }

    async fn enrol(&self, credentials: Vec<Enrolled>) -> Result<(), JournalError> {
        self.disk(|disk| {
            let named: BTreeSet<_> = credentials.iter().map(|enrolled| enrolled.name.clone()).collect();
            disk.rows.values_mut().filter(|row| !named.contains(&row.name)).for_each(|row| row.wake = None);
            for Enrolled { name, home, wake, seq } in credentials {
                let (state, waiting) = (State::default(), "starting".into());
                let fresh = Row { name: name.clone(), home: home.clone(), seq: 0, state, wake, waiting };
                let row = disk.rows.entry(name).or_insert(fresh);
                if row.seq == seq {
                    (row.home, row.wake) = (home, wake);
                }
            }
        });
        Ok(())
    }

    async fn rows(&self) -> Result<Vec<Row>, JournalError> {
        self.reach().await?;
        Ok(self.disk(|disk| disk.rows.values().cloned().collect()))
    }

    async fn rows_after(&self, page: Page<'_>) -> Result<Vec<Row>, JournalError> {
        self.reach().await?;
        let wanted =
            |row: &&Row| row.name.as_str().starts_with(page.prefix) && page.after.is_none_or(|after| row.name > *after);
        Ok(self.disk(|disk| disk.rows.values().filter(wanted).take(page.limit).cloned().collect()))
    }

    async fn row(&self, name: &CredentialName) -> Result<Option<Row>, JournalError> {
        Ok(self.disk(|disk| disk.rows.get(name).cloned()))
    }

    async fn take_due(&self, now: Timestamp, limit: usize, but: &PassOver) -> Result<Taken, JournalError> {
        self.reach().await?;
        Ok(self.disk(|disk| {
            let due = |row: &&Row| {
                let over = but.names.contains(&row.name) || but.homes.contains(&row.home);
                row.wake.is_some_and(|wake| wake <= now) && !over
            };
            let mut rows: Vec<_> = disk.rows.values().filter(due).cloned().collect();
            rows.sort_by_key(|row| row.wake);
            let ends: Vec<_> = rows.iter().filter_map(|row| disk.leases.get(&row.name)?.until).collect();
            let again = ends.iter().filter_map(|end| end.checked_duration_since(Instant::now())).min();
            let claims = rows.into_iter().filter_map(|row| self.lease(disk, row)).take(limit).collect();
            Taken { claims, again: again.filter(|end| !end.is_zero()) }
        }))
    }

    async fn claim(&self, name: &CredentialName) -> Result<Option<Claim>, JournalError> {
        self.reach().await?;
        Ok(self.disk(|disk| disk.rows.get(name).cloned().and_then(|row| self.lease(disk, row))))
    }

    async fn renew(&self, claim: &mut Claim) -> Result<bool, JournalError> {
        self.reach().await?;
        claim.leased_until = self.leased_until();
        Ok(self.disk(|disk| {
            let lease = disk.leases.entry(claim.name.clone()).or_default();
            let mine = lease.token == claim.token && lease.until.is_some_and(|until| until > Instant::now());
            if mine {
                lease.until = Some(Instant::now() + LEASE);
            }
            mine || !self.shared
        }))
    }

    async fn append(&self, claim: Claim, at: Moment, event: Event) -> Result<Claim, Refused> {
        let entry = Entry { seq: claim.seq + 1, at, event };
        let state = match apply(claim.state.clone(), &entry) {
            Ok(state) => state,
            Err(misfit) => return Err(Refused::Misfit(Box::new(claim), misfit)),
        };
        // As on a real disk: what cannot be read back was not written.
        let text = serde_json::to_string(&(&entry, &state)).unwrap();
        assert_eq!(serde_json::from_str::<(Entry, State)>(&text).unwrap(), (entry.clone(), state.clone()));
        let copy = Claim {
            name: claim.name.clone(),
            home: claim.home.clone(),
            seq: claim.seq,
            state: claim.state.clone(),
            token: claim.token,
            leased_until: claim.leased_until,
        };
        let leased_until = self.leased_until();
        let (disk, result) = (self.disk.clone(), state.clone());
        let seq = entry.seq;
        if let Err(error) = self.reach().await {
            return Err(Refused::Unavailable(Box::new(claim), error));
        }
        let inserted = match &self.world {
            None => write(&mut disk.lock().unwrap(), &copy, &entry, &result),
            Some((world, generation)) => {
                let outcome = world.effect(*generation, "journal", entry.event.word(), move |truth| {
                    let mut disk = disk.lock().unwrap();
                    let inserted = write(&mut disk, &copy, &entry, &result);
                    truth.broken.append(&mut disk.broken);
                    truth.journal =
                        disk.rows.iter().map(|(name, row)| (name.as_str().to_owned(), row.state.clone())).collect();
                    Outcome::Done(inserted)
                });
                match outcome.await {
                    Outcome::Done(inserted) => inserted,
                    Outcome::NotDone(failure) | Outcome::Unknown(failure) => {
                        let error = JournalError::Unavailable(failure.to_string());
                        return Err(Refused::Unavailable(Box::new(claim), error));
                    }
                }
            }
        };
        match inserted {
            Inserted::Fresh => Ok(Claim { seq, state, leased_until, ..claim }),
            Inserted::Taken => Err(Refused::Fenced),
            Inserted::Overspent => Err(Refused::Overspent(Box::new(claim))),
        }
    }

    async fn release(&self, claim: Claim, wake: Option<Timestamp>, waiting: &str) -> Result<(), JournalError> {
        self.reach().await?;
        self.disk(|disk| {
            if self.shared {
                let lease = disk.leases.entry(claim.name.clone()).or_default();
                if lease.token != claim.token {
                    return;
                }
                lease.until = None;
            }
            let row = disk.rows.get_mut(&claim.name).unwrap();
            (row.wake, row.waiting) = (wake, waiting.to_owned());
        });
        Ok(())
    }

    async fn history(&self, name: &CredentialName) -> Result<Vec<Entry>, JournalError> {
        Ok(self.disk(|disk| disk.entries.get(name).cloned().unwrap_or_default()))
    }

    async fn keys(&self, home: &Home) -> Result<Vec<KnownKey>, JournalError> {
        self.reach().await?;
        let alive = |(key, of, _): &&(KnownKey, Home, _)| of == home && !key.gone;
        Ok(self.disk(|disk| disk.keys.values().filter(alive).map(|(key, ..)| key.clone()).collect()))
    }

    async fn key(&self, sid: &KeySid) -> Result<Option<KnownKey>, JournalError> {
        Ok(self.disk(|disk| disk.keys.get(sid).map(|(key, ..)| key.clone())))
    }

    async fn attempt(&self, attempt: AttemptId) -> Result<Option<KnownAttempt>, JournalError> {
        Ok(self.disk(|disk| {
            let (credential, _, intended, _) = disk.attempts.get(&attempt)?.clone();
            let made = disk.keys.values().find(|(key, ..)| key.attempt == Some(attempt));
            Some(KnownAttempt { credential, intended, sid: made.map(|(key, ..)| key.sid.clone()) })
        }))
    }

    async fn deletes_since(&self, home: &Home, since: Uptime, except: Option<&KeySid>) -> Result<u32, JournalError> {
        self.reach().await?;
        Ok(self.disk(|disk| deletes_since(disk, home, since, except)))
    }

    async fn attempts_since(&self, home: &Home, since: Uptime) -> Result<Attempts, JournalError> {
        Ok(self.disk(|disk| {
            let recent = disk.attempts.values().filter(|(_, of, at, _)| of == home && at.uptime > since);
            let (started, abandoned) = recent.fold((0, 0), |(s, a), (.., given_up)| (s + 1, a + u32::from(*given_up)));
            Attempts { started, abandoned }
        }))
    }

    async fn ask(&self, request: Request) -> Result<(), JournalError> {
        self.disk(|disk| {
            disk.asked += 1;
            disk.requests.insert(disk.asked, request);
        });
        Ok(())
    }

    async fn requests(&self) -> Result<Vec<(i64, Request)>, JournalError> {
        self.reach().await?;
        Ok(self.disk(|disk| disk.requests.iter().map(|(number, request)| (*number, request.clone())).collect()))
    }

    async fn answered(&self, number: i64) -> Result<(), JournalError> {
        self.disk(|disk| disk.requests.remove(&number));
        Ok(())
    }

    async fn checkpoint(&self, running: Duration) -> Result<(), JournalError> {
        self.reach().await?;
        if !self.shared {
            let uptime = self.clock.at(running);
            self.disk(|disk| disk.uptime = disk.uptime.max(uptime));
            return Ok(());
        }
        let ran = self.clock.since_tick(running);
        let uptime = self.disk(|disk| {
            // No further than the clock of all, and no further than that of this process.
            let passed = disk.ticked.replace(Instant::now()).map_or(Duration::ZERO, |ticked| ticked.elapsed());
            disk.uptime = disk.uptime.plus(passed.min(ran));
            disk.uptime
        });
        let _ = self.clock.tick(uptime, running);
        Ok(())
    }

    async fn note_breakers(&self, open: Vec<(Home, Breaker)>) -> Result<(), JournalError> {
        self.disk(|disk| disk.breakers = open);
        Ok(())
    }

    async fn breakers(&self) -> Result<Vec<(Home, Breaker)>, JournalError> {
        Ok(self.disk(|disk| disk.breakers.clone()))
    }

    async fn hold_deletes(&self, evidence: &str, until: Uptime) -> Result<(), JournalError> {
        self.disk(|disk| {
            if disk.evidence.insert(evidence.to_owned()) {
                disk.held = disk.held.max(Some(until));
            }
        });
        Ok(())
    }
}

impl MemoryJournal {
    /// For the start of a life: what earlier lives have written.
    pub(super) fn show_to(&self, world: &World) {
        self.disk(|disk| Self::show(world, disk));
    }
}

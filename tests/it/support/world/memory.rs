//! A journal in memory that outlives the daemon, with the same rules as the real ones.

use super::World;
use async_trait::async_trait;
use jiff::Timestamp;
use rekeyd::adapters::journal::index::{Note, notes};
use rekeyd::model::apply::apply;
use rekeyd::model::event::{Entry, Event};
use rekeyd::model::fault::Outcome;
use rekeyd::model::key::{AccountSid, AttemptId, KeySid, LabelKey};
use rekeyd::model::names::CredentialName;
use rekeyd::model::reason::Breaker;
use rekeyd::model::rotation::State;
use rekeyd::model::time::{Moment, Uptime};
use rekeyd::ports::{Attempts, Claim, Journal, JournalError, KnownAttempt, KnownKey, Refused, Request, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// What a disk would keep.
#[derive(Default, Clone)]
pub struct Disk {
    rows: BTreeMap<CredentialName, Row>,
    pub entries: BTreeMap<CredentialName, Vec<Entry>>,
    attempts: BTreeMap<AttemptId, (CredentialName, AccountSid, Moment, bool)>,
    keys: BTreeMap<KeySid, (KnownKey, AccountSid, Option<Uptime>)>,
    requests: BTreeMap<i64, Request>,
    asked: i64,
    uptime: Uptime,
    held: Option<Uptime>,
    evidence: BTreeSet<String>,
    breakers: Vec<(AccountSid, Breaker)>,
}

/// The journal as opened by one life of the daemon.
pub struct MemoryJournal {
    disk: Arc<Mutex<Disk>>,
    opened_at: Uptime,
    world: Option<(World, u64)>,
}

impl MemoryJournal {
    /// Opens the disk; with a world, appends are numbered effects that can be crashed.
    pub fn open(disk: Arc<Mutex<Disk>>, world: Option<(World, u64)>) -> Self {
        let opened_at = disk.lock().unwrap().uptime;
        Self { disk, opened_at, world }
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

fn write(disk: &mut Disk, claim: &Claim, entry: &Entry, state: &State) -> bool {
    let row = disk.rows.get_mut(&claim.name).unwrap();
    if row.seq != claim.seq {
        return false;
    }
    (row.seq, row.state) = (entry.seq, state.clone());
    for note in notes(&claim.state, entry) {
        keep(disk, claim, entry, note);
    }
    disk.uptime = disk.uptime.max(entry.at.uptime);
    disk.entries.entry(claim.name.clone()).or_default().push(entry.clone());
    true
}

fn keep(disk: &mut Disk, claim: &Claim, entry: &Entry, note: Note) {
    match note {
        Note::Attempt(attempt) => {
            disk.attempts.insert(attempt, (claim.name.clone(), claim.account.clone(), entry.at, false));
        }
        Note::Unmade(attempt) => drop(disk.attempts.remove(&attempt)),
        Note::Abandoned(attempt) => disk.attempts.get_mut(&attempt).unwrap().3 = true,
        Note::Key(sid, attempt) => {
            let key = KnownKey { sid: sid.clone(), credential: claim.name.clone(), attempt, gone: false };
            disk.keys.entry(sid).or_insert((key, claim.account.clone(), None)).0.gone = false;
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

    fn uptime_at_start(&self) -> Uptime {
        self.opened_at
    }

    fn deletes_held_until(&self) -> Option<Uptime> {
        self.disk(|disk| disk.held)
    }

    async fn enrol(&self, wakes: Vec<(CredentialName, AccountSid, Option<Timestamp>)>) -> Result<(), JournalError> {
        self.disk(|disk| {
            disk.rows.values_mut().for_each(|row| row.wake = None);
            for (name, account, wake) in wakes {
                let fresh = Row {
                    name: name.clone(),
                    account,
                    seq: 0,
                    state: State::default(),
                    wake,
                    waiting: "starting".into(),
                };
                disk.rows.entry(name).or_insert(fresh).wake = wake;
            }
        });
        Ok(())
    }

    async fn rows(&self) -> Result<Vec<Row>, JournalError> {
        Ok(self.disk(|disk| disk.rows.values().cloned().collect()))
    }

    async fn row(&self, name: &CredentialName) -> Result<Option<Row>, JournalError> {
        Ok(self.disk(|disk| disk.rows.get(name).cloned()))
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<CredentialName>, JournalError> {
        let mut due: Vec<_> = self.disk(|disk| {
            let rows = disk.rows.values().filter(|row| row.wake.is_some_and(|wake| wake <= now));
            rows.map(|row| (row.wake, row.name.clone())).collect()
        });
        due.sort();
        Ok(due.into_iter().take(limit).map(|(_, name)| name).collect())
    }

    async fn claim(&self, name: &CredentialName) -> Result<Option<Claim>, JournalError> {
        let row = self.disk(|disk| disk.rows.get(name).cloned());
        Ok(row.map(|Row { name, account, seq, state, .. }| Claim { name, account, seq, state, token: 0 }))
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
            account: claim.account.clone(),
            seq: claim.seq,
            state: claim.state.clone(),
            token: 0,
        };
        let (disk, result) = (self.disk.clone(), state.clone());
        let seq = entry.seq;
        let fresh = match &self.world {
            None => write(&mut disk.lock().unwrap(), &copy, &entry, &result),
            Some((world, generation)) => {
                let shown = world.clone();
                let outcome = world.effect(*generation, "journal", "append", move |truth| {
                    let mut disk = disk.lock().unwrap();
                    let fresh = write(&mut disk, &copy, &entry, &result);
                    truth.journal =
                        disk.rows.iter().map(|(name, row)| (name.as_str().to_owned(), row.state.clone())).collect();
                    drop(shown);
                    Outcome::Done(fresh)
                });
                match outcome.await {
                    Outcome::Done(fresh) => fresh,
                    Outcome::NotDone(failure) | Outcome::Unknown(failure) => {
                        let error = JournalError::Unavailable(failure.to_string());
                        return Err(Refused::Unavailable(Box::new(claim), error));
                    }
                }
            }
        };
        if fresh { Ok(Claim { seq, state, ..claim }) } else { Err(Refused::Fenced) }
    }

    async fn release(&self, claim: Claim, wake: Option<Timestamp>, waiting: &str) -> Result<(), JournalError> {
        if let Some((world, generation)) = &self.world {
            world.alive(*generation).await;
        }
        self.disk(|disk| {
            let row = disk.rows.get_mut(&claim.name).unwrap();
            (row.wake, row.waiting) = (wake, waiting.to_owned());
        });
        Ok(())
    }

    async fn history(&self, name: &CredentialName) -> Result<Vec<Entry>, JournalError> {
        Ok(self.disk(|disk| disk.entries.get(name).cloned().unwrap_or_default()))
    }

    async fn keys(&self, account: &AccountSid) -> Result<Vec<KnownKey>, JournalError> {
        let alive = |(key, of, _): &&(KnownKey, AccountSid, _)| of == account && !key.gone;
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

    async fn deletes_since(
        &self,
        account: &AccountSid,
        since: Uptime,
        except: Option<&KeySid>,
    ) -> Result<u32, JournalError> {
        let counts = |(key, of, at): &&(KnownKey, AccountSid, Option<Uptime>)| {
            of == account && at.is_some_and(|at| at > since) && Some(&key.sid) != except
        };
        Ok(self.disk(|disk| disk.keys.values().filter(counts).count() as u32))
    }

    async fn attempts_since(&self, account: &AccountSid, since: Uptime) -> Result<Attempts, JournalError> {
        Ok(self.disk(|disk| {
            let recent = disk.attempts.values().filter(|(_, of, at, _)| of == account && at.uptime > since);
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
        Ok(self.disk(|disk| disk.requests.iter().map(|(number, request)| (*number, request.clone())).collect()))
    }

    async fn answered(&self, number: i64) -> Result<(), JournalError> {
        self.disk(|disk| disk.requests.remove(&number));
        Ok(())
    }

    async fn checkpoint(&self, uptime: Uptime) -> Result<(), JournalError> {
        if let Some((world, generation)) = &self.world {
            world.alive(*generation).await;
        }
        self.disk(|disk| disk.uptime = disk.uptime.max(uptime));
        Ok(())
    }

    async fn note_breakers(&self, open: Vec<(AccountSid, Breaker)>) -> Result<(), JournalError> {
        self.disk(|disk| disk.breakers = open);
        Ok(())
    }

    async fn breakers(&self) -> Result<Vec<(AccountSid, Breaker)>, JournalError> {
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

//! What must hold, read from the records of those who were there: the sandbox's of every call and key, a consumer's of
//! what the sink served, the journal's of what was decided. The letters are those of `docs/protocol.md`, a.5.

use super::ground::{Ground, NAME, Source, Terms};
use jiff::{SignedDuration, Timestamp};
use rekeyd::model::event::Event;
use rekeyd::model::key::KeySid;
use rekeyd::sandbox::call::Operation;
use rekeyd::sandbox::{Denial, Fault, Sandbox};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// A key that was read in the sink: from when to when the reading took.
#[derive(Debug, Clone)]
struct Read {
    sid: KeySid,
    from: Timestamp,
    to: Timestamp,
}

/// A consumer that reads the sink and calls with what it finds, all the time.
pub struct Watch {
    reads: Arc<Mutex<Vec<Read>>>,
    refusals: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Watch {
    pub fn start(sandbox: &Sandbox, source: Source) -> Self {
        let (reads, refusals) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let target =
            format!("{}/2010-04-01/Accounts/{}/Messages.json?PageSize=1", sandbox.url(), sandbox.account_sid());
        let task = tokio::spawn(consume(source, target, reads.clone(), refusals.clone()));
        Self { reads, refusals, task }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn consume(source: Source, target: String, reads: Arc<Mutex<Vec<Read>>>, refusals: Arc<Mutex<Vec<String>>>) {
    let client = reqwest::Client::new();
    loop {
        tokio::time::sleep(Duration::from_millis(120)).await;
        let from = Timestamp::now();
        let Some(pair) = source.read().await else { continue };
        let to = Timestamp::now();
        if pair.get("apiKeySid").is_none() && reads.lock().unwrap().is_empty() {
            // A place that was fenced before it ever served anything (docs/decisions/0005).
            continue;
        }
        let (sid, secret) = (pair["apiKeySid"].as_str().unwrap_or_default(), pair["apiKeySecret"].as_str());
        match KeySid::new(sid) {
            Ok(sid) => reads.lock().unwrap().push(Read { sid, from, to }),
            Err(_) => refusals.lock().unwrap().push(format!("the sink serves no pair: {sid}")),
        }
        if let Ok(answer) = client.get(&target).basic_auth(sid, secret).send().await
            && answer.status() == 401
        {
            refusals.lock().unwrap().push(format!("{sid} was refused"));
        }
    }
}

impl Ground {
    /// Checks everything that the records tell; what is wrong, in words.
    pub async fn faults(&self, terms: &Terms) -> Vec<String> {
        let mut faults = self.watch.refusals.lock().unwrap().clone();
        faults.extend(self.of_calls(terms));
        faults.extend(self.of_decisions(terms).await);
        let verified = self.run(&["journal", "verify"]);
        if !verified.status.success() {
            faults.push(format!("rekeyd journal verify: {verified:?}"));
        }
        faults
    }

    /// What the sandbox saw, beside what the consumer saw.
    fn of_calls(&self, terms: &Terms) -> Vec<String> {
        let mut faults = Vec::new();
        let (main, reads) = (self.sandbox.main_key().0, self.watch.reads.lock().unwrap().clone());
        let world = self.sandbox.world().lock();
        assert_eq!(world.audit().forgotten(), 0, "the sandbox forgot what it saw");
        for call in world.audit().dead_pairs() {
            faults.push(format!("S1: somebody called with a pair that does not work: {call:?}"));
        }
        let grace = SignedDuration::try_from(terms.grace).unwrap();
        for key in world.keys() {
            let Some(deleted) = &key.deleted else { continue };
            if deleted.by != main.as_str() || key.made_by != main.as_str() {
                faults.push(format!("S2: {} of {} was deleted by {}", key.sid, key.made_by, deleted.by));
            }
            let served = reads.iter().rfind(|read| read.sid == key.sid);
            if served.is_some_and(|read| deleted.at.duration_since(read.from) < grace) {
                faults.push(format!("S3: {} was deleted at {}, still served at {served:?}", key.sid, deleted.at));
            }
        }
        let seen: BTreeSet<&KeySid> = reads.iter().map(|read| &read.sid).collect();
        for sid in seen {
            let first = reads.iter().find(|read| read.sid == *sid).unwrap().to;
            let tried = world.audit().entries().any(|call| {
                let by = call.user.as_deref() == Some(sid.as_str());
                // That it may not do this proves that Twilio knows the pair (error 70051).
                let known = call.status == 200 || call.denied == Some(Denial::NotPermitted);
                by && call.operation == Operation::ListNumbers && known && call.at <= first
            });
            if !tried {
                faults.push(format!("S4: {sid} was served and had never been tried"));
            }
        }
        let ours: Vec<_> = world.keys().filter(|key| key.made_by == main.as_str()).collect();
        for key in &ours {
            let alive = |other: &&&rekeyd::sandbox::Key| {
                let ended = other.deleted.as_ref().is_some_and(|deleted| deleted.at <= key.made_at);
                other.made_at <= key.made_at && !ended
            };
            if ours.iter().filter(alive).count() > 3 {
                faults.push(format!("S5: more than three keys lived when {} was made", key.sid));
            }
        }
        faults
    }

    /// What was decided before it was done (S13): a create for each intent at most, a delete for each key condemned.
    async fn of_decisions(&self, terms: &Terms) -> Vec<String> {
        let history = self.history().await;
        let mut faults = Vec::new();
        let world = self.sandbox.world().lock();
        let intents = history.iter().filter(|entry| matches!(entry.event, Event::Intended(_))).count();
        let creates =
            world.audit().entries().filter(|call| call.operation == Operation::CreateKey && call.status == 201);
        // What the network delivered twice is written down twice, and was sent once.
        let (twice, once): (Vec<_>, Vec<_>) = creates.partition(|call| call.fault == Some(Fault::Twice));
        let creates = once.len() + twice.len() / 2;
        if creates > intents {
            faults.push(format!("S13: {creates} creates of {NAME} after {intents} intents"));
        }
        for call in world.audit().entries().filter(|call| call.operation == Operation::DeleteKey && call.status < 300) {
            let decided = history.iter().any(|entry| {
                matches!(&entry.event, Event::Condemned { sid, .. } if Some(sid) == call.key.as_ref())
                    && (terms.lying || entry.at.wall <= call.at)
            });
            if !decided {
                faults.push(format!("S13: a delete that nobody had decided: {call:?}"));
            }
        }
        faults
    }

    /// The same without the journal, where that is an old one.
    pub fn expect_calls_sound(&self, terms: &Terms, what: &str) {
        let mut faults = self.watch.refusals.lock().unwrap().clone();
        faults.extend(self.of_calls(terms));
        assert!(faults.is_empty(), "{what}: {faults:#?}");
        assert!(!self.watch.reads.lock().unwrap().is_empty(), "{what}: the consumer never read anything");
    }

    pub async fn expect_sound(&self, terms: &Terms, what: &str) {
        let faults = self.faults(terms).await;
        assert!(faults.is_empty(), "{what}: {faults:#?}");
        assert!(!self.watch.reads.lock().unwrap().is_empty(), "{what}: the consumer never read anything");
    }
}

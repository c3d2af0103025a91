//! Defects and deaths on demand, for tests, in debug builds only; a release build leaves this file and its folder out.
//!
//! `REKEYD_ORDEAL` holds words with blanks between them:
//!
//! | word | what happens |
//! |---|---|
//! | `panic` | the first create panics with the new secret in its text |
//! | `points` | every point at which a death may count is numbered and logged |
//! | `points:aloud` | the same, on standard error: for commands that keep no log |
//! | `crash:N` | the process kills itself with SIGKILL at the N-th point: nothing is flushed, nobody says goodbye |
//! | `crash:N:after-create` | the same at the N-th point of this name: where many are at work, their points come in any order |
//! | `stop:N` | the process stops itself with SIGSTOP there, until somebody lets it go on |
//! | `without:Fence` | that rule of safety does not hold (`model/rule.rs`), to see that a test notices |

mod journal;
mod subaccount;

use crate::model::document::{Names, Pair};
use crate::model::fault::Outcome;
use crate::model::home::Home;
use crate::model::key::{AttemptId, KeyFacts, KeySid, Label};
use crate::model::names::{Place, Version};
use crate::model::permission::Granted;
use crate::model::rule::Rule;
use crate::model::secret::Secret;
use crate::ports::{
    Issuer, Journal, Landlord, Ledger, Make, NewKey, Reading, Sink, Standing, TokenPlace, Tokens, Verdict, Written,
};
use async_trait::async_trait;
use jiff::Timestamp;
use rustix::process::{Signal, getpid, kill_process};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// What was asked for, once for the process.
#[derive(Default)]
struct Asked {
    panic: bool,
    points: Option<Points>,
}

#[expect(clippy::disallowed_methods, reason = "a test asks for it in the environment, as for nothing else")]
fn asked() -> &'static Asked {
    static ASKED: OnceLock<Asked> = OnceLock::new();
    ASKED.get_or_init(|| {
        let words = std::env::var("REKEYD_ORDEAL").unwrap_or_default();
        words.split_whitespace().fold(Asked::default(), Asked::and)
    })
}

impl Asked {
    fn and(self, word: &str) -> Self {
        match word.split_once(':').unwrap_or((word, "")) {
            ("panic", _) => Self { panic: true, ..self },
            ("points", how) => Self { points: Some(Points { aloud: how == "aloud", ..Points::default() }), ..self },
            ("crash", number) => Self { points: Points::up_to(number, Signal::KILL), ..self },
            ("stop", number) => Self { points: Points::up_to(number, Signal::STOP), ..self },
            ("without", name) => {
                let rule = Rule::ALL.into_iter().find(|rule| format!("{rule:?}") == name);
                rule.into_iter().for_each(Rule::switch_off_everywhere);
                self
            }
            _ => self,
        }
    }
}

/// The moments before and after everything that changes the world or the journal, in the order in which they come.
#[derive(Default)]
struct Points {
    next: AtomicU64,
    /// How often each was passed, by its name.
    passed: Mutex<BTreeMap<String, u64>>,
    /// Whether standard error is told of each.
    aloud: bool,
    /// What the process does to itself, and at which.
    last: Option<(Last, Signal)>,
}

/// A point.
enum Last {
    /// By its number.
    Number(u64),
    /// By its name, and how often that was passed.
    Named(String, u64),
}

impl Points {
    fn up_to(number: &str, signal: Signal) -> Option<Self> {
        let last = match number.split_once(':') {
            Some((times, name)) => Last::Named(name.replace('-', " "), times.parse().ok()?),
            None => Last::Number(number.parse().ok()?),
        };
        Some(Self { last: Some((last, signal)), ..Self::default() })
    }

    /// Does what is between two points.
    async fn around<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        self.pass("before", what);
        let done = work.await;
        self.pass("after", what);
        done
    }

    fn pass(&self, when: &str, what: &str) {
        let number = self.next.fetch_add(1, Ordering::SeqCst) + 1;
        let point = format!("{when} {what}");
        tracing::info!(number, point, "a point at which it may be killed");
        if self.aloud {
            super::out::error(&format!("point {number}: {point}"));
        }
        let times = self.times(&point);
        let is_it = |last: &Last| match last {
            Last::Number(last) => *last == number,
            Last::Named(name, last) => *name == point && *last == times,
        };
        if let Some((_, signal)) = self.last.as_ref().filter(|(last, _)| is_it(last)) {
            // Neither signal can be caught, and both take hold before this call returns.
            kill_process(getpid(), *signal).ok();
        }
    }

    /// How often the point was passed, this time included.
    fn times(&self, point: &str) -> u64 {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let times = passed.entry(point.to_owned()).or_default();
        *times += 1;
        *times
    }
}

/// The issuer, with what was asked for around it.
pub(super) fn wrap(issuer: Arc<dyn Issuer>) -> Arc<dyn Issuer> {
    let Asked { panic, points } = asked();
    match points {
        _ if *panic => Arc::new(Around { issuer, points: None }),
        Some(points) => Arc::new(Around { issuer, points: Some(points) }),
        None => issuer,
    }
}

/// A sink, with what was asked for around it.
pub(super) fn sink(sink: Arc<dyn Sink>) -> Arc<dyn Sink> {
    match &asked().points {
        Some(points) => Arc::new(AroundSink { sink, points }),
        None => sink,
    }
}

/// The journal, with what was asked for around it.
pub(super) fn journal(journal: Arc<dyn Journal>) -> Arc<dyn Journal> {
    match &asked().points {
        Some(points) => Arc::new(journal::AroundJournal { journal, points }),
        None => journal,
    }
}

/// The door of who makes subaccounts, with what was asked for around it.
pub(super) fn landlord(landlord: Arc<dyn Landlord>) -> Arc<dyn Landlord> {
    match &asked().points {
        Some(points) => Arc::new(subaccount::AroundLandlord { landlord, points }),
        None => landlord,
    }
}

/// What is written down of that, with what was asked for around it.
pub(super) fn ledger(ledger: Arc<dyn Ledger>) -> Arc<dyn Ledger> {
    match &asked().points {
        Some(points) => Arc::new(subaccount::AroundLedger { ledger, points }),
        None => ledger,
    }
}

struct Around {
    issuer: Arc<dyn Issuer>,
    /// Without points, a create panics.
    points: Option<&'static Points>,
}

#[async_trait]
impl Tokens for Around {
    async fn token_place(&self, home: &Home, token: &Secret) -> Outcome<TokenPlace> {
        self.issuer.token_place(home, token).await
    }

    async fn promote(&self, home: &Home, token: &Secret, quiet: bool) -> Outcome<()> {
        let promote = self.issuer.promote(home, token, quiet);
        match self.points {
            Some(points) => points.around("promote", promote).await,
            None => promote.await,
        }
    }

    async fn discard(&self, home: &Home, served: Option<&Secret>, quiet: bool) -> Outcome<()> {
        let discard = self.issuer.discard(home, served, quiet);
        match self.points {
            Some(points) => points.around("discard", discard).await,
            None => discard.await,
        }
    }
}

#[async_trait]
impl Issuer for Around {
    async fn create(&self, home: &Home, label: &Label, make: Make<'_>) -> Outcome<NewKey> {
        let create = self.issuer.create(home, label, make);
        match self.points {
            Some(points) => points.around("create", create).await,
            None => create.await.map(|new| panic!("an ordeal with {}", new.secret.expose())),
        }
    }

    async fn list(&self, home: &Home) -> Outcome<Vec<KeyFacts>> {
        self.issuer.list(home).await
    }

    async fn fetch(&self, home: &Home, sid: &KeySid) -> Outcome<Option<KeyFacts>> {
        self.issuer.fetch(home, sid).await
    }

    async fn permissions(&self, home: &Home, sid: &KeySid) -> Outcome<Granted> {
        self.issuer.permissions(home, sid).await
    }

    async fn delete(&self, home: &Home, sid: &KeySid) -> Outcome<()> {
        let delete = self.issuer.delete(home, sid);
        match self.points {
            Some(points) => points.around("delete", delete).await,
            None => delete.await,
        }
    }

    async fn probe(&self, home: &Home, sid: &KeySid, secret: &Secret, at: Option<&url::Url>) -> Outcome<Verdict> {
        self.issuer.probe(home, sid, secret, at).await
    }

    async fn standing(&self, home: &Home) -> Outcome<Standing> {
        self.issuer.standing(home).await
    }

    fn roots(&self) -> BTreeMap<KeySid, Home> {
        self.issuer.roots()
    }

    fn date(&self) -> Option<(Timestamp, Duration)> {
        self.issuer.date()
    }
}

struct AroundSink {
    sink: Arc<dyn Sink>,
    points: &'static Points,
}

#[async_trait]
impl Sink for AroundSink {
    async fn read(&self, place: &Place, names: &Names, attempt: Option<AttemptId>) -> Outcome<Reading> {
        self.sink.read(place, names, attempt).await
    }

    async fn publish(&self, place: &Place, names: &Names, pair: &Pair, base: &Version) -> Outcome<Written> {
        self.points.around("publish", self.sink.publish(place, names, pair, base)).await
    }

    async fn fence(&self, place: &Place, names: &Names, token: AttemptId, base: &Version) -> Outcome<Written> {
        self.points.around("fence", self.sink.fence(place, names, token, base)).await
    }

    fn stages(&self) -> bool {
        self.sink.stages()
    }
}

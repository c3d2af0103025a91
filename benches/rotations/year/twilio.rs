//! The sandbox in this process, behind the port of the engine: its world is asked without HTTP, in virtual time.

use super::clock::Virtual;
use crate::sandbox::{ACCOUNT, LATENCY, MAIN_KEY, MAIN_SECRET};
use async_trait::async_trait;
use jiff::Timestamp;
use rekeyd::model::fault::{Failure, Fault, Outcome};
use rekeyd::model::fleet::Listed;
use rekeyd::model::home::{Home, Region};
use rekeyd::model::key::{AccountSid, KeyFacts, KeySid, Label};
use rekeyd::model::permission::Granted;
use rekeyd::model::secret::Secret;
use rekeyd::ports::{Clock as _, Issuer, Make, NewKey, Standing, TokenPlace, Tokens, Verdict};
use rekeyd::sandbox::call::{Answer, Call, Credentials, Delivery, KeyView, Refusal, Reply, Request, Status};
use rekeyd::sandbox::{Fault as Meanness, Faults, KeyKind, Latency, NewKey as ByHand, Paging, Random, Rate, World};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The share of all calls whose answer is lost, and of those that are refused with 429.
const SHARE: f64 = 0.1;

pub struct Twilio {
    pub world: Mutex<World>,
    clock: Arc<Virtual>,
    account: AccountSid,
    main_key: KeySid,
    pub calls: AtomicU64,
    /// The true time that the sandbox itself has taken.
    pub spent: Mutex<Duration>,
    date: Mutex<Option<(Timestamp, Duration)>>,
}

impl Twilio {
    /// A sandbox with so many subaccounts, and what Twilio lists of them.
    pub fn new(clock: Arc<Virtual>, subaccounts: usize) -> (Arc<Self>, Vec<Listed>) {
        let share = |fault| Random { fault, rate: Rate::new(SHARE).unwrap(), operation: None };
        let random = vec![share(Meanness::Lost), share(Meanness::RateLimited)];
        let mut world = World::new(1, Faults { latency_ms: Latency::Fixed(LATENCY), random, ..Faults::default() });
        let (now, account) = (clock.wall(), AccountSid::new(ACCOUNT).unwrap());
        world.open_account(now, Some(account.clone()), None);
        let pair = Some((KeySid::new(MAIN_KEY).unwrap(), Secret::new(MAIN_SECRET.to_owned())));
        let new = ByHand { account: account.clone(), kind: KeyKind::Main, name: None, pair };
        let main_key = world.make_by_hand(now, new);
        let listed = (0..subaccounts).map(|number| {
            let sid = world.open_account(now, None, Some(account.clone()));
            Listed { sid, name: format!("customer-{number:04}"), active: true, closed: false, created: now }
        });
        let listed = listed.collect();
        let (calls, spent, date) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        (Arc::new(Self { world: Mutex::new(world), clock, account, main_key, calls, spent, date }), listed)
    }

    /// One call, with the Main key.
    async fn manage(&self, account: &AccountSid, request: Request) -> Outcome<Result<Answer, Refusal>> {
        self.call(account, request, MAIN_KEY, &Secret::new(MAIN_SECRET.to_owned())).await
    }

    async fn call(
        &self,
        account: &AccountSid,
        request: Request,
        user: &str,
        secret: &Secret,
    ) -> Outcome<Result<Answer, Refusal>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let credentials = Some(Credentials { user: user.to_owned(), secret: secret.duplicate() });
        let call = Call { credentials, account: Some(account.to_string()), region: Region::us1(), request, wire: None };
        let now = self.clock.wall();
        let ticket = self.in_world(|world| world.arrive(now, &call));
        self.clock.sleep(ticket.latency).await;
        let now = self.clock.wall();
        let Reply { answer, delivery } = self.in_world(|world| {
            let reply = world.perform(now, &ticket, call);
            world.depart(&ticket);
            reply
        });
        if delivery == Delivery::Lost {
            return Outcome::Unknown(Failure::new(Fault::Timeout, "no answer"));
        }
        // The header tells seconds.
        *self.date.lock().unwrap() = Some((Timestamp::from_second(now.as_second()).unwrap(), self.clock.running()));
        Outcome::Done(answer)
    }

    /// Works with the world, and takes the time.
    fn in_world<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        let start = Instant::now();
        let done = work(&mut self.world.lock().unwrap());
        *self.spent.lock().unwrap() += start.elapsed();
        done
    }
}

/// What an answer is to a caller who did not expect a refusal.
fn granted<T>(told: Outcome<Result<Answer, Refusal>>, read: impl FnOnce(Answer) -> Option<T>) -> Outcome<T> {
    match told {
        Outcome::Done(Ok(answer)) => Outcome::Done(read(answer).expect("the sandbox answers what was asked")),
        Outcome::Done(Err(refusal)) => Outcome::NotDone(failure(refusal)),
        Outcome::NotDone(failure) => Outcome::NotDone(failure),
        Outcome::Unknown(failure) => Outcome::Unknown(failure),
    }
}

fn failure(refusal: Refusal) -> Failure {
    let (status, _, words) = refusal.terms();
    let fault = match status {
        401 => Fault::Unauthorized,
        403 => Fault::Forbidden,
        404 => Fault::Missing,
        429 => Fault::Throttled,
        _ => Fault::Refused,
    };
    Failure::new(fault, words)
}

/// A refusal that is an answer.
fn or<T>(outcome: Outcome<T>, fault: Fault, answer: T) -> Outcome<T> {
    if outcome.fault() == Some(fault) { Outcome::Done(answer) } else { outcome }
}

fn facts(key: KeyView) -> KeyFacts {
    let created_at = Timestamp::from_second(key.created.as_second()).unwrap();
    KeyFacts { sid: key.sid, label: key.name, created_at }
}

#[async_trait]
impl Tokens for Twilio {
    async fn token_place(&self, _home: &Home, _token: &Secret) -> Outcome<TokenPlace> {
        unreachable!("only ordinary keys are rotated here")
    }

    async fn promote(&self, _home: &Home, _token: &Secret, _quiet: bool) -> Outcome<()> {
        unreachable!("only ordinary keys are rotated here")
    }

    async fn discard(&self, _home: &Home, _served: Option<&Secret>, _quiet: bool) -> Outcome<()> {
        unreachable!("only ordinary keys are rotated here")
    }
}

#[async_trait]
impl Issuer for Twilio {
    async fn create(&self, home: &Home, label: &Label, make: Make<'_>) -> Outcome<NewKey> {
        assert!(matches!(make, Make::Standard));
        let told = self.manage(&home.account, Request::CreateKey { name: Some(label.to_string()), policy: None }).await;
        granted(told, |answer| {
            let Answer::Created(key, secret) = answer else { return None };
            Some(NewKey { facts: facts(key), secret })
        })
    }

    async fn list(&self, home: &Home) -> Outcome<Vec<KeyFacts>> {
        let paging = Paging { size: Some("1000".to_owned()), ..Paging::default() };
        granted(self.manage(&home.account, Request::ListKeys(paging)).await, |answer| {
            let Answer::Keys(page) = answer else { return None };
            (!page.more).then(|| page.rows.into_iter().map(facts).collect())
        })
    }

    async fn fetch(&self, home: &Home, sid: &KeySid) -> Outcome<Option<KeyFacts>> {
        let told = self.manage(&home.account, Request::FetchKey { sid: sid.to_string() }).await;
        let shown = granted(told, |answer| {
            let Answer::Key(key) = answer else { return None };
            Some(Some(facts(key)))
        });
        or(shown, Fault::Missing, None)
    }

    async fn permissions(&self, _home: &Home, _sid: &KeySid) -> Outcome<Granted> {
        unreachable!("only ordinary keys are rotated here")
    }

    async fn delete(&self, home: &Home, sid: &KeySid) -> Outcome<()> {
        let told = self.manage(&home.account, Request::DeleteKey { sid: sid.to_string() }).await;
        or(granted(told, |_| Some(())), Fault::Missing, ())
    }

    async fn probe(&self, home: &Home, sid: &KeySid, secret: &Secret, _at: Option<&url::Url>) -> Outcome<Verdict> {
        let told = self.call(&home.account, Request::ListNumbers(Paging::default()), sid.as_str(), secret).await;
        or(granted(told, |_| Some(Verdict::Works)), Fault::Unauthorized, Verdict::Refused)
    }

    async fn standing(&self, home: &Home) -> Outcome<Standing> {
        granted(self.manage(&home.account, Request::FetchAccount).await, |answer| {
            let Answer::Account(account) = answer else { return None };
            Some(match account.status {
                Status::Active => Standing::Active,
                Status::Suspended => Standing::Suspended,
                Status::Closed => Standing::Closed,
            })
        })
    }

    fn roots(&self) -> BTreeMap<KeySid, Home> {
        BTreeMap::from([(self.main_key.clone(), Home::us1(self.account.clone()))])
    }

    fn date(&self) -> Option<(Timestamp, Duration)> {
        *self.date.lock().unwrap()
    }
}

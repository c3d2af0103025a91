//! The contract of journals, run against every one there is: in memory, alone and shared, in SQLite and on PostgreSQL.

mod postgres;
mod sqlite;
mod subaccounts;

use crate::support;
use crate::support::world::MemoryJournal;
use jiff::Timestamp;
use rekeyd::adapters::journal::{Access, SqliteJournal};
use rekeyd::model::document::Members;
use rekeyd::model::event::{Event, Evidence, Intent};
use rekeyd::model::fault::{Failure, Fault};
use rekeyd::model::home::{Home, Region};
use rekeyd::model::key::{AccountSid, AttemptId, KeySid};
use rekeyd::model::names::{CredentialName, Instance, Place, SinkName, Version};
use rekeyd::model::reason::{Breaker, Cause, Reason, StepName};
use rekeyd::model::time::{Moment, Uptime};
use rekeyd::ports::{Ask, Attempts, Claim, Enrolled, Journal, JournalError, PassOver, Refused, Request};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

fn name(text: &str) -> CredentialName {
    CredentialName::new(text).unwrap()
}

fn home() -> Home {
    Home::us1(AccountSid::new(&format!("AC{:032x}", 1)).unwrap())
}

fn sid(n: u32) -> KeySid {
    KeySid::new(&format!("SK{n:032x}")).unwrap()
}

fn at(uptime: u64) -> Moment {
    Moment { wall: Timestamp::from_second(1_800_000_000).unwrap(), uptime: Uptime(uptime), twilio: None }
}

fn place() -> Place {
    Place::new(SinkName::new("vault").unwrap(), "billing")
}

fn intended(n: u128) -> Event {
    Event::Intended(Box::new(Intent {
        home: home(),
        attempt: AttemptId(Uuid::from_u128(n)),
        reason: Reason::First,
        bases: BTreeMap::from([(place(), Version("0".into()))]),
        members: Members::default(),
        grace: Duration::from_secs(3600),
        permissions: None,
        key_pair: false,
        auth_token: false,
    }))
}

/// Runs one case against every journal.
async fn on_all<F: Future<Output = ()>>(case: impl Fn(Arc<dyn Journal>) -> F) {
    case(Arc::new(MemoryJournal::open(Arc::default(), None))).await;
    case(Arc::new(MemoryJournal::open(Arc::default(), None).shared())).await;
    let dir = tempfile::tempdir().unwrap();
    case(Arc::new(sqlite::open(dir.path()).await)).await;
    case(Arc::new(postgres::open(&support::postgres::fresh(support::postgres::shared()).await).await)).await;
}

/// As at a first start.
fn enrolment(credential: &str, wake: Option<Timestamp>) -> Enrolled {
    Enrolled { name: name(credential), home: home(), wake, seq: 0 }
}

async fn enrolled(journal: &dyn Journal) -> Claim {
    journal.enrol(vec![enrolment("billing", Some(at(0).wall))]).await.unwrap();
    journal.claim(&name("billing")).await.unwrap().unwrap()
}

async fn append_all(journal: &dyn Journal, claim: Claim, events: Vec<Event>) -> Claim {
    let mut claim = claim;
    for event in events {
        claim = journal.append(claim, at(1000), event).await.unwrap_or_else(|_| panic!("refused"));
    }
    claim
}

fn copy(claim: &Claim) -> Claim {
    Claim {
        name: claim.name.clone(),
        home: claim.home.clone(),
        seq: claim.seq,
        state: claim.state.clone(),
        token: claim.token,
        leased_until: claim.leased_until,
    }
}

#[tokio::test]
async fn what_is_appended_is_there_for_the_next_claim_and_in_the_history() {
    on_all(|journal| async move {
        let claim = enrolled(&*journal).await;
        let created = Event::Created { sid: sid(1), created_at: at(0).wall };
        let claim = append_all(&*journal, claim, vec![intended(1), created.clone()]).await;
        assert_eq!(claim.seq, 2);
        let state = claim.state.clone();
        journal.release(claim, None, "resting").await.unwrap();
        let claim = journal.claim(&name("billing")).await.unwrap().unwrap();
        assert_eq!((claim.seq, &claim.state), (2, &state));
        let history = journal.history(&name("billing")).await.unwrap();
        assert_eq!(history.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(history[1].event, created);
        assert_eq!(journal.rows().await.unwrap()[0].state, claim.state);
        assert_eq!(journal.row(&name("billing")).await.unwrap().unwrap().state, claim.state);
        assert!(journal.row(&name("nobody")).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn what_was_begun_in_one_region_stays_noted_there_whatever_is_enrolled_later() {
    on_all(|journal| async move {
        let ireland = Home { region: Region::new("ie1").unwrap(), ..home() };
        let claim = enrolled(&*journal).await;
        let claim = append_all(&*journal, claim, vec![intended(1), Event::Unsettled]).await;
        journal.release(claim, None, "resting").await.unwrap();
        let moved = Enrolled { home: ireland.clone(), seq: 2, ..enrolment("billing", Some(at(0).wall)) };
        journal.enrol(vec![moved]).await.unwrap();
        let claim = journal.claim(&name("billing")).await.unwrap().unwrap();
        assert_eq!((&claim.home, claim.state.home.as_ref()), (&ireland, Some(&home())));
        append_all(&*journal, claim, vec![Event::Found { attempt: AttemptId(Uuid::from_u128(1)), sid: sid(1) }]).await;
        let keys = async |home: &Home| journal.keys(home).await.unwrap().len();
        assert_eq!((keys(&home()).await, keys(&ireland).await), (1, 0));
        let started = async |home: &Home| journal.attempts_since(home, Uptime(0)).await.unwrap().started;
        assert_eq!((started(&home()).await, started(&ireland).await), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn a_key_that_was_begun_in_one_region_is_not_made_in_another() {
    on_all(|journal| async move {
        let claim = enrolled(&*journal).await;
        let refused = Event::CreateRefused { failure: Failure::new(Fault::Refused, "no") };
        let claim = append_all(&*journal, claim, vec![intended(1), refused]).await;
        let Event::Intended(mut elsewhere) = intended(2) else { unreachable!() };
        elsewhere.home.region = Region::new("ie1").unwrap();
        let refused = journal.append(claim, at(1000), Event::Intended(elsewhere)).await;
        assert!(matches!(refused, Err(Refused::Misfit(..))));
    })
    .await;
}

#[tokio::test]
async fn of_two_appends_from_one_state_only_the_first_succeeds() {
    on_all(|journal| async move {
        let claim = enrolled(&*journal).await;
        let second = copy(&claim);
        append_all(&*journal, claim, vec![intended(1)]).await;
        assert!(matches!(journal.append(second, at(0), intended(2)).await, Err(Refused::Fenced)));
        assert_eq!(journal.history(&name("billing")).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_event_that_does_not_fit_is_refused_and_the_claim_comes_back() {
    on_all(|journal| async move {
        let claim = enrolled(&*journal).await;
        let Err(Refused::Misfit(claim, misfit)) = journal.append(claim, at(0), Event::Completed).await else {
            panic!("accepted");
        };
        assert_eq!((claim.seq, misfit.event), (0, "completed"));
        append_all(&*journal, *claim, vec![intended(1)]).await;
    })
    .await;
}

#[tokio::test]
async fn credentials_are_due_by_their_wake_and_only_while_they_are_in_the_policy() {
    on_all(|journal| async move {
        let second = |n: i64| Some(Timestamp::from_second(n).unwrap());
        let [late, early, never] =
            [("late", 30), ("early", 10), ("never", 0)].map(|(text, n)| enrolment(text, second(n)));
        journal.enrol(vec![late, early, Enrolled { wake: None, ..never }]).await.unwrap();
        let due = |now: i64, limit| {
            let journal = journal.clone();
            async move {
                let now = Timestamp::from_second(now).unwrap();
                let mut names = Vec::new();
                for claim in journal.take_due(now, limit, &PassOver::default()).await.unwrap().claims {
                    names.push(claim.name.clone());
                    let wake = journal.row(&claim.name).await.unwrap().unwrap().wake;
                    journal.release(claim, wake, "resting").await.unwrap();
                }
                names
            }
        };
        assert_eq!(due(9, 9).await, []);
        assert_eq!(due(10, 9).await, [name("early")]);
        assert_eq!(due(30, 9).await, [name("early"), name("late")]);
        assert_eq!(due(30, 1).await, [name("early")]);
        let claim = journal.claim(&name("early")).await.unwrap().unwrap();
        journal.release(claim, second(40), "resting").await.unwrap();
        assert_eq!(due(30, 9).await, [name("late")]);
        journal.enrol(vec![enrolment("early", second(5))]).await.unwrap();
        assert_eq!(due(99, 9).await, [name("early")], "`late` is not in the policy any more");
        let rows = journal.rows().await.unwrap();
        assert_eq!(rows.len(), 3, "but its row stays");
    })
    .await;
}

#[tokio::test]
async fn an_enrolment_thought_out_before_the_last_entry_does_not_say_when_to_wake() {
    on_all(|journal| async move {
        let claim = enrolled(&*journal).await;
        let claim = append_all(&*journal, claim, vec![intended(1)]).await;
        journal.release(claim, Some(at(60).wall), "the next trial").await.unwrap();
        journal.enrol(vec![enrolment("billing", None)]).await.unwrap();
        let row = journal.row(&name("billing")).await.unwrap().unwrap();
        assert_eq!((row.wake, row.waiting.as_str()), (Some(at(60).wall), "the next trial"));
        journal.enrol(vec![Enrolled { seq: row.seq, ..enrolment("billing", None) }]).await.unwrap();
        assert_eq!(journal.row(&name("billing")).await.unwrap().unwrap().wake, None);
    })
    .await;
}

#[tokio::test]
async fn keys_attempts_and_deletes_are_found_without_the_history() {
    on_all(|journal| async move {
        let claim = enrolled(&*journal).await;
        let created = |n| Event::Created { sid: sid(n), created_at: at(0).wall };
        let abandoned = Event::Abandoned { sid: sid(1), cause: Cause::NotAccepted };
        let attempt = AttemptId(Uuid::from_u128(1));
        let fencing = Event::Fencing { attempt, versions: BTreeMap::new() };
        let evidence = Evidence { places: BTreeMap::new(), proven: 0, spent: 0 };
        let claim = append_all(&*journal, claim, vec![intended(1), created(1)]).await;

        let known = journal.attempt(attempt).await.unwrap().unwrap();
        assert_eq!((known.credential.as_str(), known.sid), ("billing", Some(sid(1))));
        assert!(journal.attempt(AttemptId(Uuid::from_u128(99))).await.unwrap().is_none());
        assert_eq!(journal.keys(&home()).await.unwrap().len(), 1);
        assert!(!journal.key(&sid(1)).await.unwrap().unwrap().gone);
        assert!(journal.key(&sid(99)).await.unwrap().is_none());
        let attempts = journal.attempts_since(&home(), Uptime(999)).await.unwrap();
        assert_eq!(attempts, Attempts { started: 1, abandoned: 0 });

        let condemned = Event::Condemned { sid: sid(1), evidence };
        let claim = append_all(&*journal, claim, vec![abandoned, fencing, condemned]).await;
        assert_eq!(journal.deletes_since(&home(), Uptime(999), None).await.unwrap(), 1);
        assert_eq!(journal.deletes_since(&home(), Uptime(1000), None).await.unwrap(), 0);
        assert_eq!(journal.deletes_since(&home(), Uptime(0), Some(&sid(1))).await.unwrap(), 0);
        let attempts = journal.attempts_since(&home(), Uptime(999)).await.unwrap();
        assert_eq!(attempts, Attempts { started: 1, abandoned: 1 });

        append_all(&*journal, claim, vec![Event::Removed { sid: sid(1) }]).await;
        assert!(journal.keys(&home()).await.unwrap().is_empty());
        assert!(journal.key(&sid(1)).await.unwrap().unwrap().gone, "a key that was ours is never forgotten");
    })
    .await;
}

#[tokio::test]
async fn a_create_that_was_refused_for_certain_is_no_attempt() {
    on_all(|journal| async move {
        let claim = enrolled(&*journal).await;
        let failure = Failure { fault: Fault::Throttled, detail: "429".into() };
        append_all(&*journal, claim, vec![intended(1), Event::CreateRefused { failure }]).await;
        let attempts = journal.attempts_since(&home(), Uptime(0)).await.unwrap();
        assert_eq!(attempts, Attempts::default());
    })
    .await;
}

#[tokio::test]
async fn requests_wait_until_they_are_answered() {
    on_all(|journal| async move {
        let forget = BTreeSet::from([place()]);
        let asks = [Ask::Rotate, Ask::Resume { overwrite: true, forget }];
        for ask in asks.clone() {
            journal.ask(Request { credential: name("billing"), by: "ada".into(), ask }).await.unwrap();
        }
        let waiting = journal.requests().await.unwrap();
        assert_eq!(waiting.iter().map(|(_, request)| request.ask.clone()).collect::<Vec<_>>(), asks);
        journal.answered(waiting[0].0).await.unwrap();
        assert_eq!(journal.requests().await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_breakers_last_noted_are_the_ones_that_are_open() {
    on_all(|journal| async move {
        let refused = vec![(home(), Breaker::Clock), (home(), Breaker::MainKeyRefused)];
        journal.note_breakers(refused.clone()).await.unwrap();
        assert_eq!(journal.breakers().await.unwrap(), refused);
        journal.note_breakers(Vec::new()).await.unwrap();
        assert_eq!(journal.breakers().await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn the_same_evidence_holds_deletes_only_once() {
    on_all(|journal| async move {
        journal.hold_deletes("a key nobody knows", Uptime(5000)).await.unwrap();
        assert_eq!(journal.deletes_held_until().await.unwrap(), Some(Uptime(5000)));
        journal.hold_deletes("a key nobody knows", Uptime(9000)).await.unwrap();
        assert_eq!(journal.deletes_held_until().await.unwrap(), Some(Uptime(5000)));
        journal.hold_deletes("another", Uptime(8000)).await.unwrap();
        journal.hold_deletes("a third", Uptime(7000)).await.unwrap();
        assert_eq!(journal.deletes_held_until().await.unwrap(), Some(Uptime(8000)));
    })
    .await;
}

#[tokio::test]
async fn a_failed_step_is_kept_with_its_fault() {
    on_all(|journal| async move {
        let claim = enrolled(&*journal).await;
        let failure = Failure { fault: Fault::Server, detail: "503".into() };
        let claim = append_all(&*journal, claim, vec![Event::Failed { step: StepName::Look, failure }]).await;
        let trouble = claim.state.trouble.unwrap();
        assert_eq!((trouble.count, trouble.failure.fault), (1, Fault::Server));
    })
    .await;
}

//! The core by itself, at chosen times: both sides of every edge.

mod rights;

use super::call::{Answer, Call, Credentials, Delivery, KeyView, Operation, Refusal, Reply, Request};
use super::*;
use crate::model::key::{AccountSid, KeySid};
use crate::model::secret::Secret;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// A pair, or an account and its token.
type Pair = (String, String);

struct Bench {
    world: World,
    account: AccountSid,
    child: AccountSid,
    main: Pair,
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap()
}

impl Bench {
    fn new(faults: Faults) -> Self {
        let mut world = World::new(1, faults);
        let account = world.open_account(at(0), None, None);
        let child = world.open_account(at(0), None, Some(account.clone()));
        let mut bench = Self { world, account, child, main: Pair::default() };
        bench.main = bench.by_hand(&bench.account.clone(), KeyKind::Main);
        bench
    }

    fn by_hand(&mut self, account: &AccountSid, kind: KeyKind) -> Pair {
        let new = NewKey { account: account.clone(), kind, name: Some("by hand".into()), pair: None };
        let sid = self.world.make_by_hand(at(0), new);
        (sid.to_string(), self.world.key(&sid).unwrap().secret.expose().to_owned())
    }

    fn token(&self, account: &AccountSid) -> Pair {
        let found = self.world.accounts().find(|found| found.sid == *account).unwrap();
        (account.to_string(), found.token.expose().to_owned())
    }

    fn call(&self, pair: &Pair, account: &AccountSid, request: Request) -> Call {
        let credentials = Credentials { user: pair.0.clone(), secret: Secret::new(pair.1.clone()) };
        let (credentials, region) = (Some(credentials), Region::us1());
        Call { credentials, account: Some(account.to_string()), region, request, wire: None }
    }

    fn reply(&mut self, ms: i64, call: Call) -> Reply {
        let ticket = self.world.arrive(at(ms), &call);
        let reply = self.world.perform(at(ms), &ticket, call);
        self.world.depart(&ticket);
        reply
    }

    fn ask(&mut self, ms: i64, pair: &Pair, account: &AccountSid, request: Request) -> Result<Answer, Refusal> {
        let call = self.call(pair, account, request);
        self.reply(ms, call).answer
    }

    /// As the Main key of the account, in the account.
    fn own(&mut self, ms: i64, request: Request) -> Result<Answer, Refusal> {
        self.ask(ms, &self.main.clone(), &self.account.clone(), request)
    }

    fn create(&mut self, ms: i64, name: &str) -> Result<(KeyView, Pair), Refusal> {
        let Answer::Created(key, secret) =
            self.own(ms, Request::CreateKey { name: Some(name.into()), policy: None })?
        else {
            panic!("a create answers with a new key");
        };
        let pair = (key.sid.to_string(), secret.expose().to_owned());
        Ok((key, pair))
    }

    fn listed(&mut self, ms: i64) -> Vec<String> {
        let Ok(Answer::Keys(page)) = self.own(ms, Request::ListKeys(Paging::default())) else {
            panic!("a list answers with keys");
        };
        page.rows.into_iter().filter_map(|key| key.name).collect()
    }

    fn works(&mut self, ms: i64, pair: &Pair) -> bool {
        self.ask(ms, pair, &self.account.clone(), Request::ListMessages(Paging::default())).is_ok()
    }

    fn next(&mut self, operation: Operation, fault: Fault) {
        self.world.script.add([Line::next(operation, fault)]);
    }
}

fn kind() -> Faults {
    Faults::default()
}

fn edges(share: f64) -> Faults {
    Faults { key_delay_ms: 1_000, delete_delay_ms: 1_000, edges: Rate::new(share).unwrap(), ..kind() }
}

fn delete(sid: &KeySid) -> Request {
    Request::DeleteKey { sid: sid.to_string() }
}

fn fetch(sid: &KeySid) -> Request {
    Request::FetchKey { sid: sid.to_string() }
}

#[test]
fn a_new_key_works_when_its_delay_is_over_and_not_before() {
    let mut bench = Bench::new(edges(0.0));
    let (_, pair) = bench.create(0, "new").unwrap();
    assert!(!bench.works(0, &pair));
    assert!(!bench.works(999, &pair));
    assert!(bench.works(1_000, &pair));
}

#[test]
fn a_deleted_key_works_until_its_delay_is_over_and_not_after() {
    let mut bench = Bench::new(edges(0.0));
    let (key, pair) = bench.create(0, "old").unwrap();
    assert!(bench.own(5_000, delete(&key.sid)).is_ok());
    assert!(bench.works(5_999, &pair));
    assert!(!bench.works(6_000, &pair));
    assert_eq!(bench.own(5_001, fetch(&key.sid)).err(), Some(Refusal::NotFound), "what is gone is gone at once");
}

#[test]
fn edges_disagree_about_a_new_and_a_deleted_key_until_the_delay_is_over() {
    let mut bench = Bench::new(edges(0.5));
    let (key, pair) = bench.create(0, "new").unwrap();
    let seen: BTreeSet<bool> = (0..50).map(|ms| bench.works(ms, &pair)).collect();
    assert_eq!(seen.len(), 2);
    assert!((1_000..1_050).all(|ms| bench.works(ms, &pair)));
    assert!(bench.own(2_000, delete(&key.sid)).is_ok());
    let seen: BTreeSet<bool> = (2_000..2_050).map(|ms| bench.works(ms, &pair)).collect();
    assert_eq!(seen.len(), 2);
    assert!((3_000..3_050).all(|ms| !bench.works(ms, &pair)));
}

#[test]
fn a_key_made_by_hand_works_at_once() {
    let mut bench = Bench::new(edges(0.0));
    let pair = bench.by_hand(&bench.account.clone(), KeyKind::Standard);
    assert!(bench.works(0, &pair));
}

#[test]
fn the_last_key_within_the_quota_is_made_and_the_next_one_is_not() {
    let mut bench = Bench::new(Faults { key_quota: Some(2), ..kind() });
    let (key, _) = bench.create(0, "second").unwrap();
    assert_eq!(bench.create(0, "third").err(), Some(Refusal::Quota));
    assert!(bench.own(0, delete(&key.sid)).is_ok());
    assert!(bench.create(0, "third").is_ok());
}

#[test]
fn names_have_at_most_64_characters() {
    let mut bench = Bench::new(kind());
    let (key, _) = bench.create(0, &"é".repeat(64)).unwrap();
    assert_eq!(bench.create(0, &"e".repeat(65)).err(), Some(Refusal::Constraint));
    let rename = Request::UpdateKey { sid: key.sid.to_string(), name: Some("e".repeat(65)), policy: None };
    assert_eq!(bench.own(0, rename).err(), Some(Refusal::Constraint));
}

#[test]
fn a_call_over_the_concurrency_limit_is_turned_away_and_a_free_place_is_used_again() {
    let mut bench = Bench::new(Faults { concurrency: Some(1), ..kind() });
    let (main, account) = (bench.main.clone(), bench.account.clone());
    let call = |bench: &Bench| bench.call(&main, &account, Request::CreateKey { name: None, policy: None });
    let first = bench.world.arrive(at(0), &call(&bench));
    let second = bench.reply(0, call(&bench));
    assert_eq!((first.concurrent, second.answer.err()), (1, Some(Refusal::TooManyRequests)));
    assert!(bench.world.perform(at(0), &first, call(&bench)).answer.is_ok());
    bench.world.depart(&first);
    assert!(bench.reply(0, call(&bench)).answer.is_ok());
    assert_eq!(bench.world.audit().count(Operation::CreateKey, 201), 2);
}

#[test]
fn one_departure_frees_one_place() {
    let mut bench = Bench::new(kind());
    let call = bench.call(&bench.main, &bench.account, Request::FetchAccount);
    let tickets = [0; 3].map(|_| bench.world.arrive(at(0), &call));
    assert_eq!(tickets.each_ref().map(|ticket| ticket.concurrent), [1, 2, 3]);
    bench.world.depart(&tickets[0]);
    assert_eq!(bench.world.arrive(at(0), &call).concurrent, 3);
}

#[test]
fn a_create_delivered_late_makes_its_key_then_and_not_before() {
    let mut bench = Bench::new(kind());
    bench.next(Operation::CreateKey, Fault::Late { ms: 500 });
    let request = Request::CreateKey { name: Some("late".into()), policy: None };
    let call = bench.call(&bench.main, &bench.account, request);
    assert_eq!(bench.reply(100, call).delivery, Delivery::Lost);
    assert_eq!(bench.listed(599), ["by hand"]);
    assert_eq!(bench.listed(600), ["late", "by hand"]);
    let late = bench.world.keys().find(|key| key.name.as_deref() == Some("late")).unwrap();
    assert_eq!((late.made_at, late.made_by.as_str()), (at(600), bench.main.0.as_str()));
}

#[test]
fn requests_delivered_late_at_the_same_time_are_all_delivered() {
    let mut bench = Bench::new(kind());
    for (sent, ms) in [(0, 10), (0, 5), (0, 5), (5, 5)] {
        bench.next(Operation::CreateKey, Fault::Late { ms });
        assert!(bench.create(sent, "late").is_err());
    }
    assert_eq!(bench.world.on_its_way().count(), 2);
    assert_eq!(bench.listed(10).len(), 5);
}

#[test]
fn a_lagging_list_misses_the_newest_key_and_still_has_the_one_just_deleted() {
    let mut bench = Bench::new(Faults { list_lag_ms: 1_000, ..kind() });
    let (key, _) = bench.create(5_000, "new").unwrap();
    assert_eq!(bench.listed(5_999), ["by hand"]);
    assert!(bench.own(5_000, fetch(&key.sid)).is_ok(), "a fetch is a fact, only lists are hints");
    assert_eq!(bench.listed(6_000), ["new", "by hand"]);
    assert!(bench.own(7_000, delete(&key.sid)).is_ok());
    assert_eq!(bench.listed(7_999), ["new", "by hand"]);
    assert_eq!(bench.listed(8_000), ["by hand"]);
}

#[test]
fn lists_show_the_last_updated_key_first_and_within_a_second_the_last_made() {
    let mut bench = Bench::new(kind());
    let (first, _) = bench.create(2_000, "first").unwrap();
    let (second, _) = bench.create(3_000, "second").unwrap();
    bench.create(3_999, "third").unwrap();
    assert_eq!(bench.listed(4_000), ["third", "second", "first", "by hand"]);
    for (ms, key) in [(4_000, &second), (4_999, &first)] {
        let touch = Request::UpdateKey { sid: key.sid.to_string(), name: None, policy: None };
        assert!(bench.own(ms, touch).is_ok());
    }
    assert_eq!(bench.listed(5_000), ["second", "first", "third", "by hand"]);
}

#[test]
fn dates_follow_twilios_clock_and_delays_the_true_one() {
    let mut bench = Bench::new(Faults { clock_offset_ms: -3_600_000, ..edges(0.0) });
    let (key, pair) = bench.create(0, "new").unwrap();
    assert_eq!(key.created, at(-3_600_000));
    assert!(!bench.works(999, &pair) && bench.works(1_000, &pair));
}

#[test]
fn a_request_delivered_twice_makes_twins() {
    let mut bench = Bench::new(kind());
    bench.next(Operation::CreateKey, Fault::Twice);
    let (key, _) = bench.create(0, "twin").unwrap();
    assert_eq!(bench.listed(0), ["twin", "twin", "by hand"]);
    bench.next(Operation::DeleteKey, Fault::Twice);
    assert!(bench.own(0, delete(&key.sid)).is_ok(), "the answer is that to the first");
    assert_eq!(bench.world.audit().count(Operation::DeleteKey, 404), 1);
}

#[test]
fn an_error_after_the_work_leaves_a_key_and_an_error_before_it_none() {
    let mut bench = Bench::new(kind());
    for (fault, keys) in [
        (Fault::ErrorBefore { status: ErrorStatus::INTERNAL }, 1),
        (Fault::RateLimited, 1),
        (Fault::Refused, 1),
        (Fault::ErrorAfter { status: ErrorStatus::INTERNAL }, 2),
        (Fault::Lost, 3),
        (Fault::Pass, 4),
    ] {
        bench.next(Operation::CreateKey, fault);
        let call = bench.call(&bench.main, &bench.account, Request::CreateKey { name: Some("x".into()), policy: None });
        let reply = bench.reply(0, call);
        assert_eq!(reply.delivery == Delivery::Lost, fault == Fault::Lost, "{fault:?}");
        assert_eq!(bench.listed(0).len(), keys, "{fault:?}");
    }
}

#[test]
fn latency_and_a_slow_start_add_up() {
    let mut bench = Bench::new(Faults { latency_ms: Latency::Between(10, 20), ..kind() });
    let call = bench.call(&bench.main, &bench.account, Request::FetchAccount);
    assert!((10..=20).contains(&bench.world.arrive(at(0), &call).latency.as_millis()));
    bench.next(Operation::FetchAccount, Fault::SlowStart { ms: 100 });
    assert!((110..=120).contains(&bench.world.arrive(at(0), &call).latency.as_millis()));
}

#[test]
fn keys_of_other_accounts_do_not_exist_and_other_sids_are_wrong() {
    let mut bench = Bench::new(kind());
    let (child, account) = (bench.child.clone(), bench.account.clone());
    let (foreign, _) = bench.by_hand(&child, KeyKind::Standard);
    assert_eq!(bench.own(0, Request::DeleteKey { sid: foreign }).err(), Some(Refusal::NotFound));
    assert_eq!(bench.own(0, Request::FetchKey { sid: account.to_string() }).err(), Some(Refusal::WrongSid));
    let (key, _) = bench.create(0, "mine").unwrap();
    assert!(bench.own(0, delete(&key.sid)).is_ok());
    assert_eq!(bench.own(0, delete(&key.sid)).err(), Some(Refusal::NotFound), "a second delete");
}

#[test]
fn the_audit_tells_why_each_pair_was_refused_and_never_repeats_a_misplaced_secret() {
    let mut bench = Bench::new(edges(0.0));
    let (key, pair) = bench.create(0, "new").unwrap();
    bench.works(10, &pair);
    bench.works(2_000, &pair);
    bench.works(2_000, &(pair.0.clone(), "wrong".into()));
    bench.works(2_000, &(pair.1.clone(), pair.0.clone()));
    bench.works(2_000, &(format!("SK{}", "0".repeat(32)), pair.1.clone()));
    assert!(bench.own(3_000, delete(&key.sid)).is_ok());
    bench.works(4_000, &pair);
    let probes = bench.world.audit().entries().filter(|entry| entry.operation == Operation::ListMessages);
    let seen: Vec<_> = probes.map(|entry| (entry.denied, entry.user.is_some())).collect();
    let denied = |denial| (Some(denial), true);
    let expected = [
        denied(Denial::TooNew),
        (None, true),
        denied(Denial::WrongSecret),
        (Some(Denial::Malformed), false),
        denied(Denial::Unknown),
        denied(Denial::Deleted),
    ];
    assert_eq!(seen, expected);
    assert_eq!(bench.world.audit().dead_pairs().count(), 4);
    assert!(!serde_json::to_string(&bench.world.audit().entries().collect::<Vec<_>>()).unwrap().contains(&pair.1));
}

#[test]
fn a_life_is_recorded_from_birth_to_death() {
    let mut bench = Bench::new(kind());
    let (key, _) = bench.create(1_000, "mine").unwrap();
    assert!(bench.world.delete_by_hand(at(2_000), &key.sid));
    assert!(!bench.world.delete_by_hand(at(3_000), &key.sid), "nothing dies twice");
    let record = bench.world.key(&key.sid).unwrap();
    let end = record.deleted.as_ref().unwrap();
    assert_eq!((record.made_at, record.made_by.as_str()), (at(1_000), bench.main.0.as_str()));
    assert_eq!((end.at, end.by.as_str()), (at(2_000), "console"));
}

#[test]
fn the_same_seed_and_the_same_calls_give_the_same_world() {
    let run = || {
        let random = vec![Random { fault: Fault::Lost, rate: Rate::new(0.3).unwrap(), operation: None }];
        let mut bench = Bench::new(Faults { random, ..edges(0.5) });
        let made: Vec<_> = (0..20).map(|ms| bench.create(ms, "x").ok().map(|(_, pair)| pair)).collect();
        (made, serde_json::to_string(&bench.world.audit().entries().collect::<Vec<_>>()).unwrap())
    };
    assert_eq!(run(), run());
}

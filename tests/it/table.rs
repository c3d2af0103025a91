//! The transition table of the program: every phase and every event, as `ARCHITECTURE.md` shows it.

use jiff::Timestamp;
use rekeyd::model::apply::apply;
use rekeyd::model::document::Members;
use rekeyd::model::event::{Entry, Event, Evidence, Intent};
use rekeyd::model::fault::{Failure, Fault};
use rekeyd::model::home::Home;
use rekeyd::model::key::{AccountSid, AttemptId, KeySid};
use rekeyd::model::names::{Place, SinkName, Version};
use rekeyd::model::reason::{Cause, Halt, Reason, StepName};
use rekeyd::model::rotation::State;
use rekeyd::model::time::{Moment, Uptime};
use rekeyd::model::workload::{Before, Workload, WorkloadKind};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

fn sid(n: u32) -> KeySid {
    KeySid::new(&format!("SK{n:032x}")).unwrap()
}

fn attempt(n: u128) -> AttemptId {
    AttemptId(Uuid::from_u128(n))
}

fn place() -> Place {
    Place::new(SinkName::new("vault").unwrap(), "billing")
}

fn version(n: u32) -> Version {
    Version(n.to_string())
}

fn versions(n: u32) -> BTreeMap<Place, Version> {
    BTreeMap::from([(place(), version(n))])
}

fn entry(event: Event) -> Entry {
    let at = Moment { wall: Timestamp::UNIX_EPOCH, uptime: Uptime(1000), twilio: None };
    Entry { seq: 1, at, event }
}

fn after(state: State, events: impl IntoIterator<Item = Event>) -> State {
    events.into_iter().fold(state, |state, event| apply(state, &entry(event)).unwrap())
}

fn intended(n: u128) -> Event {
    Event::Intended(Box::new(Intent {
        home: Home::us1(AccountSid::new(&format!("AC{:032x}", 1)).unwrap()),
        attempt: attempt(n),
        reason: Reason::Aged,
        bases: versions(n as u32),
        members: Members::default(),
        grace: Duration::from_secs(3600),
        permissions: None,
        key_pair: false,
        auth_token: false,
    }))
}

fn workload() -> Workload {
    Workload { sink: place().sink, kind: WorkloadKind::Deployment, name: "api".into() }
}

fn restarting() -> Event {
    Event::Restarting {
        attempt: attempt(2),
        workloads: BTreeMap::from([(workload(), Before { number: 0, drain: Duration::ZERO })]),
    }
}

/// The events of a whole rotation from key n - 1 to key n, in order.
fn rotation(n: u32) -> Vec<Event> {
    let evidence = Evidence { places: BTreeMap::new(), proven: 1, spent: 0 };
    vec![
        intended(n.into()),
        Event::Created { sid: sid(n), created_at: Timestamp::UNIX_EPOCH },
        Event::Verified { successes: 3, refusals: 0 },
        Event::Publishing { place: place(), base: version(n) },
        Event::Written { place: place(), version: version(n + 1) },
        Event::Published { versions: versions(n + 1) },
        Event::Condemned { sid: sid(n - 1), evidence },
        Event::Revoked { sid: sid(n - 1) },
        Event::Completed,
    ]
}

/// The states in which a credential can be, each reached by events alone.
fn states() -> Vec<(&'static str, State)> {
    let first: Vec<Event> = rotation(1).into_iter().filter(|e| !matches!(e.word(), "condemned" | "revoked")).collect();
    let serving = after(State::default(), first);
    let upto = |count: usize| after(serving.clone(), rotation(2).into_iter().take(count));
    let abandoned = Event::Abandoned { sid: sid(2), cause: Cause::SecretLost };
    let fencing = Event::Fencing { attempt: attempt(2), versions: versions(2) };
    let halted = Event::Halted { halt: Halt::Drift, detail: "seen".into() };
    let overwrite = Event::Resumed { by: "ada".into(), overwrite: true, forget: BTreeSet::new() };
    let failure = Failure { fault: Fault::Timeout, detail: "no answer".into() };
    let restarting = after(upto(5), [Event::Served { versions: versions(3) }, restarting()]);
    vec![
        ("new", State::default()),
        ("serving", serving.clone()),
        ("issuing", upto(1)),
        ("verifying", upto(2)),
        ("publishing", upto(4)),
        ("confirming", upto(5)),
        ("restarting", restarting),
        ("grace", upto(6)),
        ("revoking", upto(7)),
        ("revoked", upto(8)),
        ("abandoning", after(upto(4), [abandoned, fencing])),
        ("halted", after(serving.clone(), [halted.clone()])),
        ("overwriting", after(upto(4), [halted, overwrite])),
        ("failing", after(serving, [Event::Failed { step: StepName::Look, failure }])),
    ]
}

/// One of each event, as it would come in a second rotation.
fn events() -> Vec<Event> {
    let failure = Failure { fault: Fault::Timeout, detail: "no answer".into() };
    let home = Home::us1(AccountSid::new(&format!("AC{:032x}", 1)).unwrap());
    let mut events = vec![
        Event::Adopted { home, sid: sid(9), created_at: Some(Timestamp::UNIX_EPOCH) },
        Event::Requested { by: "ada".into() },
    ];
    events.extend(rotation(2));
    events.extend([
        Event::CreateRefused { failure: failure.clone() },
        Event::Unsettled,
        Event::Ambiguous { sids: vec![sid(2), sid(3)] },
        Event::Rebased { place: place(), base: version(9) },
        Event::Served { versions: versions(3) },
        restarting(),
        Event::Restarted { workload: workload() },
        Event::RolledOut { workload: workload(), drain: Duration::from_secs(30) },
        Event::Widened { bases: BTreeMap::from([(Place::new(place().sink, "more"), version(0))]) },
        Event::Abandoned { sid: sid(2), cause: Cause::SecretLost },
        Event::Found { attempt: attempt(7), sid: sid(7) },
        Event::Fencing { attempt: attempt(2), versions: versions(2) },
        Event::Fenced { attempt: attempt(2), place: place(), from: version(2), to: version(3) },
        Event::Revived { attempt: attempt(2) },
        Event::Condemned { sid: sid(2), evidence: Evidence { places: BTreeMap::new(), proven: 0, spent: 0 } },
        Event::Removed { sid: sid(2) },
        Event::Missing { sid: sid(1) },
        Event::Failed { step: StepName::Look, failure },
        Event::Recovered,
        Event::Halted { halt: Halt::Drift, detail: "seen".into() },
        Event::Resumed { by: "ada".into(), overwrite: false, forget: BTreeSet::new() },
    ]);
    events
}

/// The table as text: a row per event, a column per state; `-` where the event is refused.
pub fn table() -> String {
    let states = states();
    let mut text = format!("{:<15}", "");
    states.iter().for_each(|(name, _)| text += &format!("{name:<12}"));
    for event in events() {
        text = text.trim_end().to_owned() + &format!("\n{:<15}", event.word());
        for (_, state) in &states {
            let next = apply(state.clone(), &entry(event.clone()));
            text += &format!("{:<12}", next.as_ref().map_or("-", State::word));
        }
    }
    text.trim_end().to_owned() + "\n"
}

#[test]
fn every_state_is_what_it_is_called() {
    let word = |name| match name {
        // After the last predecessor is gone, a rotation is still in grace until it is completed.
        "revoked" => "grace",
        // An operator allowed it to replace what the sinks hold.
        "overwriting" => "publishing",
        // The last step at rest failed.
        "failing" => "serving",
        name => name,
    };
    for (name, state) in states() {
        assert_eq!(state.word(), word(name));
    }
    let words: BTreeSet<_> = states().iter().map(|(name, _)| word(name)).collect();
    assert_eq!(words, State::WORDS.into_iter().collect());
}

#[test]
fn every_event_meets_every_state() {
    let table = table();
    for line in table.lines().skip(1) {
        assert!(line.split_whitespace().skip(1).any(|state| state != "-"), "nothing shows where this fits: {line}");
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_refused_event_changes_nothing_and_says_what_did_not_fit() {
    let misfit = apply(State::default(), &entry(Event::Completed)).unwrap_err();
    assert_eq!(misfit.to_string(), "the event `completed` cannot follow on a credential that is new");
}

#[test]
fn the_current_key_can_never_be_condemned() {
    for (name, state) in states() {
        let Some(current) = state.current.as_ref().map(|current| current.sid.clone()) else { continue };
        let evidence = Evidence { places: BTreeMap::new(), proven: 1, spent: 0 };
        assert!(apply(state, &entry(Event::Condemned { sid: current, evidence })).is_err(), "{name}");
    }
}

#[test]
fn the_journal_form_of_every_event_and_state_can_be_read_back() {
    for event in events() {
        let text = serde_json::to_string(&entry(event.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry(event));
    }
    for (_, state) in states() {
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    }
}

#[test]
fn an_event_of_another_version_is_refused() {
    let text = serde_json::to_string(&entry(Event::Completed)).unwrap().replace("completed", "blessed");
    assert!(serde_json::from_str::<Entry>(&text).is_err());
}

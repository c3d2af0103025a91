//! What a journal holds, changed at random: what is read says the same when it is written again, `apply` takes it or
//! refuses it without a panic, and a history in which anything was changed is noticed.

use super::planner::{World, life};
use super::{JSON, altered, play};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rekeyd::adapters::journal::index::{link, notes, unbroken};
use rekeyd::model::apply::apply;
use rekeyd::model::event::Entry;
use rekeyd::model::rotation::State;

/// Entries and states as real lives leave them, as text.
fn lived() -> (Vec<String>, Vec<String>) {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut entries, mut states) = (Vec::new(), Vec::new());
    for _ in 0..30 {
        let mut world = World::new();
        for happening in life().new_tree(&mut runner).unwrap().current() {
            world.happen(happening);
            states.push(serde_json::to_string(&world.state).unwrap());
        }
        entries.extend(world.entries.iter().map(|entry| serde_json::to_string(entry).unwrap()));
    }
    states.dedup();
    (entries, states)
}

#[test]
fn what_the_journal_reads_it_would_write_again_and_apply_never_panics() {
    let (entries, states) = lived();
    assert!(entries.len() > 100 && states.len() > 100);
    let change = || prop::collection::vec((any::<Index>(), select(vec![0_usize, 0, 1, 1, 3, 20]), select(JSON)), 0..3);
    let values = (select(entries), change(), select(states), change());
    play("journal bytes", &values, |(entry, entry_changes, state, state_changes)| {
        let (entry, state) = (altered(&entry, &entry_changes), altered(&state, &state_changes));
        let (entry, state): (Result<Entry, _>, Result<State, _>) =
            (serde_json::from_str(&entry), serde_json::from_str(&state));
        if let Ok(entry) = &entry {
            let again = serde_json::to_string(entry).unwrap();
            assert_eq!(&serde_json::from_str::<Entry>(&again).unwrap(), entry, "{again}");
        }
        let Ok(state) = state else { return };
        let again = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&again).unwrap(), state, "{again}");
        let Ok(entry) = entry else { return };
        notes(&state, &entry);
        let before = state.clone();
        if let Ok(after) = apply(state, &entry) {
            let text = serde_json::to_string(&after).unwrap();
            assert_eq!(serde_json::from_str::<State>(&text).unwrap(), after, "{text}");
            let current = before.current.map(|current| current.sid);
            let condemned = after.rotation.as_ref().and_then(|rotation| rotation.condemned.clone());
            let fresh = condemned.filter(|_| {
                entry.event.word() == "condemned" && before.rotation.is_some_and(|r| r.condemned.is_none())
            });
            assert!(fresh.is_none() || fresh != current, "the current key is condemned: {text}");
        }
    });
}

#[test]
fn every_state_that_a_life_reaches_is_read_back_from_the_journal_as_it_was() {
    play("journal states", &life(), |happenings| {
        let mut world = World::new();
        for happening in happenings {
            world.happen(happening);
            let text = serde_json::to_string(&world.state).unwrap();
            assert_eq!(serde_json::from_str::<State>(&text).unwrap(), world.state, "{text}");
        }
    });
}

/// One way to tamper with a history: which, where, and with what.
type Tampering = (u8, Index, Index, u8);

fn tampered(history: &mut Vec<(String, Vec<u8>)>, (kind, one, two, byte): Tampering) {
    let (at, other) = (one.index(history.len()), two.index(history.len()));
    match kind % 6 {
        0 => _ = history.remove(at),
        1 => history.swap(at, other),
        2 => history.truncate(at),
        3 => history.insert(other, history[at].clone()),
        4 => {
            let place = two.index(history[at].1.len());
            history[at].1[place] ^= byte | 1;
        }
        // Another text that says the same is another text.
        _ => {
            let body = &mut history[at].0;
            let place = two.index(body.len() + 1);
            if body.is_char_boundary(place) {
                body.insert(place, if byte % 2 == 0 { ' ' } else { char::from(b'0' + byte % 10) });
            }
        }
    }
}

#[test]
fn a_history_in_which_anything_was_changed_is_noticed() {
    let tampering = (any::<u8>(), any::<Index>(), any::<Index>(), any::<u8>());
    play("journal chain", &(life(), tampering), |(happenings, tampering)| {
        let mut world = World::new();
        happenings.into_iter().for_each(|happening| world.happen(happening));
        let mut chain = Vec::new();
        let history: Vec<(String, Vec<u8>)> = world
            .entries
            .iter()
            .map(|entry| {
                let body = serde_json::to_string(entry).unwrap();
                chain = link(&chain, &body);
                (body, chain.clone())
            })
            .collect();
        let last = (history.len() as u64, chain.as_slice());
        assert_eq!(unbroken(&history, last).as_ref(), Some(&world.entries), "an honest history is refused");
        if history.is_empty() {
            return;
        }
        let mut forged = history.clone();
        tampered(&mut forged, tampering);
        assert!(forged == history || unbroken(&forged, last).is_none(), "{tampering:?} was not noticed");
    });
}

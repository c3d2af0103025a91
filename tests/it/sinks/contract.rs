//! The cases that every sink passes. Each is written once and runs against every sink, as a test of its own.

use super::{at, attempt, conflict, fence, fresh_place, look, pair, publish, put_pair, serves, sid, version};
use async_trait::async_trait;
use rekeyd::model::document::{Content, Members, Names, Pair};
use rekeyd::model::fault::Outcome;
use rekeyd::model::key::AttemptId;
use rekeyd::model::secret::Secret;
use rekeyd::ports::{Sink, Written};
use serde_json::value::RawValue;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

/// A sink under test, and the hand of a person who uses the same store without it.
pub(crate) struct Bench {
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) hand: Box<dyn Hand>,
    /// What must live as long.
    pub(crate) _keep: Box<dyn Any>,
}

/// A person.
#[async_trait]
pub(crate) trait Hand {
    /// Writes a JSON object, whatever is there.
    async fn put(&self, path: &str, text: &str);
    /// What is there, to the byte.
    async fn text(&self, path: &str) -> Option<String>;
    /// Removes what is there.
    async fn remove(&self, path: &str);
}

/// Makes a test of every case, against a bench that the expression builds.
macro_rules! contract {
    ($bench:expr) => {
        contract! { @cases $bench;
            a_place_that_was_never_written_is_absent
            an_empty_object_is_blank
            a_pair_written_by_hand_has_no_stamp
            an_object_without_a_key_is_foreign
            a_first_publish_is_read_back
            a_publish_over_a_blank_place_is_read_back
            a_publish_replaces_the_version_that_was_read
            a_publish_over_another_version_is_a_conflict_and_writes_nothing
            a_publish_to_a_place_that_is_no_longer_absent_is_a_conflict
            a_publish_to_a_place_that_was_removed_is_a_conflict
            of_publishes_over_one_version_only_one_succeeds
            the_same_publish_twice_ends_with_the_pair_served
            members_that_people_added_stay_to_the_byte
            renamed_members_leave_no_old_pair_behind
            a_fence_changes_the_version_and_keeps_the_pair
            a_fence_keeps_foreign_content_to_the_byte
            a_fence_over_an_absent_place_reserves_it
            a_fence_over_a_blank_place_leaves_it_blank
            a_fence_over_another_version_is_a_conflict_and_writes_nothing
            a_fence_drawn_twice_fails_the_second_time_and_changes_nothing_more
            one_attempt_can_be_fenced_off_again_and_again
            a_publish_delayed_past_a_fence_fails
            a_first_publish_delayed_past_a_fence_fails
            a_fenced_place_takes_the_next_publish
            no_version_comes_back
        }
    };
    (@cases $bench:expr; $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                crate::sinks::contract::$case($bench).await;
            }
        )*
    };
}

pub(crate) async fn a_place_that_was_never_written_is_absent(bench: Bench) {
    let reading = look(&*bench.sink, &fresh_place()).await;
    assert_eq!(reading.seen.content, Content::Absent);
    assert!(reading.secret.is_none() && reading.staged.is_none() && !reading.seen.staged);
}

pub(crate) async fn an_empty_object_is_blank(bench: Bench) {
    let place = fresh_place();
    let before = version(&*bench.sink, &place).await;
    bench.hand.put(&place.path, "{}").await;
    let reading = look(&*bench.sink, &place).await;
    assert_eq!(reading.seen.content, Content::Blank);
    assert_ne!(reading.seen.version, before);
}

pub(crate) async fn a_pair_written_by_hand_has_no_stamp(bench: Bench) {
    let place = fresh_place();
    bench.hand.put(&place.path, &by_hand(7)).await;
    let reading = look(&*bench.sink, &place).await;
    assert_eq!(reading.seen.content, Content::Pair { sid: sid(7), stamp: None });
    assert_eq!(reading.secret.as_ref().map(Secret::expose), Some("by hand"));
}

pub(crate) async fn an_object_without_a_key_is_foreign(bench: Bench) {
    let place = fresh_place();
    bench.hand.put(&place.path, r#"{"user":"admin","password":"x"}"#).await;
    let reading = look(&*bench.sink, &place).await;
    assert_eq!(reading.seen.content, Content::Foreign);
    assert!(reading.secret.is_none());
}

pub(crate) async fn a_first_publish_is_read_back(bench: Bench) {
    let (place, pair) = (fresh_place(), pair(1));
    let written = put_pair(&*bench.sink, &place, &pair).await;
    let reading = look(&*bench.sink, &place).await;
    serves(&reading, &pair);
    assert_eq!(reading.seen.version, written);
}

pub(crate) async fn a_publish_over_a_blank_place_is_read_back(bench: Bench) {
    let (place, pair) = (fresh_place(), pair(1));
    bench.hand.put(&place.path, "{}").await;
    let written = put_pair(&*bench.sink, &place, &pair).await;
    let reading = look(&*bench.sink, &place).await;
    serves(&reading, &pair);
    assert_eq!(reading.seen.version, written);
}

pub(crate) async fn a_publish_replaces_the_version_that_was_read(bench: Bench) {
    let (place, second) = (fresh_place(), pair(2));
    let first = put_pair(&*bench.sink, &place, &pair(1)).await;
    let written = at(publish(&*bench.sink, &place, &second, &first).await);
    assert_ne!(written, first);
    serves(&look(&*bench.sink, &place).await, &second);
}

pub(crate) async fn a_publish_over_another_version_is_a_conflict_and_writes_nothing(bench: Bench) {
    let place = fresh_place();
    let base = put_pair(&*bench.sink, &place, &pair(1)).await;
    bench.hand.put(&place.path, &by_hand(7)).await;
    let before = (version(&*bench.sink, &place).await, bench.hand.text(&place.path).await);
    conflict(publish(&*bench.sink, &place, &pair(2), &base).await);
    assert_eq!((version(&*bench.sink, &place).await, bench.hand.text(&place.path).await), before);
}

pub(crate) async fn a_publish_to_a_place_that_is_no_longer_absent_is_a_conflict(bench: Bench) {
    let place = fresh_place();
    let base = version(&*bench.sink, &place).await;
    bench.hand.put(&place.path, &by_hand(7)).await;
    conflict(publish(&*bench.sink, &place, &pair(2), &base).await);
    assert_eq!(look(&*bench.sink, &place).await.seen.content.sid(), Some(&sid(7)));
}

pub(crate) async fn a_publish_to_a_place_that_was_removed_is_a_conflict(bench: Bench) {
    let place = fresh_place();
    let base = put_pair(&*bench.sink, &place, &pair(1)).await;
    bench.hand.remove(&place.path).await;
    conflict(publish(&*bench.sink, &place, &pair(2), &base).await);
    assert_eq!(look(&*bench.sink, &place).await.seen.content, Content::Absent);
}

pub(crate) async fn of_publishes_over_one_version_only_one_succeeds(bench: Bench) {
    let place = fresh_place();
    let base = put_pair(&*bench.sink, &place, &pair(1)).await;
    let pairs: Vec<Pair> = (2..6).map(pair).collect();
    let writes = pairs.iter().map(|pair| publish(&*bench.sink, &place, pair, &base));
    let outcomes = futures_util::future::join_all(writes).await;
    let won = |outcome: &Outcome<Written>| match outcome {
        Outcome::Done(Written::At(_)) => true,
        Outcome::Done(Written::Conflict) => false,
        other => panic!("{other:?}"),
    };
    let winners: Vec<&Pair> = pairs.iter().zip(&outcomes).filter(|(_, outcome)| won(outcome)).map(|(p, _)| p).collect();
    let [winner] = winners[..] else { panic!("{} writes succeeded over one version", winners.len()) };
    serves(&look(&*bench.sink, &place).await, winner);
}

pub(crate) async fn the_same_publish_twice_ends_with_the_pair_served(bench: Bench) {
    let (place, pair) = (fresh_place(), pair(1));
    let base = version(&*bench.sink, &place).await;
    let written = at(publish(&*bench.sink, &place, &pair, &base).await);
    match publish(&*bench.sink, &place, &pair, &base).await {
        Outcome::Done(Written::Conflict) => {}
        other => assert_eq!(at(other), written),
    }
    let reading = look(&*bench.sink, &place).await;
    serves(&reading, &pair);
    assert_eq!(reading.seen.version, written);
}

pub(crate) async fn members_that_people_added_stay_to_the_byte(bench: Bench) {
    let (place, pair) = (fresh_place(), pair(1));
    let theirs =
        r#"{"huge":123456789012345678901234567890,"nested":{"a": [1.10, null, "ü"]},"none":null,"ratio":1.10}"#;
    bench.hand.put(&place.path, theirs).await;
    let before = bench.hand.text(&place.path).await.unwrap();
    put_pair(&*bench.sink, &place, &pair).await;
    serves(&look(&*bench.sink, &place).await, &pair);
    let after = bench.hand.text(&place.path).await.unwrap();
    let (before, after) = (members(&before), members(&after));
    assert_eq!(before.len(), 4);
    for (name, value) in before {
        assert_eq!(after.get(name).map(|value| value.get()), Some(value.get()), "{name}");
    }
}

pub(crate) async fn renamed_members_leave_no_old_pair_behind(bench: Bench) {
    let (place, old, new) = (fresh_place(), pair(1), pair(2));
    let base = put_pair(&*bench.sink, &place, &old).await;
    let now = Members {
        account_sid: "TWILIO_ACCOUNT_SID".into(),
        api_key_sid: "TWILIO_API_KEY".into(),
        api_key_secret: "TWILIO_API_SECRET".into(),
        ..Members::default()
    };
    let names = Names { now, before: vec![Members::default()] };
    let seen = bench.sink.read(&place, &names, None).await.answer().unwrap();
    serves(&seen, &old);
    at(bench.sink.publish(&place, &names, &new, &base).await);
    let only_new = Names { before: Vec::new(), ..names };
    serves(&bench.sink.read(&place, &only_new, None).await.answer().unwrap(), &new);
    let text = bench.hand.text(&place.path).await.unwrap();
    assert!(!text.contains("apiKey") && !text.contains(old.secret.expose()), "{text}");
}

pub(crate) async fn a_fence_changes_the_version_and_keeps_the_pair(bench: Bench) {
    let (place, pair) = (fresh_place(), pair(1));
    let base = put_pair(&*bench.sink, &place, &pair).await;
    let before = bench.hand.text(&place.path).await;
    let fenced = at(fence(&*bench.sink, &place, attempt(), &base).await);
    let reading = look(&*bench.sink, &place).await;
    serves(&reading, &pair);
    assert_eq!(reading.seen.version, fenced);
    assert_ne!(fenced, base);
    assert_eq!(bench.hand.text(&place.path).await, before);
}

pub(crate) async fn a_fence_keeps_foreign_content_to_the_byte(bench: Bench) {
    let place = fresh_place();
    bench.hand.put(&place.path, r#"{ "user":"admin",  "port": 123456789012345678901234567890, "ratio": 1.10 }"#).await;
    let before = bench.hand.text(&place.path).await;
    let base = version(&*bench.sink, &place).await;
    assert_ne!(at(fence(&*bench.sink, &place, attempt(), &base).await), base);
    assert_eq!(bench.hand.text(&place.path).await, before);
    assert_eq!(look(&*bench.sink, &place).await.seen.content, Content::Foreign);
}

pub(crate) async fn a_fence_over_an_absent_place_reserves_it(bench: Bench) {
    let (place, attempt) = (fresh_place(), attempt());
    let base = version(&*bench.sink, &place).await;
    let fenced = at(fence(&*bench.sink, &place, attempt, &base).await);
    let seen = look(&*bench.sink, &place).await.seen;
    assert_eq!((seen.content, seen.version), (Content::Blank, fenced));
    reserved(&bench, &place.path, attempt).await;
}

pub(crate) async fn a_fence_over_a_blank_place_leaves_it_blank(bench: Bench) {
    let (place, attempt) = (fresh_place(), attempt());
    bench.hand.put(&place.path, "{}").await;
    let base = version(&*bench.sink, &place).await;
    let fenced = at(fence(&*bench.sink, &place, attempt, &base).await);
    let seen = look(&*bench.sink, &place).await.seen;
    assert_eq!((seen.content, seen.version), (Content::Blank, fenced));
    reserved(&bench, &place.path, attempt).await;
}

pub(crate) async fn a_fence_over_another_version_is_a_conflict_and_writes_nothing(bench: Bench) {
    let place = fresh_place();
    let base = put_pair(&*bench.sink, &place, &pair(1)).await;
    bench.hand.put(&place.path, &by_hand(7)).await;
    let before = version(&*bench.sink, &place).await;
    conflict(fence(&*bench.sink, &place, attempt(), &base).await);
    assert_eq!(version(&*bench.sink, &place).await, before);
}

pub(crate) async fn a_fence_drawn_twice_fails_the_second_time_and_changes_nothing_more(bench: Bench) {
    let (place, pair, attempt) = (fresh_place(), pair(1), attempt());
    let base = put_pair(&*bench.sink, &place, &pair).await;
    let fenced = at(fence(&*bench.sink, &place, attempt, &base).await);
    conflict(fence(&*bench.sink, &place, attempt, &base).await);
    let reading = look(&*bench.sink, &place).await;
    serves(&reading, &pair);
    assert_eq!(reading.seen.version, fenced);
}

pub(crate) async fn one_attempt_can_be_fenced_off_again_and_again(bench: Bench) {
    let (place, pair, attempt) = (fresh_place(), pair(1), attempt());
    let mut versions = vec![version(&*bench.sink, &place).await];
    for _ in 0..2 {
        versions.push(at(fence(&*bench.sink, &place, attempt, &versions[versions.len() - 1]).await));
    }
    versions.push(put_pair(&*bench.sink, &place, &pair).await);
    for _ in 0..2 {
        versions.push(at(fence(&*bench.sink, &place, attempt, &versions[versions.len() - 1]).await));
    }
    serves(&look(&*bench.sink, &place).await, &pair);
    assert_eq!(versions.iter().collect::<BTreeSet<_>>().len(), versions.len(), "{versions:?}");
}

pub(crate) async fn a_publish_delayed_past_a_fence_fails(bench: Bench) {
    let (place, current, late) = (fresh_place(), pair(1), pair(2));
    let base = put_pair(&*bench.sink, &place, &current).await;
    at(fence(&*bench.sink, &place, late.stamp.attempt, &base).await);
    conflict(publish(&*bench.sink, &place, &late, &base).await);
    serves(&look(&*bench.sink, &place).await, &current);
}

pub(crate) async fn a_first_publish_delayed_past_a_fence_fails(bench: Bench) {
    let (place, late) = (fresh_place(), pair(2));
    let base = version(&*bench.sink, &place).await;
    at(fence(&*bench.sink, &place, late.stamp.attempt, &base).await);
    conflict(publish(&*bench.sink, &place, &late, &base).await);
    assert_eq!(look(&*bench.sink, &place).await.seen.content, Content::Blank);
}

pub(crate) async fn a_fenced_place_takes_the_next_publish(bench: Bench) {
    let (place, first, next) = (fresh_place(), pair(1), pair(2));
    let base = version(&*bench.sink, &place).await;
    let reserved = at(fence(&*bench.sink, &place, attempt(), &base).await);
    let base = at(publish(&*bench.sink, &place, &first, &reserved).await);
    let fenced = at(fence(&*bench.sink, &place, attempt(), &base).await);
    at(publish(&*bench.sink, &place, &next, &fenced).await);
    serves(&look(&*bench.sink, &place).await, &next);
    let text = bench.hand.text(&place.path).await.unwrap();
    assert!(!text.contains("reserved:"), "{text}");
}

pub(crate) async fn no_version_comes_back(bench: Bench) {
    let place = fresh_place();
    let mut versions = BTreeSet::from([version(&*bench.sink, &place).await]);
    for number in 1..=6 {
        assert!(versions.insert(put_pair(&*bench.sink, &place, &pair(number)).await), "publish {number}");
        let base = version(&*bench.sink, &place).await;
        assert!(versions.insert(at(fence(&*bench.sink, &place, attempt(), &base).await)), "fence {number}");
    }
}

/// The members of an object, each as it is written.
fn members(text: &str) -> BTreeMap<&str, &RawValue> {
    serde_json::from_str(text).unwrap()
}

fn by_hand(number: u64) -> String {
    format!(r#"{{"apiKeySid":"{}","apiKeySecret":"by hand"}}"#, sid(number))
}

/// The place says whose delayed write is kept out.
async fn reserved(bench: &Bench, path: &str, attempt: AttemptId) {
    let text = bench.hand.text(path).await.unwrap();
    assert!(text.contains(&format!("reserved:{attempt}")), "{text}");
}

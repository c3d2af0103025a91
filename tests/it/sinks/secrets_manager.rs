//! The Secrets Manager sink against the emulator: the contract, labels, what is staged, and secrets in odd states.

use super::contract::{Bench, Hand};
use super::vault_faults::answer;
use super::{
    at, attempt, conflict, fence, fresh_place, look, not_done, pair, publish, put_pair, serves, unknown, version,
};
use crate::support::emulator::{config, shared};
use crate::support::proxy::{Fate, Proxy};
use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::primitives::Blob;
use rekeyd::adapters::aws::SecretsManager;
use rekeyd::model::document::{Content, Names, Pair, Stamp};
use rekeyd::model::fault::{Fault, Outcome};
use rekeyd::model::names::{Place, Version};
use rekeyd::model::secret::Secret;
use rekeyd::ports::{Sink as _, Written};
use std::collections::{BTreeMap, BTreeSet};

/// What the promotion of a version calls itself on the wire, by which the proxy chooses it.
pub(crate) const PROMOTION: &str = "secretsmanager.UpdateSecretVersionStage";

/// A sink on the shared emulator.
pub(crate) fn sink() -> SecretsManager {
    SecretsManager::new(&config(&shared().url(), "GOOD"))
}

/// A sink whose calls of this name meet this fate on the way to the shared emulator.
pub(crate) async fn troubled(text: &'static str, fate: Fate) -> (SecretsManager, Proxy) {
    let proxy = Proxy::start(shared().port, text, fate).await;
    (SecretsManager::new(&config(&proxy.url, "GOOD")), proxy)
}

/// Another signature for one call.
fn signed_by(access_key_id: &'static str) -> aws_sdk_secretsmanager::config::Builder {
    aws_sdk_secretsmanager::config::Builder::from(&config(&shared().url(), access_key_id))
}

/// A person with the SDK.
pub(crate) fn hand() -> Client {
    Client::new(&config(&shared().url(), "GOOD"))
}

fn bench() -> Bench {
    Bench { sink: Box::new(sink()), hand: Box::new(hand()), _keep: Box::new(()) }
}

#[async_trait]
impl Hand for Client {
    async fn put(&self, path: &str, text: &str) {
        if self.put_secret_value().secret_id(path).secret_string(text).send().await.is_err() {
            self.create_secret().name(path).secret_string(text).send().await.unwrap();
        }
    }

    async fn text(&self, path: &str) -> Option<String> {
        let found = self.get_secret_value().secret_id(path).version_stage("AWSCURRENT").send().await;
        found.ok()?.secret_string
    }

    async fn remove(&self, path: &str) {
        self.delete_secret().secret_id(path).force_delete_without_recovery(true).send().await.unwrap();
    }
}

mod contract {
    contract!(super::bench());
}

/// Which labels each version has.
async fn labels(place: &Place) -> BTreeMap<String, BTreeSet<String>> {
    let secret = hand().describe_secret().secret_id(&*place.path).send().await.unwrap();
    let versions = secret.version_ids_to_stages.unwrap_or_default().into_iter();
    versions.map(|(id, labels)| (id, labels.into_iter().collect())).collect()
}

fn set<const N: usize>(labels: [&str; N]) -> BTreeSet<String> {
    labels.into_iter().map(str::to_owned).collect()
}

/// The same pair, as it is published again from a later entry of the journal.
fn later(pair: &Pair) -> Pair {
    let stamp = Stamp { seq: pair.stamp.seq + 1, ..pair.stamp.clone() };
    Pair { account: pair.account.clone(), sid: pair.sid.clone(), secret: pair.secret.duplicate(), stamp, beside: None }
}

/// What AWS's template for rotations does to the labels (aws-samples, `SecretsManagerRotationTemplate`).
async fn rotated_by_the_template() -> Place {
    let (aws, place, new) = (hand(), fresh_place(), attempt().to_string());
    let name = &*place.path;
    let old = aws.create_secret().name(name).secret_string("1").send().await.unwrap().version_id.unwrap();
    aws.rotate_secret().secret_id(name).client_request_token(&new).send().await.unwrap();
    let put = aws.put_secret_value().secret_id(name).client_request_token(&new).version_stages("AWSPENDING");
    put.secret_string("2").send().await.unwrap();
    let moved = aws.update_secret_version_stage().secret_id(name).version_stage("AWSCURRENT");
    moved.move_to_version_id(&new).remove_from_version_id(old).send().await.unwrap();
    let ended = aws.update_secret_version_stage().secret_id(name).version_stage("AWSPENDING");
    ended.remove_from_version_id(&new).send().await.unwrap();
    place
}

#[tokio::test]
async fn versions_are_attempts_and_labels_are_left_as_the_template_of_aws_leaves_them() {
    let (sink, place, first, second) = (sink(), fresh_place(), pair(1), pair(2));
    assert_eq!(put_pair(&sink, &place, &first).await.0, first.stamp.attempt.to_string());
    assert_eq!(put_pair(&sink, &place, &second).await.0, second.stamp.attempt.to_string());
    let labels_here = labels(&place).await;
    assert_eq!(labels_here[&first.stamp.attempt.to_string()], set(["AWSPREVIOUS"]));
    assert_eq!(labels_here[&second.stamp.attempt.to_string()], set(["AWSCURRENT"]));
    let theirs = labels(&rotated_by_the_template().await).await;
    let sets = |labels: BTreeMap<String, _>| labels.into_values().collect::<BTreeSet<BTreeSet<String>>>();
    assert_eq!(sets(labels_here), sets(theirs));
    assert!(sink.stages());
}

#[tokio::test]
async fn a_label_that_could_not_be_taken_away_is_where_the_current_version_is() {
    let (good, place, second) = (sink(), fresh_place(), pair(2));
    let base = put_pair(&good, &place, &pair(1)).await;
    // Only the last call names that label and moves none.
    let unstaging = r#""VersionStage":"AWSPENDING""#;
    let (sink, proxy) = troubled(unstaging, Fate::Echoed(not_now)).await;
    at(publish(&sink, &place, &second, &base).await);
    assert_eq!(proxy.chosen(), 1);
    assert_eq!(labels(&place).await[&second.stamp.attempt.to_string()], set(["AWSCURRENT", "AWSPENDING"]));
    hand().rotate_secret().secret_id(&*place.path).send().await.unwrap();
}

fn not_now(_: &str, _: usize) -> String {
    answer(400, r#"{"__type":"ThrottlingException","Message":"not now"}"#).to_owned()
}

#[tokio::test]
async fn a_fence_has_a_label_of_its_own_and_takes_the_one_of_what_was_given_up() {
    let (good, (crashing, _proxy)) = (sink(), troubled(PROMOTION, Fate::Lost).await);
    let (place, given_up) = (fresh_place(), pair(2));
    let base = put_pair(&good, &place, &pair(1)).await;
    unknown(publish(&crashing, &place, &given_up, &base).await);
    let refused = hand().rotate_secret().secret_id(&*place.path).send().await;
    assert!(refused.is_err(), "AWS would begin no rotation while another one hangs");
    let fenced = at(fence(&good, &place, given_up.stamp.attempt, &base).await);
    let labels = labels(&place).await;
    assert_eq!(labels[&fenced.0], set(["AWSCURRENT", "REKEYD_FENCE"]));
    assert!(!labels.contains_key(&given_up.stamp.attempt.to_string()), "{labels:?}");
    hand().rotate_secret().secret_id(&*place.path).send().await.unwrap();
}

#[tokio::test]
async fn a_conflict_is_seen_before_anything_is_staged() {
    let (sink, place, late) = (sink(), fresh_place(), pair(2));
    let base = put_pair(&sink, &place, &pair(1)).await;
    put_pair(&sink, &place, &pair(3)).await;
    conflict(publish(&sink, &place, &late, &base).await);
    assert!(!labels(&place).await.contains_key(&late.stamp.attempt.to_string()));
}

#[tokio::test]
async fn what_was_staged_before_a_crash_is_read_back_and_promoted() {
    let (good, (crashing, _proxy)) = (sink(), troubled(PROMOTION, Fate::Lost).await);
    let (place, first, second) = (fresh_place(), pair(1), pair(2));
    let base = put_pair(&good, &place, &first).await;
    unknown(publish(&crashing, &place, &second, &base).await);
    let reading = good.read(&place, &Names::default(), Some(second.stamp.attempt)).await.answer().unwrap();
    serves(&reading, &first);
    assert!(reading.seen.staged);
    assert_eq!(reading.staged.as_ref().map(Secret::expose), Some(second.secret.expose()));
    at(publish(&good, &place, &second, &base).await);
    let reading = good.read(&place, &Names::default(), Some(second.stamp.attempt)).await.answer().unwrap();
    serves(&reading, &second);
    assert!(!reading.seen.staged && reading.staged.is_none(), "what is served is not staged");
}

#[tokio::test]
async fn only_the_attempt_asked_about_counts_as_staged() {
    let (good, (crashing, _proxy)) = (sink(), troubled(PROMOTION, Fate::Lost).await);
    let place = fresh_place();
    let base = put_pair(&good, &place, &pair(1)).await;
    unknown(publish(&crashing, &place, &pair(2), &base).await);
    for asked in [None, Some(attempt())] {
        let reading = good.read(&place, &Names::default(), asked).await.answer().unwrap();
        assert!(!reading.seen.staged && reading.staged.is_none());
    }
    let nowhere = good.read(&fresh_place(), &Names::default(), Some(attempt())).await.answer().unwrap();
    assert!(!nowhere.seen.staged && nowhere.staged.is_none());
}

#[tokio::test]
async fn a_pair_staged_under_an_older_stamp_is_promoted_as_it_is() {
    let (good, (crashing, _proxy)) = (sink(), troubled(PROMOTION, Fate::Lost).await);
    let (place, second) = (fresh_place(), pair(2));
    let base = put_pair(&good, &place, &pair(1)).await;
    unknown(publish(&crashing, &place, &second, &base).await);
    at(publish(&good, &place, &later(&second), &base).await);
    serves(&look(&good, &place).await, &second);
}

#[tokio::test]
async fn a_pair_published_over_itself_stays() {
    let (sink, place, pair) = (sink(), fresh_place(), pair(1));
    let base = put_pair(&sink, &place, &pair).await;
    assert_eq!(at(publish(&sink, &place, &later(&pair), &base).await), base);
    serves(&look(&sink, &place).await, &pair);
}

#[tokio::test]
async fn another_value_under_the_id_of_the_attempt_is_never_promoted() {
    let (sink, place, new) = (sink(), fresh_place(), pair(2));
    let base = put_pair(&sink, &place, &pair(1)).await;
    let id = new.stamp.attempt.to_string();
    let put = hand().put_secret_value().secret_id(&*place.path).client_request_token(&id).version_stages("MINE");
    put.secret_string(r#"{"apiKeySid":"SK00000000000000000000000000000009"}"#).send().await.unwrap();
    assert_eq!(not_done(publish(&sink, &place, &new, &base).await).fault, Fault::Refused);
    assert_eq!(version(&sink, &place).await, base);
}

#[tokio::test]
async fn a_promotion_whose_answer_is_lost_is_unknown_and_a_look_shows_the_truth() {
    let (good, (sink, _proxy)) = (sink(), troubled(PROMOTION, Fate::AnswerLost).await);
    let (place, second) = (fresh_place(), pair(2));
    let base = put_pair(&good, &place, &pair(1)).await;
    assert_eq!(unknown(publish(&sink, &place, &second, &base).await).fault, Fault::Unreachable);
    serves(&look(&good, &place).await, &second);
    conflict(publish(&good, &place, &second, &base).await);
}

#[tokio::test]
async fn a_creation_whose_answer_is_lost_is_unknown_and_a_look_shows_the_truth() {
    let (good, (sink, _proxy)) = (sink(), troubled("secretsmanager.CreateSecret", Fate::AnswerLost).await);
    let (place, first) = (fresh_place(), pair(1));
    unknown(publish(&sink, &place, &first, &Version("absent".into())).await);
    serves(&look(&good, &place).await, &first);
    conflict(publish(&good, &place, &first, &Version("absent".into())).await);
}

#[tokio::test]
async fn a_creation_that_is_delivered_twice_is_one() {
    let (place, first) = (fresh_place(), pair(1));
    let absent = Version("absent".into());
    let (one, other) = (sink(), sink());
    let stamped = later(&first);
    let (one, other) = tokio::join!(publish(&one, &place, &first, &absent), publish(&other, &place, &stamped, &absent));
    let mut served = 0;
    for outcome in [one, other] {
        match outcome {
            Outcome::Done(Written::Conflict) => {}
            done => {
                assert_eq!(at(done).0, first.stamp.attempt.to_string());
                served += 1;
            }
        }
    }
    assert!(served > 0);
    assert_eq!(labels(&place).await.len(), 1);
}

#[tokio::test]
async fn a_fence_interrupted_halfway_is_completed_by_the_next_try() {
    let (good, (crashing, _proxy)) = (sink(), troubled(PROMOTION, Fate::Lost).await);
    let (place, pair, attempt) = (fresh_place(), pair(1), attempt());
    let base = put_pair(&good, &place, &pair).await;
    unknown(fence(&crashing, &place, attempt, &base).await);
    assert_eq!(version(&good, &place).await, base);
    assert_ne!(at(fence(&good, &place, attempt, &base).await), base);
    serves(&look(&good, &place).await, &pair);
    assert_eq!(labels(&place).await.len(), 2, "one version of ours, one fence");
}

#[tokio::test]
async fn a_secret_without_a_version_takes_its_first_pair() {
    let (sink, place, first) = (sink(), fresh_place(), pair(1));
    hand().create_secret().name(&*place.path).send().await.unwrap();
    let seen = look(&sink, &place).await.seen;
    assert_eq!((seen.content, seen.version.0.as_str()), (Content::Absent, "empty"));
    let written = at(publish(&sink, &place, &first, &seen.version).await);
    serves(&look(&sink, &place).await, &first);
    assert_eq!(labels(&place).await[&written.0], set(["AWSCURRENT"]));
    conflict(publish(&sink, &place, &pair(2), &seen.version).await);
}

#[tokio::test]
async fn a_first_version_that_is_not_made_current_by_itself_is_promoted() {
    let (sink, place) = (SecretsManager::new(&config(&shared().url(), "FORGETFUL")), fresh_place());
    hand().create_secret().name(&*place.path).send().await.unwrap();
    let (first, base) = (pair(1), version(&sink, &place).await);
    let (crashing, _proxy) = troubled(PROMOTION, Fate::Lost).await;
    let other = hand().put_secret_value().secret_id(&*place.path).version_stages("OTHER").secret_string("{}");
    other.customize().config_override(signed_by("FORGETFUL")).send().await.unwrap();
    unknown(publish(&crashing, &place, &first, &base).await);
    let reading = sink.read(&place, &Names::default(), Some(first.stamp.attempt)).await.answer().unwrap();
    assert_eq!((reading.seen.version, reading.seen.staged), (base.clone(), true));
    assert_eq!(at(publish(&sink, &place, &first, &base).await).0, first.stamp.attempt.to_string());
    serves(&look(&sink, &place).await, &first);
}

#[tokio::test]
async fn a_secret_without_a_version_can_be_fenced_against_its_first_pair() {
    let (sink, place, late) = (sink(), fresh_place(), pair(1));
    hand().create_secret().name(&*place.path).send().await.unwrap();
    let base = version(&sink, &place).await;
    at(fence(&sink, &place, late.stamp.attempt, &base).await);
    conflict(publish(&sink, &place, &late, &base).await);
    assert_eq!(look(&sink, &place).await.seen.content, Content::Blank);
}

#[tokio::test]
async fn of_two_first_pairs_only_one_is_served() {
    let (sink, place, one, other) = (sink(), fresh_place(), pair(1), pair(2));
    hand().create_secret().name(&*place.path).send().await.unwrap();
    let base = version(&sink, &place).await;
    let outcomes = tokio::join!(publish(&sink, &place, &one, &base), publish(&sink, &place, &other, &base));
    let served = look(&sink, &place).await;
    let (winner, won, lost) = match outcomes {
        (Outcome::Done(Written::Conflict), won) => (other, won, outcomes.0),
        (won, lost) => (one, won, lost),
    };
    assert_eq!(at(won), served.seen.version);
    conflict(lost);
    serves(&served, &winner);
}

#[tokio::test]
async fn a_secret_marked_for_deletion_is_refused() {
    let (sink, place) = (sink(), fresh_place());
    let base = put_pair(&sink, &place, &pair(1)).await;
    hand().delete_secret().secret_id(&*place.path).recovery_window_in_days(7).send().await.unwrap();
    let read = sink.read(&place, &Names::default(), None).await.answer().err().unwrap();
    assert_eq!(read.fault, Fault::Refused);
    for base in [base, Version("absent".into())] {
        assert_eq!(not_done(publish(&sink, &place, &pair(2), &base).await).fault, Fault::Refused);
        assert_eq!(not_done(fence(&sink, &place, attempt(), &base).await).fault, Fault::Refused);
    }
}

#[tokio::test]
async fn foreign_bytes_and_texts_stay_what_they_are_under_a_fence() {
    let (sink, hand) = (sink(), hand());
    let (bytes, text) = (fresh_place(), fresh_place());
    hand.create_secret().name(&*bytes.path).secret_binary(Blob::new(*b"\xff\0{}")).send().await.unwrap();
    hand.create_secret().name(&*text.path).secret_string("not json").send().await.unwrap();
    for place in [&bytes, &text] {
        let seen = look(&sink, place).await.seen;
        assert_eq!(seen.content, Content::Foreign);
        at(fence(&sink, place, attempt(), &seen.version).await);
    }
    let bytes = hand.get_secret_value().secret_id(&*bytes.path).send().await.unwrap();
    assert_eq!((bytes.secret_binary, bytes.secret_string), (Some(Blob::new(*b"\xff\0{}")), None));
    let text = hand.get_secret_value().secret_id(&*text.path).send().await.unwrap();
    assert_eq!((text.secret_binary, text.secret_string.as_deref()), (None, Some("not json")));
}

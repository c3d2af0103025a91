//! The sink in memory keeps the contract too, or tests built on it would prove nothing.

use super::contract::{Bench, Hand};
use super::{attempt, fresh_place, look, not_done, pair, publish, put_pair, serves, unknown, version};
use crate::support::fake_sink::{FakeSink, Trouble};
use async_trait::async_trait;
use rekeyd::model::document::{Content, Names};
use rekeyd::model::fault::Fault;
use rekeyd::model::secret::Secret;
use rekeyd::ports::Sink as _;

fn bench(fake: FakeSink) -> Bench {
    Bench { sink: Box::new(fake.clone()), hand: Box::new(fake), _keep: Box::new(()) }
}

#[async_trait]
impl Hand for FakeSink {
    async fn put(&self, path: &str, text: &str) {
        FakeSink::put(self, path, text);
    }

    async fn text(&self, path: &str) -> Option<String> {
        FakeSink::text(self, path)
    }

    async fn remove(&self, path: &str) {
        FakeSink::remove(self, path);
    }
}

mod plain {
    contract!(super::bench(super::FakeSink::default()));
}

mod staging {
    contract!(super::bench(super::FakeSink::staging()));
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_the_pair_is_there() {
    let (fake, place, pair) = (FakeSink::default(), fresh_place(), pair(1));
    let base = version(&fake, &place).await;
    fake.next_write(Trouble::AnswerLost);
    unknown(publish(&fake, &place, &pair, &base).await);
    serves(&look(&fake, &place).await, &pair);
}

#[tokio::test]
async fn a_lost_request_is_unknown_and_nothing_is_there() {
    let (fake, place) = (FakeSink::default(), fresh_place());
    let base = version(&fake, &place).await;
    fake.next_write(Trouble::Lost);
    unknown(publish(&fake, &place, &pair(1), &base).await);
    assert_eq!(look(&fake, &place).await.seen.content, Content::Absent);
}

#[tokio::test]
async fn a_refused_request_is_not_done_and_only_the_next_one_is_refused() {
    let (fake, place) = (FakeSink::default(), fresh_place());
    let base = version(&fake, &place).await;
    fake.next_write(Trouble::Refused(Fault::Forbidden));
    assert_eq!(not_done(publish(&fake, &place, &pair(1), &base).await).fault, Fault::Forbidden);
    put_pair(&fake, &place, &pair(1)).await;
}

#[tokio::test]
async fn a_blind_sink_shows_nothing_until_it_sees_again() {
    let (fake, place) = (FakeSink::default(), fresh_place());
    fake.blind(Some(Fault::Server));
    assert_eq!(not_done(fake.read(&place, &Names::default(), None).await).fault, Fault::Server);
    fake.blind(None);
    look(&fake, &place).await;
}

#[tokio::test]
async fn what_was_only_staged_is_not_served_and_can_be_read_back() {
    let (fake, place, new) = (FakeSink::staging(), fresh_place(), pair(2));
    let base = put_pair(&fake, &place, &pair(1)).await;
    fake.next_write(Trouble::Staged);
    unknown(publish(&fake, &place, &new, &base).await);
    let reading = fake.read(&place, &Names::default(), Some(new.stamp.attempt)).await.answer().unwrap();
    assert_eq!(reading.seen.version, base);
    assert!(reading.seen.staged);
    assert_eq!(reading.staged.as_ref().map(Secret::expose), Some(new.secret.expose()));
    let other = fake.read(&place, &Names::default(), Some(attempt())).await.answer().unwrap();
    assert!(!other.seen.staged && other.staged.is_none());
}

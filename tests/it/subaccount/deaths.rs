//! The process dies before or after each call, and the command is repeated.

use super::Site;
use async_trait::async_trait;
use rekeyd::model::document::{Names, Pair};
use rekeyd::model::fault::{Failure, Outcome};
use rekeyd::model::fleet::Listed;
use rekeyd::model::key::{AccountSid, AttemptId, KeyFacts, KeySid, LabelKey, PublicKeySid};
use rekeyd::model::names::{Place, Version};
use rekeyd::model::subaccount::{Making, SubaccountName};
use rekeyd::ports::{JournalError, KeyPair, Landlord, Ledger, NewKey, Proof, Reading, Seed, Sink, Written};
use rekeyd::sandbox::Faults;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// When the process dies: before it makes its n-th call, or after that was done and before anything is made of it.
#[derive(Clone)]
pub(crate) struct Death {
    at: usize,
    after: bool,
    calls: Arc<AtomicUsize>,
    came: Arc<Notify>,
}

impl Death {
    pub(crate) fn never() -> Self {
        Self::at(usize::MAX, false)
    }

    pub(crate) fn at(at: usize, after: bool) -> Self {
        Self { at, after, calls: Arc::default(), came: Arc::default() }
    }

    /// Waits for it.
    pub(crate) async fn came(&self) {
        self.came.notified().await;
    }

    async fn call<T>(&self, work: impl Future<Output = T>) -> T {
        let dies = self.calls.fetch_add(1, Ordering::SeqCst) == self.at;
        if dies && !self.after {
            self.die().await;
        }
        let done = work.await;
        if dies {
            self.die().await;
        }
        done
    }

    async fn die(&self) {
        self.came.notify_one();
        std::future::pending().await
    }
}

/// A door of a process that dies.
pub(crate) struct Mortal<T: ?Sized> {
    pub(crate) inner: Arc<T>,
    pub(crate) death: Death,
}

#[async_trait]
impl Landlord for Mortal<rekeyd::adapters::twilio::TwilioClient> {
    async fn open(&self, name: &str) -> Outcome<AccountSid> {
        self.death.call(self.inner.open(name)).await
    }
    async fn called(&self, name: &str) -> Outcome<Vec<Listed>> {
        self.death.call(self.inner.called(name)).await
    }
    async fn show(&self, account: &AccountSid) -> Outcome<Listed> {
        self.death.call(self.inner.show(account)).await
    }
    async fn rename(&self, account: &AccountSid, name: &str) -> Outcome<()> {
        self.death.call(self.inner.rename(account, name)).await
    }
    async fn close(&self, account: &AccountSid) -> Outcome<()> {
        self.death.call(self.inner.close(account)).await
    }
    async fn make_key(&self, account: &AccountSid, name: &str) -> Outcome<NewKey> {
        self.death.call(self.inner.make_key(account, name)).await
    }
    async fn keys(&self, account: &AccountSid) -> Outcome<Vec<KeyFacts>> {
        self.death.call(self.inner.keys(account)).await
    }
    async fn delete_key(&self, account: &AccountSid, sid: &KeySid) -> Outcome<()> {
        self.death.call(Landlord::delete_key(&*self.inner, account, sid)).await
    }
    async fn register(&self, account: &AccountSid, name: &str, pem: &str) -> Outcome<PublicKeySid> {
        self.death.call(self.inner.register(account, name, pem)).await
    }
    async fn public_keys(&self, account: &AccountSid) -> Outcome<Vec<(PublicKeySid, Option<String>)>> {
        self.death.call(self.inner.public_keys(account)).await
    }
    async fn delete_public_key(&self, account: &AccountSid, sid: &PublicKeySid) -> Outcome<()> {
        self.death.call(self.inner.delete_public_key(account, sid)).await
    }
    async fn prove(&self, account: &AccountSid, seed: &Seed) -> Outcome<Proof> {
        self.death.call(self.inner.prove(account, seed)).await
    }
    fn pair(&self) -> Result<KeyPair, Failure> {
        self.inner.pair()
    }
}

#[async_trait]
impl Ledger for Mortal<dyn Ledger> {
    fn label_key(&self) -> LabelKey {
        self.inner.label_key()
    }
    async fn making(&self, name: &SubaccountName) -> Result<(u64, Making), JournalError> {
        self.death.call(self.inner.making(name)).await
    }
    async fn makings(&self) -> Result<Vec<(SubaccountName, Making)>, JournalError> {
        self.inner.makings().await
    }
    async fn note(&self, name: &SubaccountName, seq: u64, making: &Making) -> Result<bool, JournalError> {
        self.death.call(self.inner.note(name, seq, making)).await
    }
}

#[async_trait]
impl Sink for Mortal<dyn Sink> {
    async fn read(&self, place: &Place, names: &Names, attempt: Option<AttemptId>) -> Outcome<Reading> {
        self.death.call(self.inner.read(place, names, attempt)).await
    }
    async fn publish(&self, place: &Place, names: &Names, pair: &Pair, base: &Version) -> Outcome<Written> {
        self.death.call(self.inner.publish(place, names, pair, base)).await
    }
    async fn fence(&self, place: &Place, names: &Names, token: AttemptId, base: &Version) -> Outcome<Written> {
        self.death.call(self.inner.fence(place, names, token, base)).await
    }
}

/// Dies at every call of the making in turn, and repeats the command.
async fn every_death(after: bool) {
    let mut at = 0;
    loop {
        let site = Site::enforcing(Faults::default()).await;
        let what = format!("died {} call {at}", if after { "after" } else { "before" });
        match site.make(&Death::at(at, after)).await {
            Some(ended) => {
                ended.unwrap();
                break;
            }
            None => assert!(site.finish().await.is_ok(), "{what}"),
        }
        site.check(&what);
        at += 1;
    }
    assert!(at > 25, "only {at} calls");
}

#[tokio::test]
async fn dying_before_any_call_leaves_nothing_behind_when_the_command_is_repeated() {
    every_death(false).await;
}

#[tokio::test]
async fn dying_after_any_call_leaves_nothing_behind_when_the_command_is_repeated() {
    every_death(true).await;
}

#[tokio::test]
async fn dying_again_and_again_comes_to_its_end_all_the_same() {
    let site = Site::enforcing(Faults::default()).await;
    let mut deaths = 0;
    for at in 3.. {
        if let Some(ended) = site.make(&Death::at(at, at % 2 == 0)).await {
            ended.unwrap();
            break;
        }
        deaths += 1;
    }
    assert!(deaths > 5, "{deaths}");
    site.check("after many deaths");
}

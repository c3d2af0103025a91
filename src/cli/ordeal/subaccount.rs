//! The making of a subaccount, with points around everything that changes the world or what is written down.

use super::Points;
use crate::model::fault::{Failure, Outcome};
use crate::model::fleet::Listed;
use crate::model::key::{AccountSid, KeyFacts, KeySid, LabelKey, PublicKeySid};
use crate::model::subaccount::{Making, SubaccountName};
use crate::ports::{JournalError, KeyPair, Landlord, Ledger, NewKey, Proof, Seed};
use async_trait::async_trait;
use std::sync::Arc;

pub(super) struct AroundLandlord {
    pub(super) landlord: Arc<dyn Landlord>,
    pub(super) points: &'static Points,
}

#[async_trait]
impl Landlord for AroundLandlord {
    async fn open(&self, name: &str) -> Outcome<AccountSid> {
        self.points.around("open", self.landlord.open(name)).await
    }

    async fn called(&self, name: &str) -> Outcome<Vec<Listed>> {
        self.landlord.called(name).await
    }

    async fn show(&self, account: &AccountSid) -> Outcome<Listed> {
        self.landlord.show(account).await
    }

    async fn rename(&self, account: &AccountSid, name: &str) -> Outcome<()> {
        self.points.around("rename", self.landlord.rename(account, name)).await
    }

    async fn close(&self, account: &AccountSid) -> Outcome<()> {
        self.points.around("close", self.landlord.close(account)).await
    }

    async fn make_key(&self, account: &AccountSid, name: &str) -> Outcome<NewKey> {
        self.points.around("make key", self.landlord.make_key(account, name)).await
    }

    async fn keys(&self, account: &AccountSid) -> Outcome<Vec<KeyFacts>> {
        self.landlord.keys(account).await
    }

    async fn delete_key(&self, account: &AccountSid, sid: &KeySid) -> Outcome<()> {
        self.points.around("delete key", self.landlord.delete_key(account, sid)).await
    }

    async fn register(&self, account: &AccountSid, name: &str, pem: &str) -> Outcome<PublicKeySid> {
        self.points.around("register", self.landlord.register(account, name, pem)).await
    }

    async fn public_keys(&self, account: &AccountSid) -> Outcome<Vec<(PublicKeySid, Option<String>)>> {
        self.landlord.public_keys(account).await
    }

    async fn delete_public_key(&self, account: &AccountSid, sid: &PublicKeySid) -> Outcome<()> {
        self.points.around("delete public key", self.landlord.delete_public_key(account, sid)).await
    }

    async fn prove(&self, account: &AccountSid, seed: &Seed) -> Outcome<Proof> {
        self.points.around("prove", self.landlord.prove(account, seed)).await
    }

    fn pair(&self) -> Result<KeyPair, Failure> {
        self.landlord.pair()
    }
}

pub(super) struct AroundLedger {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) points: &'static Points,
}

#[async_trait]
impl Ledger for AroundLedger {
    fn label_key(&self) -> LabelKey {
        self.ledger.label_key()
    }

    async fn making(&self, name: &SubaccountName) -> Result<(u64, Making), JournalError> {
        self.ledger.making(name).await
    }

    async fn makings(&self) -> Result<Vec<(SubaccountName, Making)>, JournalError> {
        self.ledger.makings().await
    }

    async fn note(&self, name: &SubaccountName, seq: u64, making: &Making) -> Result<bool, JournalError> {
        self.points.around("note", self.ledger.note(name, seq, making)).await
    }
}

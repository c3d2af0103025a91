//! The doors that the making of a subaccount goes through: Twilio's accounts, and what the journal holds of it.

use super::{JournalError, NewKey};
use crate::model::fault::{Failure, Outcome};
use crate::model::fleet::Listed;
use crate::model::key::{AccountSid, KeyFacts, KeySid, LabelKey, PublicKeySid};
use crate::model::secret::Secret;
use crate::model::subaccount::{Making, SubaccountName};
use async_trait::async_trait;

/// Twilio, as who has subaccounts knows it. Of each create exactly one request is sent, whatever happens to it.
#[async_trait]
pub trait Landlord: Send + Sync {
    /// Opens a subaccount of this name.
    async fn open(&self, name: &str) -> Outcome<AccountSid>;

    /// Every account of exactly this name, closed ones too.
    async fn called(&self, name: &str) -> Outcome<Vec<Listed>>;

    /// One account.
    async fn show(&self, account: &AccountSid) -> Outcome<Listed>;

    /// Gives an account another name.
    async fn rename(&self, account: &AccountSid, name: &str) -> Outcome<()>;

    /// Closes an account for good.
    async fn close(&self, account: &AccountSid) -> Outcome<()>;

    /// Makes an API key in the account.
    async fn make_key(&self, account: &AccountSid, name: &str) -> Outcome<NewKey>;

    /// The API keys of the account.
    async fn keys(&self, account: &AccountSid) -> Outcome<Vec<KeyFacts>>;

    /// Deletes an API key; one that does not exist counts as deleted.
    async fn delete_key(&self, account: &AccountSid, sid: &KeySid) -> Outcome<()>;

    /// Registers a public key for the account.
    async fn register(&self, account: &AccountSid, name: &str, pem: &str) -> Outcome<PublicKeySid>;

    /// The public keys of the account, as far as they are shown to who has subaccounts.
    async fn public_keys(&self, account: &AccountSid) -> Outcome<Vec<(PublicKeySid, Option<String>)>>;

    /// Deletes a public key; one that does not exist counts as deleted.
    async fn delete_public_key(&self, account: &AccountSid, sid: &PublicKeySid) -> Outcome<()>;

    /// Calls an ordinary resource of the account with the key, the request signed with the private key.
    async fn prove(&self, account: &AccountSid, seed: &Seed) -> Outcome<Proof>;

    /// A new pair of RSA keys.
    fn pair(&self) -> Result<KeyPair, Failure>;
}

/// A new pair of RSA keys, both in PEM.
pub struct KeyPair {
    /// The private one (PKCS #8).
    pub private: Secret,
    /// The public one (X.509 SubjectPublicKeyInfo).
    pub public: String,
}

/// What a new subaccount is used with.
pub struct Seed {
    /// The API key.
    pub key: KeySid,
    /// Its secret.
    pub secret: Secret,
    /// The public key.
    pub public_key: PublicKeySid,
    /// Its private half.
    pub private_key: Secret,
}

/// What Twilio says to a signed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It is accepted, signature and all.
    Signed,
    /// The account does not want signatures (error 70053); without one the key is accepted.
    Unsigned,
    /// It is not accepted, or not yet.
    Refused,
}

/// What is written down of subaccounts that are being made.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The key that proves marks of this installation.
    fn label_key(&self) -> LabelKey;

    /// How far a subaccount has come, and the number of that entry; the number is 0 where nothing was written yet.
    async fn making(&self, name: &SubaccountName) -> Result<(u64, Making), JournalError>;

    /// Every subaccount that was made or begun, by name.
    async fn makings(&self) -> Result<Vec<(SubaccountName, Making)>, JournalError>;

    /// Writes how far it has come, if entry `seq` is still the last one; false if another process was faster.
    async fn note(&self, name: &SubaccountName, seq: u64, making: &Making) -> Result<bool, JournalError>;
}

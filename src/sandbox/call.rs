//! What can be asked of the sandbox and what it answers, without a word of HTTP: every door speaks this.

use super::events::{Event, Filter};
use super::faults::Fault;
use super::page::{Page, Paging};
pub use super::refusal::Refusal;
use super::signature::Wire;
pub use super::view::{AccountView, KeyView, PublicKeyView, Status, TokenView};
use crate::model::home::Region;
use crate::model::key::{AccountSid, KeySid, PublicKeySid};
use crate::model::secret::Secret;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One call, with its parameters as they came: Twilio checks the credentials before it looks at the rest.
pub struct Call {
    /// The user and password of HTTP Basic authentication.
    pub credentials: Option<Credentials>,
    /// The account that the call names.
    pub account: Option<String>,
    /// The region whose host it came to.
    pub region: Region,
    /// What it wants.
    pub request: Request,
    /// How it came over the wire, if there is a signature on it.
    pub wire: Option<Wire>,
}

/// A user and a password: a key and its secret, or an account and its token.
pub struct Credentials {
    /// The SID.
    pub user: String,
    /// The secret or the token.
    pub secret: Secret,
}

/// What a call wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A new key: a Standard one, or a Restricted one if it has a policy.
    CreateKey {
        /// Its friendly name.
        name: Option<String>,
        /// What it may do, as JSON text.
        policy: Option<String>,
    },
    /// The keys of the account.
    ListKeys(Paging),
    /// One key.
    FetchKey {
        /// Which.
        sid: String,
    },
    /// Another name for a key.
    UpdateKey {
        /// Which.
        sid: String,
        /// Its new friendly name; without one only its date changes.
        name: Option<String>,
        /// What it may do from now on, as JSON text.
        policy: Option<String>,
    },
    /// The end of a key.
    DeleteKey {
        /// Which.
        sid: String,
    },
    /// A new subaccount.
    CreateAccount {
        /// Its friendly name.
        name: Option<String>,
    },
    /// The account itself.
    FetchAccount,
    /// Another name or another status for an account.
    UpdateAccount {
        /// Its new friendly name.
        name: Option<String>,
        /// Its new status, as written.
        status: Option<String>,
    },
    /// The caller's account and its subaccounts.
    ListAccounts {
        /// Only those of exactly this name.
        name: Option<String>,
        /// Only those of this status.
        status: Option<String>,
        /// Which part.
        paging: Paging,
    },
    /// Phone numbers: a resource that any key may read.
    ListNumbers(Paging),
    /// Messages: another one.
    ListMessages(Paging),
    /// A new public key.
    CreatePublicKey {
        /// Its friendly name.
        name: Option<String>,
        /// The key.
        pem: Option<String>,
    },
    /// The public keys of the account.
    ListPublicKeys(Paging),
    /// One public key.
    FetchPublicKey {
        /// Which.
        sid: String,
    },
    /// Another name for a public key.
    UpdatePublicKey {
        /// Which.
        sid: String,
        /// Its new friendly name.
        name: Option<String>,
    },
    /// The end of a public key.
    DeletePublicKey {
        /// Which.
        sid: String,
    },
    /// A second auth token.
    CreateSecondaryToken {
        /// Whether nobody shall be told by mail, as written.
        quiet: Option<String>,
    },
    /// The end of the second auth token.
    DeleteSecondaryToken {
        /// Whether nobody shall be told by mail, as written.
        quiet: Option<String>,
    },
    /// The second auth token instead of the first.
    PromoteToken {
        /// Whether nobody shall be told by mail, as written.
        quiet: Option<String>,
    },
    /// What was changed in the account.
    ListEvents {
        /// Only these.
        filter: Filter,
        /// Which part.
        paging: Paging,
    },
    /// One change.
    FetchEvent {
        /// Which.
        sid: String,
    },
}

/// The name of what a call wants, for scripts and the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `Request::CreateKey`.
    CreateKey,
    /// `Request::ListKeys`.
    ListKeys,
    /// `Request::FetchKey`.
    FetchKey,
    /// `Request::UpdateKey`.
    UpdateKey,
    /// `Request::DeleteKey`.
    DeleteKey,
    /// `Request::CreateAccount`.
    CreateAccount,
    /// `Request::FetchAccount`.
    FetchAccount,
    /// `Request::UpdateAccount`.
    UpdateAccount,
    /// `Request::ListAccounts`.
    ListAccounts,
    /// `Request::ListNumbers`.
    ListNumbers,
    /// `Request::ListMessages`.
    ListMessages,
    /// `Request::CreatePublicKey`.
    CreatePublicKey,
    /// `Request::ListPublicKeys`.
    ListPublicKeys,
    /// `Request::FetchPublicKey`.
    FetchPublicKey,
    /// `Request::UpdatePublicKey`.
    UpdatePublicKey,
    /// `Request::DeletePublicKey`.
    DeletePublicKey,
    /// `Request::CreateSecondaryToken`.
    CreateSecondaryToken,
    /// `Request::DeleteSecondaryToken`.
    DeleteSecondaryToken,
    /// `Request::PromoteToken`.
    PromoteToken,
    /// `Request::ListEvents`.
    ListEvents,
    /// `Request::FetchEvent`.
    FetchEvent,
}

impl Request {
    /// Its name.
    pub fn operation(&self) -> Operation {
        match self {
            Request::CreateKey { .. } => Operation::CreateKey,
            Request::ListKeys(_) => Operation::ListKeys,
            Request::FetchKey { .. } => Operation::FetchKey,
            Request::UpdateKey { .. } => Operation::UpdateKey,
            Request::DeleteKey { .. } => Operation::DeleteKey,
            Request::CreateAccount { .. } => Operation::CreateAccount,
            Request::FetchAccount => Operation::FetchAccount,
            Request::UpdateAccount { .. } => Operation::UpdateAccount,
            Request::ListAccounts { .. } => Operation::ListAccounts,
            Request::ListNumbers(_) => Operation::ListNumbers,
            Request::ListMessages(_) => Operation::ListMessages,
            Request::CreatePublicKey { .. } => Operation::CreatePublicKey,
            Request::ListPublicKeys(_) => Operation::ListPublicKeys,
            Request::FetchPublicKey { .. } => Operation::FetchPublicKey,
            Request::UpdatePublicKey { .. } => Operation::UpdatePublicKey,
            Request::DeletePublicKey { .. } => Operation::DeletePublicKey,
            Request::CreateSecondaryToken { .. } => Operation::CreateSecondaryToken,
            Request::DeleteSecondaryToken { .. } => Operation::DeleteSecondaryToken,
            Request::PromoteToken { .. } => Operation::PromoteToken,
            Request::ListEvents { .. } => Operation::ListEvents,
            Request::FetchEvent { .. } => Operation::FetchEvent,
        }
    }
}

/// What a call gets when it is granted.
pub enum Answer {
    /// The new key, and its secret for the only time.
    Created(KeyView, Secret),
    /// A key.
    Key(KeyView),
    /// Keys.
    Keys(Page<KeyView>),
    /// Nothing: it is gone.
    Deleted(KeySid),
    /// An account.
    Account(AccountView),
    /// A new subaccount.
    AccountMade(AccountView),
    /// Accounts.
    Accounts(Page<AccountView>),
    /// Made-up phone numbers, by their index.
    Numbers(AccountSid, Page<usize>),
    /// Made-up messages, by their index.
    Messages(AccountSid, Page<usize>),
    /// A public key that was made just now.
    PublicKeyMade(PublicKeyView),
    /// A public key.
    PublicKey(PublicKeyView),
    /// Public keys.
    PublicKeys(Page<PublicKeyView>),
    /// Nothing: the public key is gone.
    PublicKeyDeleted(PublicKeySid),
    /// A second auth token.
    SecondaryTokenMade(TokenView),
    /// Nothing: the second auth token is gone.
    SecondaryTokenDeleted,
    /// The auth token from now on.
    TokenPromoted(TokenView),
    /// A change.
    Event(Event),
    /// Changes.
    Events(Page<Event>),
}

impl Answer {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Answer::Created(..) | Answer::PublicKeyMade(_) | Answer::SecondaryTokenMade(_) => 201,
            Answer::Deleted(_) | Answer::PublicKeyDeleted(_) | Answer::SecondaryTokenDeleted => 204,
            Answer::TokenPromoted(_) | Answer::Event(_) | Answer::Events(_) => 200,
            Answer::PublicKey(_) | Answer::PublicKeys(_) => 200,
            Answer::AccountMade(_) => 201,
            Answer::Key(_) | Answer::Keys(_) | Answer::Account(_) => 200,
            Answer::Accounts(_) | Answer::Numbers(..) | Answer::Messages(..) => 200,
        }
    }

    /// The one key or public key that the call was about.
    pub fn key(&self) -> Option<KeySid> {
        match self {
            Answer::Created(key, _) | Answer::Key(key) => Some(key.sid.clone()),
            Answer::Deleted(sid) => Some(sid.clone()),
            Answer::PublicKeyMade(key) | Answer::PublicKey(key) => Some(KeySid::from(&key.sid)),
            Answer::PublicKeyDeleted(sid) => Some(KeySid::from(sid)),
            Answer::Keys(_) | Answer::Account(_) | Answer::AccountMade(_) | Answer::Accounts(_) => None,
            Answer::Numbers(..) | Answer::Messages(..) => None,
            Answer::PublicKeys(_) | Answer::SecondaryTokenMade(_) | Answer::SecondaryTokenDeleted => None,
            Answer::TokenPromoted(_) | Answer::Event(_) | Answer::Events(_) => None,
        }
    }
}

/// What comes back from a call: the answer, and what happens to it on its way.
pub struct Reply {
    /// The answer.
    pub answer: Result<Answer, Refusal>,
    /// What happens to it.
    pub delivery: Delivery,
}

/// How an answer reaches the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// As it is.
    Whole,
    /// Not at all.
    Lost,
    /// This much later.
    Delayed(Duration),
    /// The first half of it.
    Cut,
    /// Byte by byte, with this pause before each.
    Drip(Duration),
    /// As something that is no JSON.
    Malformed,
}

impl From<Option<Fault>> for Delivery {
    fn from(fault: Option<Fault>) -> Self {
        let Some(fault) = fault else { return Delivery::Whole };
        match fault {
            Fault::Lost | Fault::Late { .. } => Delivery::Lost,
            Fault::SlowAnswer { ms } => Delivery::Delayed(Duration::from_millis(ms)),
            Fault::Cut => Delivery::Cut,
            Fault::Drip { ms } => Delivery::Drip(Duration::from_millis(ms)),
            Fault::Malformed => Delivery::Malformed,
            Fault::Pass | Fault::RateLimited | Fault::Refused | Fault::Twice => Delivery::Whole,
            Fault::ErrorBefore { .. } | Fault::ErrorAfter { .. } | Fault::SlowStart { .. } => Delivery::Whole,
        }
    }
}

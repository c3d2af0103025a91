//! What Twilio shows of a thing, whoever asks in whatever form.

use super::keys::KeyKind;
use crate::model::key::{AccountSid, KeySid, PublicKeySid};
use crate::model::secret::Secret;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What Twilio shows of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// The key.
    pub sid: KeySid,
    /// Its friendly name.
    pub name: Option<String>,
    /// When it was made, by Twilio's clock.
    pub created: Timestamp,
    /// When its name was last set, by Twilio's clock.
    pub updated: Timestamp,
    /// What kind of key it is.
    pub kind: KeyKind,
    /// What a Restricted key may do.
    pub allow: Vec<String>,
}

/// What Twilio shows of a public key; the key itself is never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKeyView {
    /// The key.
    pub sid: PublicKeySid,
    /// The account it belongs to.
    pub account: AccountSid,
    /// Its friendly name.
    pub name: Option<String>,
    /// When it was made, by Twilio's clock.
    pub created: Timestamp,
    /// When its name was last set, by Twilio's clock.
    pub updated: Timestamp,
}

/// What Twilio shows of an account.
pub struct AccountView {
    /// The account.
    pub sid: AccountSid,
    /// The account it belongs to; a top account belongs to itself.
    pub owner: AccountSid,
    /// Its friendly name.
    pub name: String,
    /// Whether it may be used.
    pub status: Status,
    /// Its token, which only callers who came with a token may see.
    pub token: Option<Secret>,
    /// When it was made, by Twilio's clock.
    pub created: Timestamp,
}

/// What Twilio shows of an auth token that was made or promoted just now.
pub struct TokenView {
    /// The account that it opens.
    pub account: AccountSid,
    /// The token.
    pub token: Secret,
    /// When it was made, by Twilio's clock.
    pub created: Timestamp,
    /// When it was last promoted, by Twilio's clock.
    pub updated: Timestamp,
}

/// Whether an account may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It may.
    Active,
    /// Not now.
    Suspended,
    /// Never again.
    Closed,
}

impl Status {
    /// Twilio's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Suspended => "suspended",
            Status::Closed => "closed",
        }
    }
}

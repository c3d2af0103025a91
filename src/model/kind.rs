//! What the keys of a credential are.

use super::key::KeySid;
use super::permission::Permissions;

/// What the keys of a credential are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyKind {
    /// Ordinary API keys, which may do everything but manage accounts and keys.
    Standard,
    /// Restricted API keys.
    Restricted(Allow),
    /// Pairs of a private key that signs requests and a public key that Twilio checks them with.
    KeyPair,
    /// The account's auth token.
    AuthToken {
        /// Twilio is asked not to write to the account's owners and administrators about each change.
        quiet: bool,
    },
}

impl KeyKind {
    /// Whether this can be a key of it.
    pub fn fits(&self, sid: &KeySid) -> bool {
        match self {
            KeyKind::Standard | KeyKind::Restricted(_) => sid.is_api_key(),
            KeyKind::KeyPair => sid.is_public_key(),
            KeyKind::AuthToken { .. } => sid.is_auth_token(),
        }
    }

    /// Whether it is the account's auth token.
    pub fn is_token(&self) -> bool {
        matches!(self, KeyKind::AuthToken { .. })
    }
}

/// What a Restricted key may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// This.
    These(Permissions),
    /// The same as that key, as it is when a rotation begins.
    LikeKey(KeySid),
}

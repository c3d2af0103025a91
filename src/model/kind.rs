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
}

/// What a Restricted key may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// This.
    These(Permissions),
    /// The same as that key, as it is when a rotation begins.
    LikeKey(KeySid),
}

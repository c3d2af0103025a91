//! The auth tokens of an account: they have no names, so each call is about the one that it signs in with.

use crate::model::fault::Outcome;
use crate::model::home::Home;
use crate::model::secret::Secret;
use async_trait::async_trait;

/// Twilio, as far as it tells auth tokens apart. A new one is made by `Issuer::create`.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// Which of the account's tokens this is, asked with the token itself.
    async fn token_place(&self, home: &Home, token: &Secret) -> Outcome<TokenPlace>;

    /// Makes this token the primary one, and ends the one that was. It signs in with the token itself, so that a token
    /// that does not work can not be promoted, and one that is promoted already is left alone.
    async fn promote(&self, home: &Home, token: &Secret, quiet: bool) -> Outcome<()>;

    /// Deletes the secondary token, whichever it is; that there is none counts as deleted. `served` is what signs in, if a
    /// place has it.
    async fn discard(&self, home: &Home, served: Option<&Secret>, quiet: bool) -> Outcome<()>;
}

/// Which of an account's tokens one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenPlace {
    /// The one that stays.
    Primary,
    /// The one beside it.
    Secondary,
    /// None: it is not accepted.
    Neither,
    /// It is accepted, and Twilio does not show the primary one.
    Untold,
}

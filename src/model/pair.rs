//! A key with its secret: what is written to a place, and what may stand beside it.

use super::document::Stamp;
use super::key::{AccountSid, KeySid, PublicKeySid};
use super::secret::Secret;

/// A key with its secret and its stamp: what is written to a place.
pub struct Pair {
    /// The account that owns the key.
    pub account: AccountSid,
    /// The key.
    pub sid: KeySid,
    /// Its secret.
    pub secret: Secret,
    /// Who writes it.
    pub stamp: Stamp,
    /// What is published beside it, if something is.
    pub beside: Option<Beside>,
}

impl Pair {
    /// Every secret in it: what must not be in what is said of a failure.
    pub fn secrets(&self) -> Vec<&Secret> {
        [&self.secret].into_iter().chain(self.beside.iter().map(Beside::secret)).collect()
    }
}

/// What is published beside a key.
pub enum Beside {
    /// What its requests are signed with.
    Signing(Signing),
    /// The auth token that the new one will replace: until that is promoted, Twilio signs webhooks with the old one
    /// (Twilio docs, "Webhooks Security").
    Previous(Secret),
}

impl Beside {
    /// What the member of the token before is called.
    pub const PREVIOUS: &str = "previousAuthToken";

    /// The members of the published object, and their values.
    pub(super) fn members(&self) -> Vec<(&'static str, &str)> {
        match self {
            Beside::Signing(signing) => vec![
                (Signing::PUBLIC_KEY, signing.public_key.as_str()),
                (Signing::PRIVATE_KEY, signing.private_key.expose()),
            ],
            Beside::Previous(token) => vec![(Self::PREVIOUS, token.expose())],
        }
    }

    fn secret(&self) -> &Secret {
        match self {
            Beside::Signing(signing) => &signing.private_key,
            Beside::Previous(token) => token,
        }
    }

    /// A second copy, for another sink.
    pub fn duplicate(&self) -> Self {
        match self {
            Beside::Signing(signing) => Beside::Signing(signing.duplicate()),
            Beside::Previous(token) => Beside::Previous(token.duplicate()),
        }
    }
}

/// A public key that Twilio knows, and its private half.
pub struct Signing {
    /// The public key.
    pub public_key: PublicKeySid,
    /// Its private half, in PEM.
    pub private_key: Secret,
}

impl Signing {
    /// What the member of the private half is called. Whoever reads it says so in
    /// [`Members::api_key_secret`](super::document::Members::api_key_secret).
    pub const PRIVATE_KEY: &str = "privateKey";
    const PUBLIC_KEY: &str = "publicKeySid";

    /// A second copy, for another sink.
    pub fn duplicate(&self) -> Self {
        Self { public_key: self.public_key.clone(), private_key: self.private_key.duplicate() }
    }
}

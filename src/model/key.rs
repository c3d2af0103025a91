//! One Twilio API key: its SID, and the label that ties it to the attempt that made it.

use super::home::Home;
use super::names::{CredentialName, Instance, name};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

const API_KEY: &str = "SK";
const PUBLIC_KEY: &str = "CR";
/// Not a prefix of Twilio's: auth tokens have no SIDs there, so each is called by the attempt that made it.
const AUTH_TOKEN: &str = "AT";

name!(
    /// A Twilio account or subaccount.
    AccountSid,
    |text| sid(text, "AC"),
    "AC and 32 hexadecimal digits"
);

name!(
    /// What is rotated: an API key, the public key of a key pair, or an auth token.
    KeySid,
    |text| sid(text, API_KEY) || sid(text, PUBLIC_KEY) || sid(text, AUTH_TOKEN),
    "SK, or CR for a public key, and 32 hexadecimal digits"
);

name!(
    /// A public key that Twilio checks signed requests with.
    PublicKeySid,
    |text| sid(text, PUBLIC_KEY),
    "CR and 32 hexadecimal digits"
);

impl AccountSid {
    /// Whether both can be the same account, and are written otherwise: what was said of one would not hold for the other.
    pub fn is_other_writing_of(&self, other: &Self) -> bool {
        self != other && self.as_str().eq_ignore_ascii_case(other.as_str())
    }
}

impl KeySid {
    /// Whether both can be the same key. Twilio writes small letters and accepts others; that it then means another key
    /// is nowhere promised, so where the Main key is at stake the letters do not count.
    pub fn may_be(&self, other: &Self) -> bool {
        self.as_str().eq_ignore_ascii_case(other.as_str())
    }

    /// The auth token that this attempt made.
    pub fn of_token(attempt: AttemptId) -> Self {
        Self(format!("{AUTH_TOKEN}{}", attempt.0.simple()).into())
    }

    /// The auth token that an account had before rekeyd made one.
    pub fn first_token(account: &AccountSid) -> Self {
        Self(format!("{AUTH_TOKEN}{}", &account.as_str()[2..]).into())
    }

    /// Whether it is an API key.
    pub fn is_api_key(&self) -> bool {
        self.as_str().starts_with(API_KEY)
    }

    /// Whether it is an auth token.
    pub fn is_auth_token(&self) -> bool {
        self.as_str().starts_with(AUTH_TOKEN)
    }

    /// Whether it is the public key of a key pair.
    pub fn is_public_key(&self) -> bool {
        self.as_str().starts_with(PUBLIC_KEY)
    }

    /// Whether it may be one of these.
    pub fn may_be_among<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> bool {
        others.into_iter().any(|other| self.may_be(other))
    }
}

impl From<&PublicKeySid> for KeySid {
    fn from(sid: &PublicKeySid) -> Self {
        Self(sid.0.clone())
    }
}

/// `^XX[0-9a-fA-F]{32}$` (Twilio's OpenAPI document).
fn sid(text: &str, prefix: &str) -> bool {
    let digits = text.strip_prefix(prefix);
    digits.is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// One try to create a successor; never reused. A UUID, so that it also serves as AWS `ClientRequestToken`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(pub Uuid);

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// What Twilio says of a key; the secret is never part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// The key.
    pub sid: KeySid,
    /// Its friendly name, if it has one.
    pub label: Option<String>,
    /// When Twilio made it (resolution one second).
    pub created_at: Timestamp,
}

/// The friendly name of a key of ours: `rekeyd:INSTANCE:CREDENTIAL:` and 28 characters that hold the attempt and a proof.
///
/// The proof shows that this installation chose the name. It never permits a deletion by itself: a person can
/// duplicate a key together with its name (protocol, finding 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The installation that chose the name.
    pub instance: Instance,
    /// The credential it was made for.
    pub credential: CredentialName,
    /// The attempt that made it.
    pub attempt: AttemptId,
    proof: [u8; PROOF],
}

/// Twilio's limit for a friendly name (Twilio docs, "REST API: API Keys").
pub const LABEL_LIMIT: usize = 64;
const PREFIX: &str = "rekeyd";
const PROOF: usize = 5;
const TAIL: usize = 28;

impl Label {
    /// The name for a new key.
    pub fn new(
        key: &LabelKey,
        home: &Home,
        instance: &Instance,
        credential: &CredentialName,
        attempt: AttemptId,
    ) -> Self {
        let proof = key.prove(home, instance, credential, attempt);
        Self { instance: instance.clone(), credential: credential.clone(), attempt, proof }
    }

    /// How long a label for this credential would be, to refuse a policy whose labels Twilio would not take.
    pub fn length(instance: &Instance, credential: &CredentialName) -> usize {
        PREFIX.len() + instance.as_str().len() + credential.as_str().len() + TAIL + 3
    }

    /// Reads a friendly name; `None` if it is not of our form.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (prefix, instance, credential, tail) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if prefix != PREFIX || parts.next().is_some() {
            return None;
        }
        let bytes: [u8; 16 + PROOF] = URL_SAFE_NO_PAD.decode(tail).ok()?.try_into().ok()?;
        let (attempt, proof) = bytes.split_at(16);
        Some(Self {
            instance: Instance::new(instance).ok()?,
            credential: CredentialName::new(credential).ok()?,
            attempt: AttemptId(Uuid::from_slice(attempt).ok()?),
            proof: proof.try_into().ok()?,
        })
    }

    /// Whether this installation made the name, for a key that lives there.
    pub fn proven(&self, key: &LabelKey, home: &Home) -> bool {
        self.proof == key.prove(home, &self.instance, &self.credential, self.attempt)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 16 + PROOF];
        bytes[..16].copy_from_slice(self.attempt.0.as_bytes());
        bytes[16..].copy_from_slice(&self.proof);
        write!(f, "{PREFIX}:{}:{}:{}", self.instance, self.credential, URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// The installation's own key for label proofs (HMAC-SHA-256, RFC 2104), kept in the journal.
#[derive(Clone)]
pub struct LabelKey([u8; 32]);

impl LabelKey {
    /// Wraps 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, to take them to another journal.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    fn prove(&self, home: &Home, instance: &Instance, credential: &CredentialName, attempt: AttemptId) -> [u8; PROOF] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut context = hmac::Context::with_key(&key);
        for part in [home.to_string().as_str(), instance.as_str(), credential.as_str()] {
            context.update(part.as_bytes());
            context.update(b":");
        }
        context.update(attempt.0.as_bytes());
        let tag = context.sign();
        let mut proof = [0; PROOF];
        proof.copy_from_slice(&tag.as_ref()[..PROOF]);
        proof
    }
}

#[cfg(test)]
mod tests {
    use super::super::home::Region;
    use super::*;

    fn home() -> Home {
        Home::us1(AccountSid::new("AC00000000000000000000000000000001").unwrap())
    }

    fn label() -> (LabelKey, Label) {
        let key = LabelKey::new([7; 32]);
        let (instance, name) = (Instance::new("prod").unwrap(), CredentialName::new("billing-sms").unwrap());
        let label = Label::new(&key, &home(), &instance, &name, AttemptId(Uuid::from_u128(42)));
        (key, label)
    }

    #[test]
    fn a_label_survives_its_text_form_and_proves_its_maker() {
        let (key, label) = label();
        let read = Label::parse(&label.to_string()).unwrap();
        assert_eq!(read, label);
        assert!(read.proven(&key, &home()));
        assert!(!read.proven(&LabelKey::new([8; 32]), &home()));
        let elsewhere = AccountSid::new("AC00000000000000000000000000000002").unwrap();
        assert!(!read.proven(&key, &Home::us1(elsewhere)));
        assert!(!read.proven(&key, &Home { region: Region::new("ie1").unwrap(), ..home() }));
    }

    #[test]
    fn a_changed_credential_in_a_label_is_not_proven() {
        let (key, label) = label();
        let forged = label.to_string().replace("billing-sms", "billing-all");
        assert!(!Label::parse(&forged).unwrap().proven(&key, &home()));
    }

    #[test]
    fn the_length_is_known_before_the_label_is_made() {
        let (_, label) = label();
        assert_eq!(label.to_string().len(), Label::length(&label.instance, &label.credential));
    }

    #[test]
    fn foreign_names_are_not_labels() {
        for text in [
            "",
            "rekeyd",
            "rekeyd:prod:x:short",
            "twilio-cli for root on host",
            "rekeyd:prod:x:AAAAAAAAAAAAAAAAAAAAAAAAAAAA:y",
        ] {
            assert!(Label::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn large_and_small_letters_may_be_the_same_key_and_are_not_the_same_name() {
        let sid = |digit: &str| KeySid::new(&format!("SK{}", digit.repeat(32))).unwrap();
        assert!(sid("a").may_be(&sid("A")) && sid("a") != sid("A"));
        assert!(!sid("a").may_be(&sid("b")));
    }

    #[test]
    fn sids_must_have_their_exact_form() {
        assert!(KeySid::new(&format!("SK{}", "0aF".repeat(11).split_at(32).0)).is_ok());
        for bad in [
            "SK",
            "AC00000000000000000000000000000000",
            "SK0000000000000000000000000000000g",
            "SK000000000000000000000000000000001",
        ] {
            assert!(KeySid::new(bad).is_err(), "{bad}");
        }
    }
}

//! A subaccount that is being made: what was asked of Twilio, what is there, and what has to go again.
//!
//! Twilio shows the secret of a key once and knows no idempotent create. So what is made carries a [`Mark`], and the journal
//! holds a [`Making`]: a create is noted before it is sent, and so is a delete.

use super::home::Home;
use super::key::{AccountSid, AttemptId, KeySid, Label, LabelKey, PublicKeySid};
use super::names::{CredentialName, Instance, Place, name};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

name!(
    /// What a subaccount is called when it is finished. It can stand in a path of every sink.
    SubaccountName,
    |text| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=64).contains(&text.len()) && !text.starts_with(['-', '.']) && text.bytes().all(letter)
    },
    "1 to 64 of a-z, A-Z, 0-9 and -_., not starting with - or ."
);

/// The friendly name of what is made for a subaccount, and of the account itself until it is finished:
/// `rekeyd-seed:INSTANCE:` and the 28 characters of a [`Label`], which hold the attempt and a proof. The daemon does not
/// take it for a label of its own: it rotates nothing that has such a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark(Label);

const PREFIX: &str = "rekeyd-seed";

impl Mark {
    /// The name for what this attempt makes, in that account; of an account itself, in its parent.
    pub fn new(key: &LabelKey, account: &AccountSid, instance: &Instance, attempt: AttemptId) -> Self {
        Self(Label::new(key, &whole(account), instance, &seed(), attempt))
    }

    /// Reads a friendly name; `None` if it is not of our form.
    pub fn parse(text: &str) -> Option<Self> {
        let (instance, tail) = text.strip_prefix(PREFIX)?.strip_prefix(':')?.split_once(':')?;
        Label::parse(&format!("rekeyd:{instance}:{}:{tail}", seed())).map(Self)
    }

    /// Whether this installation made the name, for something in that account.
    pub fn proven(&self, key: &LabelKey, account: &AccountSid) -> bool {
        self.0.proven(key, &whole(account))
    }
}

/// An account is made as a whole: the region of its first key is not told by the name.
fn whole(account: &AccountSid) -> Home {
    Home::us1(account.clone())
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = self.0.to_string();
        let tail = label.rsplit(':').next().unwrap_or_default();
        write!(f, "{PREFIX}:{}:{tail}", self.0.instance)
    }
}

/// What stands for a credential in marks and stamps. No credential of a policy can have this name, because a label with it
/// would be too long for Twilio: so nothing of a credential is ever taken for that of a subaccount.
pub fn seed() -> CredentialName {
    CredentialName::new("seed-of-a-subaccount-made-by-command").expect("small letters and hyphens are a name")
}

/// One thing that is made by one POST.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
pub enum Made<S> {
    /// Nothing was asked for, or what was asked for certainly did not happen.
    #[default]
    Nothing,
    /// A POST may be on its way, since then.
    Asked {
        /// Which.
        attempt: AttemptId,
        /// Since when.
        at: Timestamp,
    },
    /// It is there.
    There {
        /// What made it.
        attempt: AttemptId,
        /// What it is.
        sid: S,
    },
}

impl<S> Made<S> {
    /// What it is, if it is there.
    pub fn sid(&self) -> Option<&S> {
        match self {
            Made::There { sid, .. } => Some(sid),
            Made::Nothing | Made::Asked { .. } => None,
        }
    }

    /// What makes it or made it.
    pub fn attempt(&self) -> Option<AttemptId> {
        match self {
            Made::There { attempt, .. } | Made::Asked { attempt, .. } => Some(*attempt),
            Made::Nothing => None,
        }
    }
}

/// Something of ours that nobody can use, because its secret is lost. That it may be deleted is not taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condemned {
    /// An API key.
    Key(KeySid),
    /// A public key.
    PublicKey(PublicKeySid),
}

/// How far the making of a subaccount has come: what the journal holds of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Making {
    /// The account.
    pub account: Made<AccountSid>,
    /// Its API key.
    pub key: Made<KeySid>,
    /// Its public key.
    pub public_key: Made<PublicKeySid>,
    /// What has to be deleted before anything else is done.
    pub condemned: Vec<Condemned>,
    /// A write of these keys to the sinks may be on its way.
    pub publishing: bool,
    /// Every one of these places was seen to serve these keys; none before that.
    pub published: Vec<Place>,
    /// The account has its own name: it is finished.
    pub named: bool,
    /// Creates of an account that were not answered and did not show in time: they may still turn up.
    pub given_up: Vec<AttemptId>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn account() -> AccountSid {
        AccountSid::new("AC00000000000000000000000000000001").unwrap()
    }

    #[test]
    fn a_mark_survives_its_text_form_proves_its_maker_and_fits_whatever_the_instance_is_called() {
        let (key, instance) = (LabelKey::new([7; 32]), Instance::new("abcdefghijklmnop").unwrap());
        let mark = Mark::new(&key, &account(), &instance, AttemptId(Uuid::from_u128(42)));
        let text = mark.to_string();
        assert!(text.len() <= super::super::key::LABEL_LIMIT, "{text}");
        let read = Mark::parse(&text).unwrap();
        assert!(read == mark && read.proven(&key, &account()));
        assert!(!read.proven(&LabelKey::new([8; 32]), &account()));
        assert!(!read.proven(&key, &AccountSid::new("AC00000000000000000000000000000002").unwrap()));
    }

    #[test]
    fn no_credential_of_a_policy_can_be_called_as_the_seed_is() {
        let shortest = Instance::new("x").unwrap();
        assert!(Label::length(&shortest, &seed()) > super::super::key::LABEL_LIMIT);
    }

    #[test]
    fn a_mark_is_no_label_of_the_daemon_and_a_label_is_no_mark() {
        let (key, instance) = (LabelKey::new([7; 32]), Instance::new("prod").unwrap());
        let attempt = AttemptId(Uuid::from_u128(42));
        assert!(Label::parse(&Mark::new(&key, &account(), &instance, attempt).to_string()).is_none());
        assert!(Mark::parse(&Label::new(&key, &whole(&account()), &instance, &seed(), attempt).to_string()).is_none());
        for text in ["", "rekeyd-seed", "rekeyd-seed:prod", "rekeyd-seed:prod:short", "customer-1"] {
            assert!(Mark::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_was_written_down_is_read_again_and_an_unknown_word_is_not() {
        let attempt = AttemptId(Uuid::from_u128(5));
        let making = Making {
            account: Made::There { attempt, sid: account() },
            key: Made::Asked { attempt, at: Timestamp::UNIX_EPOCH },
            condemned: vec![Condemned::Key(KeySid::new("SK00000000000000000000000000000001").unwrap())],
            ..Making::default()
        };
        let text = serde_json::to_string(&making).unwrap();
        assert_eq!(serde_json::from_str::<Making>(&text).unwrap(), making);
        assert!(serde_json::from_str::<Making>(&text.replace("asked", "dreamt")).is_err());
    }

    #[test]
    fn names_can_stand_in_every_sinks_path() {
        assert!(SubaccountName::new("customer-0001").is_ok() && SubaccountName::new(&"x".repeat(64)).is_ok());
        for bad in ["", "-x", ".x", "a/b", "a b", "a{b", "é"] {
            assert!(SubaccountName::new(bad).is_err(), "{bad}");
        }
        assert!(SubaccountName::new(&"x".repeat(65)).is_err());
    }
}

//! Fleets: the same credential in many subaccounts, and the accounts that Twilio shows.

use super::home::Region;
use super::key::AccountSid;
use super::names::{CredentialName, name, slug};
use super::policy::Rules;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

name!(
    /// The name of a fleet: the beginning of the names of its credentials.
    FleetName,
    |text| slug(text, 20) && !text.starts_with('-'),
    "1 to 20 of a-z, 0-9 and -, not starting with -"
);

/// Stands for the SID of the account, in what is said once for all members.
pub const ACCOUNT_SID: &str = "{account_sid}";
/// Stands for the name of the account.
pub const ACCOUNT_NAME: &str = "{account_name}";
/// So many of the last digits of an account's SID are in the name of its credential: the label of a key has no room for more.
const DIGITS: usize = 10;

/// The same credential in many accounts.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    /// Its name.
    pub name: FleetName,
    /// In which region; in the usual one of each account, if none is named.
    pub region: Option<Region>,
    /// In which accounts.
    pub choice: Choice,
    /// How many members are rotated at a time.
    pub waves: Waves,
    /// What is wanted of each member: account and name are those of nobody, and the places have [`ACCOUNT_SID`] or
    /// [`ACCOUNT_NAME`] in them.
    pub each: Rules,
    /// The files that the daemon itself needs: no member is published there.
    pub reserved: BTreeSet<PathBuf>,
}

/// Which accounts belong to a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// These, in this order.
    Listed(Vec<AccountSid>),
    /// Every subaccount that is not closed and has such a name; suspended ones pause.
    Named(Pattern),
}

/// A name in which `*` stands for any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(pub String);

/// Rotations of a fleet come in waves, so that what goes wrong goes wrong for a few only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waves {
    /// The members that go first.
    pub canary: usize,
    /// How long every sink has to serve the new keys of those before others follow.
    pub hold: Duration,
    /// How many others may be on the way at the same time.
    pub batch: usize,
    /// How many members may fail before no other one begins.
    pub tolerate: usize,
}

/// What a credential of a fleet knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The fleet.
    pub fleet: FleetName,
    /// It goes first.
    pub canary: bool,
}

/// An account as Twilio lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its SID.
    pub sid: AccountSid,
    /// Its friendly name.
    pub name: String,
    /// Whether it may be used.
    pub active: bool,
    /// Whether it will never come back.
    pub closed: bool,
    /// When it was opened.
    pub created: Timestamp,
}

impl Fleet {
    /// What the fleet's credential in this account is called: the same in every release, whatever else is in the fleet.
    pub fn member(&self, account: &AccountSid) -> Option<CredentialName> {
        let digits = account.as_str().get(account.as_str().len() - DIGITS..)?.to_ascii_lowercase();
        CredentialName::new(&format!("{}{digits}", self.prefix())).ok()
    }

    /// What the names of all its credentials begin with.
    pub fn prefix(&self) -> String {
        format!("{}-", self.name)
    }

    /// The longest name that a credential of it can have, for the length of the labels.
    pub fn longest(name: &FleetName) -> Option<CredentialName> {
        CredentialName::new(&format!("{name}-{}", "0".repeat(DIGITS))).ok()
    }

    /// Whether Twilio has to be asked who belongs to it.
    pub fn is_discovered(&self) -> bool {
        let named = self.each.places.iter().any(|place| place.path.contains(ACCOUNT_NAME));
        named || matches!(self.choice, Choice::Named(_))
    }
}

impl Pattern {
    /// Whether the name is such a name, letter by letter.
    pub fn fits(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == name };
        let Some(mut name) = name.strip_prefix(first) else { return false };
        let mut parts: Vec<&str> = rest.split('*').collect();
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            // The first place where it fits leaves the most room for those behind it.
            let Some(at) = name.find(part) else { return false };
            name = name.get(at + part.len()..).unwrap_or_default();
        }
        name.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_and_for_none() {
        let fits = |pattern: &str, name: &str| Pattern(pattern.to_owned()).fits(name);
        for (pattern, name) in
            [("*", ""), ("*", "é x"), ("customer-*", "customer-"), ("a*b*c", "a-b-b-c"), ("a*a", "aa"), ("x", "x")]
        {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("customer-*", "Customer-1"), ("a*a", "a"), ("a*b*c", "acb"), ("x", "xy"), ("*x", "xy"), ("", "x")]
        {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}

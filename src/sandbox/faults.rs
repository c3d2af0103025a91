//! How mean the sandbox is: settings that hold for a while, and faults that strike at random.

use super::call::Operation;
use super::chance::Chance;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The settings, all of them kind by default. They can be changed while the sandbox runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// How long a key that was created is not accepted yet (401 20003), in milliseconds.
    pub key_delay_ms: u64,
    /// How long a key that was deleted is still accepted, in milliseconds.
    pub delete_delay_ms: u64,
    /// The share of Twilio's edges that know of a new or a deleted key before its delay is over. Each call meets an edge
    /// by chance, so with 0.5 a new key may be accepted, then refused, then accepted.
    pub edges: Rate,
    /// How old a list is, in milliseconds: it misses the newest keys and still has those that were just deleted.
    pub list_lag_ms: u64,
    /// How long a call waits before anything is done: milliseconds, or the shortest and the longest.
    pub latency_ms: Latency,
    /// How many calls one account may have under way; more are answered with 429 20429.
    pub concurrency: Option<u32>,
    /// How many keys one account may have; a further one is refused with 400 70151.
    pub key_quota: Option<u32>,
    /// How far Twilio's clock is ahead of ours, in milliseconds: it shows in the `Date` header and in the dates of keys.
    pub clock_offset_ms: i64,
    /// What the Main key of a parent may do in its subaccounts.
    pub parent_main_key_on_subaccount: Reach,
    /// Whether signatures of requests are also right by the reading of Twilio's Python library.
    pub pkcv_tolerant: bool,
    /// Whether new Restricted keys may do more than was asked for: everything with the first of their resources.
    pub widen_policies: bool,
    /// Whether Main keys are in no list and can not be fetched. Twilio docs say "all API keys"; that Main keys are among
    /// them is inferred.
    pub hide_main_keys: bool,
    /// Whether a Restricted key that is permitted to delete keys is refused all the same: one of Twilio's pages names only
    /// Main keys and auth tokens for that.
    pub restricted_may_not_delete: bool,
    /// Whether a Restricted key that is permitted to make keys may make no Standard ones, which may do more than itself: error
    /// 70152 says so, another page of Twilio's says that it may.
    pub restricted_may_not_exceed: bool,
    /// Whether a new subaccount enforces signed requests if its parent does: implied by Twilio's documents, and not said.
    pub subaccounts_inherit_pkcv: bool,
    /// Whether a parent is shown only its own public keys, and not those that it has registered for its subaccounts; Twilio's
    /// documents do not say.
    pub hide_public_keys_of_subaccounts: bool,
    /// Whether Main keys may change auth tokens; Twilio's documents do not say.
    pub main_key_on_auth_tokens: bool,
    /// Whether a promotion of an auth token ends every key of the account. Twilio's own instructions for agents say so, and
    /// nothing else does.
    pub promotion_ends_keys: bool,
    /// Whether auth tokens can not be changed by API at all (404 20404), as seen by others on some accounts.
    pub auth_token_api_off: bool,
    /// Faults that strike by chance; the first one that strikes is the call's only one.
    pub random: Vec<Random>,
}

/// What the Main key of a parent may do in its subaccounts; Twilio's own documents disagree, so it is a switch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Only look at the accounts themselves (Twilio docs, "REST API: Subaccounts").
    AccountsOnly,
    /// Manage their keys too (Twilio docs, "Account and Key Management with API Keys").
    #[default]
    AccountsAndKeys,
    /// Everything of the 2010 API.
    AllV2010,
}

/// How long a call waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Latency {
    /// Always this many milliseconds.
    Fixed(u64),
    /// Anything from the first to the second.
    Between(u64, u64),
}

impl Default for Latency {
    fn default() -> Self {
        Self::Fixed(0)
    }
}

impl Latency {
    pub(super) fn draw(self, chance: &mut Chance) -> Duration {
        Duration::from_millis(match self {
            Latency::Fixed(ms) => ms,
            Latency::Between(low, high) => chance.between(low, high),
        })
    }
}

/// A fault that strikes a share of the calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Random {
    /// What happens.
    pub fault: Fault,
    /// How often.
    pub rate: Rate,
    /// Only to this operation.
    #[serde(default)]
    pub operation: Option<Operation>,
}

/// What can go wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Nothing: in a script, lets calls pass before the next line counts.
    Pass,
    /// 429 20429; nothing is done.
    RateLimited,
    /// 401 20003, whatever the credentials; nothing is done.
    Refused,
    /// This status; nothing is done.
    ErrorBefore {
        /// The HTTP status.
        status: ErrorStatus,
    },
    /// The work is done, and then this status is answered.
    ErrorAfter {
        /// The HTTP status.
        status: ErrorStatus,
    },
    /// The work is done and the connection is closed without an answer.
    Lost,
    /// The connection is closed without an answer, and the work is done this much later.
    Late {
        /// How much later, in milliseconds.
        ms: u64,
    },
    /// The request arrives twice; the answer is that to the first.
    Twice,
    /// The call waits this long before anything is done.
    SlowStart {
        /// How long, in milliseconds.
        ms: u64,
    },
    /// The work is done at once, the answer comes this much later.
    SlowAnswer {
        /// How much later, in milliseconds.
        ms: u64,
    },
    /// The work is done; the answer breaks off in the middle.
    Cut,
    /// The work is done; the bytes of the answer's body come one by one.
    Drip {
        /// The pause before each byte, in milliseconds.
        ms: u64,
    },
    /// The work is done; the answer is complete and no JSON.
    Malformed,
}

impl Faults {
    /// The fault that strikes this call by chance.
    pub(super) fn draw(&self, operation: Operation, chance: &mut Chance) -> Option<Fault> {
        let mut meant = self.random.iter().filter(|random| random.operation.is_none_or(|only| only == operation));
        meant.find(|random| chance.happens(random.rate)).map(|random| random.fault)
    }
}

/// A share of all calls, from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Rate(f64);

impl Rate {
    /// Checks the number.
    pub fn new(share: f64) -> Result<Self, OutOfRange> {
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err(OutOfRange("a rate is a number from 0 to 1")) }
    }

    /// The number.
    pub fn share(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Rate {
    type Error = OutOfRange;
    fn try_from(share: f64) -> Result<Self, OutOfRange> {
        Self::new(share)
    }
}

impl From<Rate> for f64 {
    fn from(rate: Rate) -> Self {
        rate.0
    }
}

/// The HTTP status of an error, 400 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct ErrorStatus(u16);

impl ErrorStatus {
    /// 500.
    pub const INTERNAL: Self = Self(500);
    /// 503.
    pub const UNAVAILABLE: Self = Self(503);
    /// 504.
    pub const GATEWAY_TIMEOUT: Self = Self(504);
}

impl TryFrom<u16> for ErrorStatus {
    type Error = OutOfRange;
    fn try_from(status: u16) -> Result<Self, OutOfRange> {
        let accepted = (400..600).contains(&status);
        accepted.then_some(Self(status)).ok_or(OutOfRange("the status of an error is a number from 400 to 599"))
    }
}

impl From<ErrorStatus> for u16 {
    fn from(status: ErrorStatus) -> Self {
        status.0
    }
}

/// A number that a setting cannot have; the text says which it can.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OutOfRange(&'static str);

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(json: &str) -> Result<Faults, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_survive_their_text_form() {
        let text = r#"{"key_delay_ms":2000,"edges":0.5,"latency_ms":[5,50],"concurrency":3,
            "parent_main_key_on_subaccount":"accounts_only",
            "random":[{"fault":"lost","rate":0.1,"operation":"create_key"},
                      {"fault":{"error_before":{"status":502}},"rate":1}]}"#;
        let read = faults(text).unwrap();
        assert_eq!(read.latency_ms, Latency::Between(5, 50));
        assert_eq!(faults(&serde_json::to_string(&read).unwrap()).unwrap(), read);
        assert_eq!(faults("{}").unwrap(), Faults::default());
    }

    #[test]
    fn settings_that_cannot_be_are_refused_with_what_would_be_accepted() {
        assert!(faults(r#"{"edges":1.1}"#).unwrap_err().contains("a rate is a number from 0 to 1"));
        assert!(faults(r#"{"edge":1}"#).unwrap_err().contains("unknown field `edge`"));
        let status = r#"{"random":[{"fault":{"error_after":{"status":200}},"rate":1}]}"#;
        assert!(faults(status).unwrap_err().contains("from 400 to 599"));
    }

    #[test]
    fn a_random_fault_strikes_only_the_operation_it_names() {
        let everything = Rate::new(1.0).unwrap();
        let random = Random { fault: Fault::Lost, rate: everything, operation: Some(Operation::CreateKey) };
        let faults = Faults { random: vec![random], ..Faults::default() };
        assert_eq!(faults.draw(Operation::CreateKey, &mut Chance::new(1)), Some(Fault::Lost));
        assert_eq!(faults.draw(Operation::FetchKey, &mut Chance::new(1)), None);
    }
}

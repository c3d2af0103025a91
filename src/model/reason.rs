//! The closed lists of whys: why a rotation starts, why a key is given up, which step failed, why a human must look.

use serde::{Deserialize, Serialize};

/// Why a rotation is started. The first that holds is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The current key was deleted by somebody else.
    CurrentGone,
    /// There is no key yet.
    First,
    /// A hand-made key is to be replaced.
    Adopted,
    /// An operator asked.
    Requested,
    /// The key is older than the policy allows.
    Aged,
    /// The schedule says so.
    Scheduled,
    /// A sink was added to the policy.
    Widened,
    /// The policy wants keys of another kind: key pairs in place of API keys, or the other way round.
    Kind,
    /// The policy gives its keys other permissions.
    Permissions,
}

impl Reason {
    /// The words for people.
    pub fn words(self) -> &'static str {
        match self {
            Reason::CurrentGone => "the current key was deleted outside rekeyd",
            Reason::First => "first key",
            Reason::Adopted => "replaces the adopted key",
            Reason::Requested => "requested",
            Reason::Aged => "older than rotate_every",
            Reason::Scheduled => "the schedule is due",
            Reason::Widened => "a sink was added",
            Reason::Kind => "the policy wants another kind of key",
            Reason::Permissions => "its permissions were changed in the policy",
        }
    }
}

/// Why a new key is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Its secret was only in memory, and that memory is gone.
    SecretLost,
    /// Its create was not answered, so its secret never arrived.
    AnswerLost,
    /// Twilio did not accept it in time.
    NotAccepted,
    /// The sinks could not be written in time.
    SinksDown,
    /// Somebody deleted it before it was served.
    Deleted,
    /// It was believed gone and is not.
    Resurfaced,
    /// It may do something else than was asked for.
    Permissions,
}

/// The steps, as named in failures, metrics and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the name of the step of the same name in decide::step")]
pub enum StepName {
    Look,
    Prove,
    Fetch,
    Find,
    Recall,
    Issue,
    Probe,
    Permissions,
    Publish,
    Fence,
    Delete,
    Inspect,
    Restart,
}

impl StepName {
    /// Every step, for metrics.
    pub const ALL: [StepName; 13] = [
        StepName::Look,
        StepName::Prove,
        StepName::Fetch,
        StepName::Find,
        StepName::Recall,
        StepName::Issue,
        StepName::Probe,
        StepName::Permissions,
        StepName::Publish,
        StepName::Fence,
        StepName::Delete,
        StepName::Inspect,
        StepName::Restart,
    ];

    /// The word used in metrics, logs and `status`.
    pub fn word(self) -> &'static str {
        match self {
            StepName::Look => "look",
            StepName::Prove => "prove",
            StepName::Fetch => "fetch",
            StepName::Find => "find",
            StepName::Recall => "recall",
            StepName::Issue => "issue",
            StepName::Probe => "probe",
            StepName::Permissions => "permissions",
            StepName::Publish => "publish",
            StepName::Fence => "fence",
            StepName::Delete => "delete",
            StepName::Inspect => "inspect",
            StepName::Restart => "restart",
        }
    }
}

/// Why a human must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Halt {
    /// A sink serves a key that this credential does not expect there.
    Drift,
    /// A sink holds something that is not a pair, and nobody allowed to replace it.
    ForeignContent,
    /// A place that should serve the key is empty.
    PlaceGone,
    /// A sink holds a value that is newer than the journal: the journal was restored, or there are two.
    JournalStale,
    /// Twilio does not accept the pair that a sink serves.
    PairRefused,
    /// The new key was deleted by somebody while consumers change over to it.
    SuccessorGone,
    /// A sink that still may serve the old key is not in the policy any more.
    SinkRemoved,
    /// The policy names another account, or another region of it, than the keys belong to.
    AccountChanged,
    /// The policy wants auth tokens where there were keys, or the other way round.
    KindChanged,
    /// The key to adopt does not exist.
    AdoptMissing,
    /// The key to adopt is another credential's.
    AdoptTaken,
    /// The key whose permissions are to be copied does not exist, or is no Restricted key.
    NoTemplate,
    /// Twilio does not tell an account's auth tokens apart.
    TokensUntold,
    /// Twilio refuses to create keys (quota or rights).
    CreateRefused,
    /// A guard of the program found that it was about to break an invariant.
    Guard,
}

impl Halt {
    /// Every halt, for metrics.
    pub const ALL: [Halt; 15] = [
        Halt::Drift,
        Halt::ForeignContent,
        Halt::PlaceGone,
        Halt::JournalStale,
        Halt::PairRefused,
        Halt::SuccessorGone,
        Halt::SinkRemoved,
        Halt::AccountChanged,
        Halt::KindChanged,
        Halt::AdoptMissing,
        Halt::AdoptTaken,
        Halt::NoTemplate,
        Halt::TokensUntold,
        Halt::CreateRefused,
        Halt::Guard,
    ];

    /// The word used in metrics, logs and `status`.
    pub fn word(self) -> &'static str {
        match self {
            Halt::Drift => "drift",
            Halt::ForeignContent => "foreign_content",
            Halt::PlaceGone => "place_gone",
            Halt::JournalStale => "journal_stale",
            Halt::PairRefused => "pair_refused",
            Halt::SuccessorGone => "successor_gone",
            Halt::SinkRemoved => "sink_removed",
            Halt::AccountChanged => "account_changed",
            Halt::KindChanged => "kind_changed",
            Halt::AdoptMissing => "adopt_missing",
            Halt::AdoptTaken => "adopt_taken",
            Halt::NoTemplate => "no_template",
            Halt::TokensUntold => "tokens_untold",
            Halt::CreateRefused => "create_refused",
            Halt::Guard => "guard",
        }
    }

    /// What an operator can do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Halt::Drift | Halt::PlaceGone => {
                "put back what was there and run `rekeyd resume NAME`, or let rekeyd write its own pair there with `rekeyd resume NAME --overwrite`"
            }
            Halt::ForeignContent => {
                "choose another place, name the key that lies there with `adopt`, or allow it to be replaced with `rekeyd resume NAME --overwrite`"
            }
            Halt::JournalStale => {
                "find the newer journal, or the second installation; only if there is none, `rekeyd resume NAME --overwrite` starts over from what the sinks hold; the key served now then stays alive at Twilio until you delete it by hand"
            }
            Halt::PairRefused => {
                "see why Twilio refuses the pair, then `rekeyd resume NAME`, or `--overwrite` to publish a new key"
            }
            Halt::SuccessorGone => "`rekeyd resume NAME` creates a new key at once",
            Halt::SinkRemoved => {
                "put the sink back into the policy, or, when nothing reads it any more, `rekeyd resume NAME --forget SINK:PATH`"
            }
            Halt::AccountChanged => {
                "name the account and the region of its keys in the policy again, restart and run `rekeyd resume NAME`; keys that live elsewhere need a credential of another name"
            }
            Halt::KindChanged => "use a new credential name for the auth token",
            Halt::AdoptMissing | Halt::AdoptTaken => {
                "correct `adopt` in the policy, restart and run `rekeyd resume NAME`"
            }
            Halt::NoTemplate => {
                "name a Restricted key of the same account with `clone_policy_of`, or list the permissions with `allow`, restart and run `rekeyd resume NAME`"
            }
            Halt::TokensUntold => {
                "nothing was published: delete the secondary token in the Console, and use API keys in this account"
            }
            Halt::CreateRefused => {
                "make room or give the Main key its rights back, then `rekeyd resume NAME`; rekeyd never deletes to make room"
            }
            Halt::Guard => "this is a defect of rekeyd: please report it with `rekeyd history NAME`",
        }
    }
}

/// A condition that stops creates and deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Breaker {
    /// Twilio does not accept the Main key.
    MainKeyRefused,
    /// Keys that the journal knows to be alive are not there: none at all, or more than a fifth of them.
    KeysVanished,
    /// More than a fifth of the credentials found a sink empty or changed.
    SinksDrifting,
    /// A pair that a sink serves is not accepted by Twilio.
    PairRefused,
    /// The wall clock and Twilio's clock are more than five minutes apart.
    Clock,
    /// Too many new keys were given up in the last hour.
    Abandons,
    /// Twilio's answers can not be understood.
    Shape,
    /// The account's keys have not been listed since the start: nothing is known of it yet.
    Unlisted,
}

impl Breaker {
    /// Every breaker, for metrics.
    pub const ALL: [Breaker; 8] = [
        Breaker::MainKeyRefused,
        Breaker::KeysVanished,
        Breaker::SinksDrifting,
        Breaker::PairRefused,
        Breaker::Clock,
        Breaker::Abandons,
        Breaker::Shape,
        Breaker::Unlisted,
    ];

    /// The word used in metrics, logs and `status`.
    pub fn word(self) -> &'static str {
        match self {
            Breaker::Unlisted => "unlisted",
            Breaker::MainKeyRefused => "main_key_refused",
            Breaker::KeysVanished => "keys_vanished",
            Breaker::SinksDrifting => "sinks_drifting",
            Breaker::PairRefused => "pair_refused",
            Breaker::Clock => "clock",
            Breaker::Abandons => "abandons",
            Breaker::Shape => "shape",
        }
    }

    /// What it means, and what can be done about it.
    pub fn meaning(self) -> &'static str {
        match self {
            Breaker::Unlisted => "the account's keys have not been listed since the start",
            Breaker::MainKeyRefused => {
                "Twilio does not accept the Main key: its secret is wrong, it was deleted, or it is a Standard key, which may not manage keys"
            }
            Breaker::KeysVanished => {
                "many keys that should be alive are not there; believed if the next sweep sees the same"
            }
            Breaker::SinksDrifting => "more than a fifth of the account's credentials found a sink changed or empty",
            Breaker::PairRefused => "Twilio does not accept a pair that a sink serves: see `rekeyd status`",
            Breaker::Clock => "the wall clock and Twilio's clock are more than five minutes apart",
            Breaker::Abandons => "too many new keys were given up in the last hour",
            Breaker::Shape => "Twilio's answers can not be understood: is something in between?",
        }
    }
}

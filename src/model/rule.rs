//! The safety rules, each of which a test can switch off to see that something notices.
//!
//! In a release build every rule holds and there is no switch.

/// A rule that keeps keys and consumers from harm (protocol, a.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Before a key is given up, every sink is bumped (rule 6).
    Fence,
    /// A write names the version that it replaces (S8).
    SinkBase,
    /// Only a key that was created in the window of its attempt is ours by its label (rule 7).
    Window,
    /// Only a key that alone carries its label is ours by it (rule 7).
    Unique,
    /// What a delete rests on was read just now (rule 11).
    FreshRead,
    /// Every place counts, not only the first (S7).
    EverySink,
    /// What is about to be created or deleted is in the journal before (rule 1).
    DecisionFirst,
    /// A key is accepted before any consumer may see it (S4).
    VerifyFirst,
    /// A list is a hint; a key is gone when it is asked for by its SID and not there (rule 16).
    FetchNotList,
    /// A time has passed when every clock says so (rule 10).
    Clocks,
    /// The old key lives through its grace (S3).
    Grace,
    /// Grace begins when every pod that reads its pair only once has read the new one.
    Rollout,
    /// Creates are bounded in every state (rule 13, S5).
    Limits,
    /// Whoever lost a credential to another process appends nothing more (S10).
    Token,
    /// An entry is written at the number after the last one that was seen, or not at all (S10).
    Sequence,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 15] = [
        Rule::Fence,
        Rule::SinkBase,
        Rule::Window,
        Rule::Unique,
        Rule::FreshRead,
        Rule::EverySink,
        Rule::DecisionFirst,
        Rule::VerifyFirst,
        Rule::FetchNotList,
        Rule::Clocks,
        Rule::Grace,
        Rule::Rollout,
        Rule::Limits,
        Rule::Token,
        Rule::Sequence,
    ];

    /// Whether the rule holds: always, but in a test that has switched it off.
    #[cfg(not(debug_assertions))]
    pub const fn holds(self) -> bool {
        true
    }

    /// Whether the rule holds: always, but in a test that has switched it off.
    #[cfg(debug_assertions)]
    pub fn holds(self) -> bool {
        switch::OFF.get() != Some(self) && switch::EVERYWHERE.get() != Some(&self)
    }

    /// Switches a rule off, or all on, for this thread.
    #[cfg(debug_assertions)]
    pub fn switch_off(rule: Option<Rule>) {
        switch::OFF.set(rule);
    }

    /// Switches a rule off for the whole process, for as long as it lives; the first one counts.
    #[cfg(debug_assertions)]
    pub fn switch_off_everywhere(rule: Rule) {
        switch::EVERYWHERE.get_or_init(|| rule);
    }
}

#[cfg(debug_assertions)]
mod switch {
    use super::Rule;
    use std::cell::Cell;
    use std::sync::OnceLock;

    pub(super) static EVERYWHERE: OnceLock<Rule> = OnceLock::new();

    thread_local! {
        pub(super) static OFF: Cell<Option<Rule>> = const { Cell::new(None) };
    }
}

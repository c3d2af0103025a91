//! The script: which of the next calls meet which fault.

use super::call::Operation;
use super::faults::Fault;
use crate::model::key::AccountSid;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// A line of the script: the next calls of an operation meet a fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// What happens.
    pub fault: Fault,
    /// To how many calls.
    #[serde(default = "once")]
    pub times: u32,
    /// Only to this operation.
    #[serde(default)]
    pub operation: Option<Operation>,
    /// Only in this account.
    #[serde(default)]
    pub account: Option<AccountSid>,
}

fn once() -> u32 {
    1
}

impl Line {
    /// The next call of the operation meets the fault.
    pub fn next(operation: Operation, fault: Fault) -> Self {
        Self { fault, times: once(), operation: Some(operation), account: None }
    }

    fn is_for(&self, operation: Operation, account: Option<&AccountSid>) -> bool {
        self.operation.is_none_or(|only| only == operation)
            && (self.account.is_none() || self.account.as_ref() == account)
    }
}

/// The lines that are still to come.
#[derive(Debug, Default)]
pub struct Script(VecDeque<Line>);

impl Script {
    /// Adds lines, after those that are there.
    pub fn add(&mut self, lines: impl IntoIterator<Item = Line>) {
        self.0.extend(lines.into_iter().filter(|line| line.times > 0));
    }

    /// Forgets all lines.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What is left.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.0.iter()
    }

    /// Takes the fault for this call: that of the first line that is meant for it.
    pub(super) fn take(&mut self, operation: Operation, account: Option<&AccountSid>) -> Option<Fault> {
        let place = self.0.iter().position(|line| line.is_for(operation, account))?;
        let line = &mut self.0[place];
        line.times -= 1;
        let (fault, over) = (line.fault, line.times == 0);
        if over {
            self.0.remove(place);
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::super::chance::Chance;
    use super::*;

    #[test]
    fn a_line_is_used_up_by_the_calls_it_is_meant_for() {
        let mut script = Script::default();
        let create = Operation::CreateKey;
        script.add([Line { times: 2, ..Line::next(create, Fault::Pass) }, Line::next(create, Fault::Lost)]);
        assert_eq!(script.take(Operation::FetchKey, None), None);
        let taken: Vec<_> = (0..4).map(|_| script.take(create, None)).collect();
        assert_eq!(taken, [Some(Fault::Pass), Some(Fault::Pass), Some(Fault::Lost), None]);
    }

    #[test]
    fn a_line_for_one_account_leaves_the_others_alone() {
        let (one, other) = (Chance::new(1).account_sid(), Chance::new(2).account_sid());
        let mut script = Script::default();
        script.add([Line { account: Some(one.clone()), ..Line::next(Operation::ListKeys, Fault::Refused) }]);
        assert_eq!(script.take(Operation::ListKeys, Some(&other)), None);
        assert_eq!(script.take(Operation::ListKeys, None), None);
        assert_eq!(script.take(Operation::ListKeys, Some(&one)), Some(Fault::Refused));
    }
}

//! What a process that holds secrets owes its machine: no core file, and no look into its memory by its neighbours.
//!
//! Memory is not locked against swapping. `mlockall` needs `RLIMIT_MEMLOCK` without a limit, and under a limit it makes a
//! later allocation fail, perhaps between a create and the write that keeps its secret. Swap is turned off for the
//! service as a whole (`MemorySwapMax=0`), which needs no right of the process.

use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::process::{dumpable_behavior, getrlimit, set_dumpable_behavior, setrlimit};
use std::io;

/// Turns core files and `ptrace` by other processes of the same user off (setrlimit(2) `RLIMIT_CORE`,
/// prctl(2) `PR_SET_DUMPABLE`), and asks the kernel whether they are.
///
/// Both, because either alone leaves a gap: a core that is piped to a program has no limit (core(5)), and a process that
/// can not be dumped becomes one that can when it runs another program.
pub fn harden() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    match exposed()? {
        None => Ok(()),
        Some(what) => Err(io::Error::other(format!("the kernel took the call and {what}"))),
    }
}

/// What is still open, if anything; a sandbox around the process may take such calls and do nothing.
fn exposed() -> io::Result<Option<&'static str>> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    Ok(match (getrlimit(Resource::Core) == none, dumpable_behavior()?) {
        (false, _) => Some("still writes core files"),
        (_, DumpableBehavior::Dumpable | DumpableBehavior::DumpableReadableOnlyByRoot) => {
            Some("still lets others read this process")
        }
        (true, _) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_before_is_closed_after() {
        assert!(exposed().unwrap().is_some());
        harden().unwrap();
        assert_eq!(exposed().unwrap(), None);
    }
}

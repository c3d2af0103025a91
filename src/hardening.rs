//! What a process that holds secrets owes its machine: no core file, and no look into its memory by its neighbours.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use std::io;

/// Turns core files and `ptrace` by other processes of the same user off (setrlimit(2) `RLIMIT_CORE`,
/// prctl(2) `PR_SET_DUMPABLE`).
pub fn harden() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

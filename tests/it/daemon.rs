//! The daemon as a process: the real binary against the sandbox, a real OpenBao, the Secrets Manager emulator and a
//! directory, all at once.

mod anew;
mod aws_access;
mod canary;
mod cli;
mod echo;
mod fleets;
mod hardened;
mod kill;
mod kinds;
mod main_job;
mod main_key;
mod memory;
mod moves;
mod regions;
pub mod rig;
mod stored;
mod takeover;
mod vault;
mod watch;

//! The real binary, ill-treated: killed at every point, stopped, cloned from backups, lied to by clocks and networks, on
//! disks that are full. What must hold is read from the records of others: the sandbox's, the sinks', and the journal's.

mod clocks;
mod consumer;
mod defects;
mod disks;
mod fleets;
mod ground;
mod kills;
mod network;
mod process;
mod record;
mod restored;
mod stopped;
mod subaccounts;

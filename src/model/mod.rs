//! The nouns: plain values, without I/O, clock or async. Read `rotation` first, then `event`, then `apply`.

pub mod access;
pub mod apply;
pub mod document;
pub mod event;
pub mod fault;
pub mod fleet;
pub mod home;
pub mod key;
pub mod kind;
pub mod listen;
pub mod names;
pub mod pair;
pub mod permission;
pub mod phase;
pub mod policy;
pub mod reason;
pub mod restart;
pub mod rotation;
pub mod rule;
pub mod secret;
pub mod sink;
pub mod spent;
pub mod subaccount;
pub mod time;
pub mod workload;

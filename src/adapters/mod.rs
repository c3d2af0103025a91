//! The adapters: each knows one vendor, or one part of this machine, and nothing else. None of them knows the engine.

pub mod aws;
pub mod clock;
mod content;
pub mod directory;
pub mod http;
pub mod journal;
mod json;
pub mod kubernetes;
pub mod listener;
mod redact;
pub mod secrets;
pub mod systemd;
pub mod ticks;
pub mod twilio;
pub mod vault;

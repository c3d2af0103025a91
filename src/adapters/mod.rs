//! The adapters: each knows one vendor and nothing else. None of them knows the engine, or another adapter.

pub mod journal;

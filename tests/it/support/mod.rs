//! What several tests share.

pub(crate) mod apiserver;
pub(crate) mod authority;
pub(crate) mod counted;
pub(crate) mod dice;
pub(crate) mod disguise;
pub(crate) mod emulator;
pub(crate) mod fake_sink;
pub(crate) mod issuer;
pub(crate) mod memory;
pub(crate) mod openapi;
pub(crate) mod openbao;
pub mod peers;
pub(crate) mod postgres;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod raft;
pub(crate) mod server;
pub mod wire;
pub mod world;

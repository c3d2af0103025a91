//! What several tests share.

pub mod peers;
pub mod wire;
pub mod world;

//! What several tests share.

pub mod world;
pub(crate) mod peers;

//! What several tests share.

pub mod world;

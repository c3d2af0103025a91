//! rekeyd rotates Twilio API keys and publishes them.

pub mod config;
pub mod decide;
pub mod model;
pub mod ports;

//! rekeyd rotates Twilio API keys and publishes them.

pub mod adapters;
pub mod decide;
pub mod model;
pub mod ports;

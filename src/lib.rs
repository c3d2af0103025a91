//! rekeyd rotates Twilio API keys and publishes them.

pub mod decide;
pub mod model;
pub mod ports;
pub mod sandbox;

//! rekeyd rotates Twilio API keys and publishes them.

pub mod adapters;
pub mod cli;
pub mod config;
pub mod decide;
pub mod describe;
pub mod engine;
pub mod hardening;
pub mod http;
pub mod metrics;
pub mod model;
pub mod ports;
pub mod sandbox;
pub mod telemetry;

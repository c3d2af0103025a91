//! The right wing of the second floor: each adapter knows one vendor, or one part of this machine, and nothing else.

pub mod clock;
pub mod http;
pub mod secrets;
pub mod twilio;

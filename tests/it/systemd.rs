//! Under systemd: what the daemon tells the service manager, the unit that is shipped, booted in a machine of its own, and
//! the Debian package.

mod machine;
mod notify;
mod package;
mod service;

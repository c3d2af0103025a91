//! Under systemd: what the daemon tells the service manager, the unit that is shipped, booted in a machine of its own, the
//! commands that its files tell people to run, and the Debian package.

mod commands;
mod machine;
mod notify;
mod package;
mod service;

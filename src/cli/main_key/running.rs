//! What the daemon of this policy signs in with, asked of the daemon itself: it tells in its metrics.

use crate::adapters::listener;
use crate::metrics;
use crate::model::home::Home;
use crate::model::key::KeySid;
use crate::model::policy::Listen;
use std::net::SocketAddr;

/// What the daemon at an address has told.
pub(super) struct Running {
    at: SocketAddr,
    metrics: Option<String>,
}

/// The key that is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Uses {
    /// The daemon signs in with it.
    Yes,
    /// It does not.
    No,
    /// No daemon answers here; it may run elsewhere.
    Unknown,
}

impl Running {
    /// Asks the daemon that listens there.
    pub(super) async fn ask(listen: &Listen) -> Self {
        let (at, metrics) = listener::ask(listen).await;
        Self { at, metrics }
    }

    pub(super) fn uses(&self, home: &Home, key: &KeySid) -> Uses {
        match &self.metrics {
            None => Uses::Unknown,
            Some(metrics) if metrics::signs_in_with(metrics, home, key) => Uses::Yes,
            Some(_) => Uses::No,
        }
    }

    /// Where it listens.
    pub(super) fn at(&self) -> SocketAddr {
        self.at
    }
}

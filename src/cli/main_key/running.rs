//! What the daemon of this policy signs in with, asked of the daemon itself: it tells in its metrics.

use crate::adapters::http::{self, Base, Connections, Deadlines};
use crate::metrics;
use crate::model::home::Home;
use crate::model::key::KeySid;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use url::Url;

/// So many bytes of the metrics are read: what is sought stands before what there is of each credential.
const ENOUGH: usize = 4 << 20;

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
    pub(super) async fn ask(listen: SocketAddr) -> Self {
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
        };
        let at = SocketAddr::new(ip, listen.port());
        Self { at, metrics: metrics(at).await }
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

async fn metrics(at: SocketAddr) -> Option<String> {
    http::install_crypto();
    let base = Base::new(&Url::parse(&format!("http://{at}")).ok()?).ok()?;
    let client = http::client(&base, None, Deadlines::default(), Connections::Fresh).ok()?;
    let mut answer = http::send(client.get(base.at(["metrics"]))).await.ok()?;
    let mut text = Vec::new();
    while text.len() < ENOUGH
        && let Some(chunk) = answer.chunk().await.ok()?
    {
        text.extend_from_slice(&chunk);
    }
    answer.status().is_success().then(|| String::from_utf8_lossy(&text).into_owned())
}

//! Addresses of Twilio and of sinks: where the daemon may send a request at all (protocol, S15).

use super::reader::Field;
use crate::model::home::Region;
use url::{Host, Url};

/// Twilio's API: the fixed hosts, or a sandbox on this machine.
pub(super) const TWILIO: &str =
    "\"https://api.twilio.com\", \"https://api.EDGE.REGION.twilio.com\", or a loopback address for a sandbox";
/// A server of one's own.
pub(super) const SERVER: &str = "https://HOST or https://HOST:PORT; http only for a loopback host";

impl Field<'_> {
    /// Twilio's address.
    pub(super) fn twilio_address(&self) -> Option<Url> {
        self.parse(TWILIO, |text| {
            let url = address(text)?;
            match url.domain() {
                _ if is_loopback(&url) => Ok(url),
                Some(host) if is_twilio(host) && url.scheme() == "https" && url.port().is_none() => Ok(url),
                Some(host) if is_twilio(host) => Err("Twilio is reached by https on its usual port only"),
                Some(host) if is_shut(host) => Err("Twilio has shut this host: a region is reached through an edge"),
                _ => Err("this is no host of Twilio's: the Main key must not be sent anywhere else"),
            }
        })
    }

    /// The address of a server of the operator's.
    pub(super) fn server_address(&self) -> Option<Url> {
        self.parse(SERVER, |text| {
            let url = address(text)?;
            let safe = url.scheme() == "https" || is_loopback(&url);
            if safe { Ok(url) } else { Err("over http, everybody on the way could read the secrets") }
        })
    }
}

/// Whether requests to this address stay on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// A scheme, a host and perhaps a port, and nothing else.
fn address(text: &str) -> Result<Url, &'static str> {
    // The parser would quietly drop blanks, and read a backslash as a slash (WHATWG URL standard).
    if !plain_text(text) {
        return Err("an address has no blanks and no backslashes");
    }
    let url = Url::parse(text).map_err(|_| "this is not an address: it begins with https:// and a host")?;
    if !matches!(url.scheme(), "https" | "http") || !text.contains("://") {
        return Err("this is not an address of a web server: it begins with https://");
    }
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        return Err("an address has no user and no password: how to sign in is said elsewhere");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("an address has no query and no fragment: it ends after the host and the port");
    }
    if url.path() != "/" {
        return Err("an address has no path: it ends after the host and the port");
    }
    Ok(url)
}

/// Whether the parser takes the text as it is.
pub(super) fn plain_text(text: &str) -> bool {
    !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\')
}

/// `api.twilio.com`, or one of its edges (Twilio docs, "Using the Twilio REST API in a non-US Region").
fn is_twilio(host: &str) -> bool {
    let labels: Vec<_> = host.split('.').collect();
    match labels.as_slice() {
        ["api", "twilio", "com"] | ["api", "us1", "twilio", "com"] => true,
        ["api", edge, region, "twilio", "com"] => !edge.is_empty() && Region::new(region).is_ok(),
        _ => false,
    }
}

/// The region that an address of Twilio's leads to, whatever the product; that of a sandbox is not in it.
pub(super) fn region_of(url: &Url) -> Option<Region> {
    let labels: Vec<_> = url.domain().unwrap_or_default().split('.').collect();
    match labels.as_slice() {
        [_, _, region, "twilio", "com"] => Region::new(region).ok(),
        [_, "twilio", "com"] | [_, "us1", "twilio", "com"] => Some(Region::us1()),
        _ => None,
    }
}

/// `api.REGION.twilio.com`, shut on 2026-04-28 for every region but `us1` (Twilio docs, "Edge Locations").
fn is_shut(host: &str) -> bool {
    matches!(host.split('.').collect::<Vec<_>>().as_slice(), ["api", region, "twilio", "com"] if !region.is_empty())
}

/// A region of AWS, such as `eu-west-1`.
pub(super) fn region(text: &str) -> Result<String, &'static str> {
    let parts: Vec<_> = text.split('-').collect();
    let word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let number = |part: &str| matches!(part.len(), 1 | 2) && part.bytes().all(|byte| byte.is_ascii_digit());
    match parts.split_last() {
        Some((last, words)) if words.len() >= 2 && words.iter().all(word) && number(last) => Ok(text.to_owned()),
        Some((last, _)) if parts.len() >= 3 && last.trim_end_matches(char::is_alphabetic).parse::<u8>().is_ok() => {
            Err("this looks like an availability zone, or is not in lower case")
        }
        _ => Err("this is not the name of a region"),
    }
}

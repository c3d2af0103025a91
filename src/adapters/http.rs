//! The HTTP client that the adapters share, and what it does to every call, whoever the other side is.
//!
//! - **One TLS stack**: rustls with aws-lc-rs, TLS 1.2 or later; there is no switch that turns a check off.
//! - **Nothing is sent twice or elsewhere**: no redirects, no retries, no `Referer`, and no proxy from the environment
//!   (a variable that was set for another program must not move the traffic of the Main key).
//! - **Everything ends**: 5 s to connect, 30 s for the whole call, 1 MiB for the body, also against a peer that drips.
//! - **HTTP/1.1 only**: a connection that died silently then fails the one call that was on it. HTTP/2 would share it
//!   among all calls and fail them all until somebody noticed.

mod certificates;

use super::secrets::SecretError;
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::policy::ClientCertificate;
use reqwest::{Client, RequestBuilder, Response, redirect, retry};
use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::{Host, Url};
use zeroize::{Zeroize as _, Zeroizing};

/// The longest body that is read, in bytes.
pub const BODY_LIMIT: usize = 1 << 20;

/// How long an unused connection is kept: less than servers keep theirs, because a request that meets a connection
/// while the server closes it ends as "unknown".
const IDLE: Duration = Duration::from_secs(15);

/// Makes aws-lc-rs the provider of every TLS connection of this process. May be called more than once.
pub fn install_crypto() {
    // Fails only when a provider is installed already, and this crate compiles in no other one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address will not do.
    #[error("{address} can not be the address of a server: {problem}")]
    Address {
        /// Scheme, host and port of it; the rest may hold a secret.
        address: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The file of certificates could not be read.
    #[error("the certificates in {} can not be read", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file of certificates holds none.
    #[error("{} does not hold certificates in PEM form", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key of the client certificate could not be read.
    #[error("the key of the client certificate can not be had")]
    Key(#[source] SecretError),
    /// The files of the client certificate do not hold what they should.
    #[error("{} and {} are not a certificate and its key in PEM form", certificate.display(), key.display())]
    Identity {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of its key.
        key: PathBuf,
    },
    /// The TLS stack would not start, mostly because the machine has no certificates of authorities.
    #[error("no HTTPS client can be made; are the system's CA certificates there (package ca-certificates)?")]
    Client(#[source] reqwest::Error),
}

/// Where requests go, and nowhere else (protocol, S15): one scheme, host and port, and a path to start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base(Url);

impl Base {
    /// Accepts https, and http to this machine itself.
    pub fn new(url: &Url) -> Result<Self, HttpError> {
        let problem = match url.scheme() {
            _ if !url.username().is_empty() || url.password().is_some() => "it holds a user name or a password",
            _ if url.query().is_some() || url.fragment().is_some() => "it holds a query or a fragment",
            "https" if url.has_host() => return Ok(Self(url.clone())),
            "http" if loopback(url) => return Ok(Self(url.clone())),
            "http" => "plain http is accepted only to this machine itself (127.0.0.0/8, ::1 or localhost)",
            _ => "it must begin with https://",
        };
        Err(HttpError::Address { address: url.origin().ascii_serialization(), problem })
    }

    /// An address below this one; the segments are percent-encoded.
    pub fn at<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.0.clone();
        url.path_segments_mut().expect("http and https addresses have a path").pop_if_empty().extend(segments);
        url
    }

    fn plain(&self) -> bool {
        self.0.scheme() == "http"
    }
}

fn loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// How long a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Until the connection stands, TLS included.
    pub connect: Duration,
    /// Until the last byte of the body.
    pub total: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), total: Duration::from_secs(30) }
    }
}

/// Which connection a call travels on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// One that was used before, if there is one.
    Kept,
    /// A new one each time. For calls where "unknown" is costly: a kept connection may be closing just now. And for calls
    /// that carry the secret of a key: a kept connection keeps its buffers too, with what went through them last.
    Fresh,
}

/// Makes a client for one server; `ca_file` replaces the system's authorities.
pub fn client(
    base: &Base,
    ca_file: Option<&Path>,
    deadlines: Deadlines,
    connections: Connections,
) -> Result<Client, HttpError> {
    client_showing(base, ca_file, None, deadlines, connections)
}

/// The same, which shows a certificate of its own to a server that asks for one. The files are read once, here.
pub fn client_showing(
    base: &Base,
    ca_file: Option<&Path>,
    own: Option<&ClientCertificate>,
    deadlines: Deadlines,
    connections: Connections,
) -> Result<Client, HttpError> {
    install_crypto();
    let builder = Client::builder()
        .user_agent(concat!("rekeyd/", env!("CARGO_PKG_VERSION")))
        .https_only(!base.plain())
        .tls_backend_rustls()
        .http1_only()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(deadlines.connect)
        .timeout(deadlines.total)
        .pool_idle_timeout(IDLE)
        // The port of these addresses does not count; the name cannot be made to lead elsewhere.
        .resolve_to_addrs("localhost", &[here(Ipv4Addr::LOCALHOST), here(Ipv6Addr::LOCALHOST)]);
    let builder = match (ca_file, base.plain()) {
        (Some(path), _) => builder.tls_certs_only(certificates::authorities(path)?),
        // No client can be made without any authority, and plain http needs none (seanmonstar/reqwest#2988).
        (None, true) => builder.tls_certs_only([]),
        (None, false) => builder,
    };
    let builder = match connections {
        Connections::Kept => builder,
        Connections::Fresh => builder.pool_max_idle_per_host(0),
    };
    match own {
        // That the two belong together is seen only when the client is made.
        Some(own) => builder.identity(certificates::own(own)?).build().map_err(|_| certificates::unfit(own)),
        None => builder.build().map_err(HttpError::Client),
    }
}

fn here(address: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(address.into(), 0)
}

/// How a call ended that is not done (protocol, rule 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// It certainly did not take effect.
    NotDone(Failure),
    /// It may or may not have taken effect.
    Unknown(Failure),
}

impl<T> From<Miss> for Outcome<T> {
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::NotDone(failure) => Outcome::NotDone(failure),
            Miss::Unknown(failure) => Outcome::Unknown(failure),
        }
    }
}

/// The outcome of a call from its result.
pub fn outcome<T>(result: Result<T, Miss>) -> Outcome<T> {
    result.map_or_else(Outcome::from, Outcome::Done)
}

/// Sends a request once and waits for the head of the answer. "Not done" means that not a byte of it was sent.
pub async fn send(request: RequestBuilder) -> Result<Response, Miss> {
    request.send().await.map_err(|error| {
        let sent = !(error.is_connect() || error.is_builder());
        let failure = failure(error);
        if sent { Miss::Unknown(failure) } else { Miss::NotDone(failure) }
    })
}

/// The bytes of an answer, wiped when they are dropped.
pub type Body = Zeroizing<Vec<u8>>;

/// Reads the body of an answer, up to the limit.
pub async fn body(mut response: Response) -> Result<Body, Failure> {
    let too_long = || Failure::new(Fault::Malformed, "the answer is longer than 1 MiB");
    let mut body = Body::default();
    while let Some(chunk) = response.chunk().await.map_err(failure)? {
        if body.len() + chunk.len() > BODY_LIMIT {
            return Err(too_long());
        }
        append(&mut body, &chunk);
        // Wiped where the HTTP library holds no other part of the same buffer.
        if let Ok(mut chunk) = chunk.try_into_mut() {
            chunk.as_mut().zeroize();
        }
    }
    Ok(body)
}

/// Grows by moving to a larger buffer and wiping the old one; `Vec` alone would leave it behind as it is.
fn append(body: &mut Body, bytes: &[u8]) {
    let length = body.len() + bytes.len();
    if length > body.capacity() {
        let mut larger = Body::new(Vec::with_capacity(length.next_power_of_two()));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(bytes);
}

/// What went wrong below HTTP, in a text of our own; the library's would show the address with its query.
fn failure(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let text = deepest(&error);
    match () {
        () if error.is_builder() => Failure::new(Fault::Local, &format!("the request can not be built: {text}")),
        () if error.is_connect() => Failure::new(Fault::Unreachable, &format!("no connection: {text}")),
        () if error.is_timeout() => Failure::new(Fault::Timeout, "no whole answer in time"),
        () if garbled(&error) => Failure::new(Fault::Malformed, &format!("the answer is not HTTP: {text}")),
        () => Failure::new(Fault::Unreachable, &format!("the connection was cut: {text}")),
    }
}

fn causes<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error as &(dyn Error + 'static)), |error| Error::source(*error))
}

fn deepest(error: &reqwest::Error) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// Whether bytes came that break the rules of HTTP, as opposed to no more bytes.
fn garbled(error: &reqwest::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput};
    causes(error).any(|cause| {
        let parse = cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        parse || matches!(kind, Some(InvalidData | InvalidInput))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(text: &str) -> Result<Base, String> {
        Base::new(&Url::parse(text).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn https_goes_anywhere_and_plain_http_only_to_this_machine() {
        for good in [
            "https://api.twilio.com",
            "https://10.0.0.1:8200/prefix/",
            "http://127.0.0.1:9700",
            "http://127.255.255.254",
            "http://[::1]:9700",
            "http://localhost:9700",
        ] {
            assert!(base(good).is_ok(), "{good}");
        }
        for bad in ["http://api.twilio.com", "http://128.0.0.1", "http://localhost.example", "http://[::2]:1"] {
            let origin = bad.trim_end_matches('/');
            let reason = "plain http is accepted only to this machine itself (127.0.0.0/8, ::1 or localhost)";
            assert_eq!(base(bad).unwrap_err(), format!("{origin} can not be the address of a server: {reason}"));
        }
        assert!(base("ftp://127.0.0.1").unwrap_err().ends_with("it must begin with https://"));
        assert!(base("unix:/run/socket").unwrap_err().ends_with("it must begin with https://"));
    }

    #[test]
    fn an_address_that_holds_a_secret_is_refused_without_showing_it() {
        for bad in ["https://user:Canary@host", "https://Canary@host", "https://host?Canary", "https://host#Canary"] {
            let error = base(bad).unwrap_err();
            assert!(error.starts_with("https://host can not be the address of a server: it holds a "), "{error}");
        }
    }

    #[test]
    fn addresses_are_made_below_the_base() {
        let at = |text| base(text).unwrap().at(["2010-04-01", "a/b?c"]).to_string();
        assert_eq!(at("https://api.twilio.com"), "https://api.twilio.com/2010-04-01/a%2Fb%3Fc");
        assert_eq!(at("http://127.0.0.1:9700/"), "http://127.0.0.1:9700/2010-04-01/a%2Fb%3Fc");
        assert_eq!(at("https://host/twilio/"), "https://host/twilio/2010-04-01/a%2Fb%3Fc");
    }

    #[test]
    fn a_body_keeps_every_byte_while_it_grows() {
        let mut body = Body::default();
        let mut expected = Vec::new();
        for length in [0, 1, 7, 8, 9, 1000, 3, 100_000] {
            let chunk: Vec<u8> = (0..length).map(|at: usize| (at % 251) as u8).collect();
            append(&mut body, &chunk);
            expected.extend_from_slice(&chunk);
            assert_eq!(*body, expected);
        }
    }
}

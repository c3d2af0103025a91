//! The shared HTTP client: whom it trusts, and that the environment moves nothing.

use crate::support::authority::Authority;
use crate::support::wire::{Wire, json};
use rcgen::KeyPair;
use rekeyd::adapters::http::{self, Base, Connections, Deadlines, Miss};
use rekeyd::model::fault::Fault;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion, version};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::process::Command;
use url::Url;

/// Takes one connection, and returns what was said on it inside TLS; nothing if TLS did not come about.
fn serve(
    (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
    versions: &[&'static SupportedProtocolVersion],
) -> (SocketAddr, JoinHandle<String>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        let mut bytes = [0; 4096];
        let length = stream.read(&mut bytes).unwrap_or(0);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    });
    (address, thread)
}

/// One GET over https: the body, or why not.
async fn get(address: SocketAddr, ca_file: Option<&Path>) -> Result<Vec<u8>, Miss> {
    let base = Base::new(&Url::parse(&format!("https://{address}")).unwrap()).unwrap();
    let deadlines = Deadlines { connect: Duration::from_secs(2), ..Deadlines::default() };
    let client = http::client(&base, ca_file, deadlines, Connections::Kept).unwrap();
    let response = http::send(client.get(base.at(["a"]))).await?;
    Ok(http::body(response).await.unwrap().to_vec())
}

/// Fails to get a connection, without a byte of the request being sent; the reason.
async fn refused(address: SocketAddr, ca_file: Option<&Path>, server: JoinHandle<String>) -> String {
    let miss = get(address, ca_file).await.unwrap_err();
    assert_eq!(server.join().unwrap(), "", "not a byte of the request may be sent");
    match miss {
        Miss::NotDone(failure) => failure.to_string(),
        Miss::Unknown(failure) => panic!("{failure}, but nothing was sent"),
    }
}

#[tokio::test]
async fn a_server_with_a_certificate_of_the_given_authority_is_trusted() {
    let authority = Authority::new("ours");
    for versions in [[&version::TLS12], [&version::TLS13]] {
        let (address, server) = serve(authority.certify("127.0.0.1", 2100), &versions);
        assert_eq!(get(address, Some(authority.file.path())).await.unwrap(), b"{}");
        assert!(server.join().unwrap().starts_with("GET /a HTTP/1.1\r\n"));
    }
}

#[tokio::test]
async fn a_server_that_can_not_prove_itself_gets_no_request() {
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    let trusted = Some(authority.file.path());
    let both = [&version::TLS12, &version::TLS13];
    let unknown = "unreachable: no connection: invalid peer certificate: UnknownIssuer";
    let (address, server) = serve(authority.certify("127.0.0.1", 2100), &both);
    assert_eq!(refused(address, None, server).await, unknown, "the system does not know our authority");
    let (address, server) = serve(other.certify("127.0.0.1", 2100), &both);
    assert_eq!(refused(address, trusted, server).await, unknown);
    let (address, server) = serve(authority.certify("api.twilio.com", 2100), &both);
    let reason = refused(address, trusted, server).await;
    assert!(reason.starts_with("unreachable: no connection: invalid peer certificate: certificate not valid for name"));
    let (address, server) = serve(authority.certify("127.0.0.1", 2020), &both);
    let reason = refused(address, trusted, server).await;
    assert!(
        reason.starts_with("unreachable: no connection: invalid peer certificate: certificate expired"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_server_without_tls_gets_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        let length = socket.read(&mut bytes).unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        let sent = String::from_utf8_lossy(&bytes[..length]).into_owned();
        sent.find("GET").map_or_else(String::new, |at| sent[at..].to_owned())
    });
    let reason = refused(address, None, server).await;
    assert!(reason.starts_with("unreachable: no connection: received corrupt message"), "{reason}");
}

#[tokio::test]
async fn a_server_that_hangs_before_tls_stands_has_got_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let miss = get(listener.local_addr().unwrap(), None).await.unwrap_err();
    assert!(matches!(miss, Miss::NotDone(_)), "{miss:?}");
}

#[tokio::test]
async fn a_client_for_https_sends_nothing_in_clear() {
    let wire = Wire::always(json(200, "{}")).await;
    let base = Base::new(&Url::parse("https://127.0.0.1:1").unwrap()).unwrap();
    let client = http::client(&base, None, Deadlines::default(), Connections::Kept).unwrap();
    let miss = http::send(client.get(wire.url())).await.unwrap_err();
    assert!(matches!(&miss, Miss::NotDone(failure) if failure.fault == Fault::Local), "{miss:?}");
    assert!(wire.requests().is_empty());
}

#[tokio::test]
async fn the_name_localhost_leads_to_this_machine() {
    let wire = Wire::always(json(200, "{}")).await;
    let mut url = wire.url();
    url.set_host(Some("localhost")).unwrap();
    let client = http::client(&Base::new(&url).unwrap(), None, Deadlines::default(), Connections::Kept).unwrap();
    assert_eq!(http::send(client.get(url)).await.unwrap().status(), 200);
    assert_eq!(wire.requests().len(), 1);
}

/// Runs another test of this program with this environment; it must pass there as well.
async fn passes_with(environment: &[(&str, &str)], test: &str) {
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this).args(["--exact", test]).envs(environment.iter().copied()).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{environment:?}\n{text}");
}

const EXACT_REQUESTS: &str = "twilio::requests::every_call_sends_exactly_this";

#[tokio::test]
async fn no_proxy_is_taken_from_the_environment() {
    let proxy = Wire::always(Vec::new()).await;
    let url = proxy.url().to_string();
    let variables = [("HTTP_PROXY", url.as_str()), ("http_proxy", &url), ("ALL_PROXY", &url), ("NO_PROXY", "")];
    passes_with(&variables, EXACT_REQUESTS).await;
    assert!(proxy.requests().is_empty());
}

#[tokio::test]
async fn plain_http_needs_no_certificates_on_the_machine() {
    passes_with(&[("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")], EXACT_REQUESTS).await;
}

/// Set for the second process of the next test: the key of an authority that the system of that process trusts.
const SYSTEM_KEY: &str = "REKEYD_TEST_SYSTEM_KEY";

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the environment tells which of the two processes this is")]
async fn a_given_authority_replaces_those_of_the_system() {
    let Ok(key) = std::env::var(SYSTEM_KEY) else {
        let key = KeyPair::generate().unwrap().serialize_pem();
        let system = Authority::with_key("system", KeyPair::from_pem(&key).unwrap());
        let file = system.file.path().to_str().unwrap();
        let test = "http::a_given_authority_replaces_those_of_the_system";
        return passes_with(&[("SSL_CERT_FILE", file), (SYSTEM_KEY, &key)], test).await;
    };
    let system = Authority::with_key("system", KeyPair::from_pem(&key).unwrap());
    let both = [&version::TLS12, &version::TLS13];
    let (address, _server) = serve(system.certify("127.0.0.1", 2100), &both);
    assert_eq!(get(address, None).await.unwrap(), b"{}", "the system's authorities are trusted by default");
    let (address, server) = serve(system.certify("127.0.0.1", 2100), &both);
    let reason = refused(address, Some(Authority::new("ours").file.path()), server).await;
    assert_eq!(reason, "unreachable: no connection: invalid peer certificate: UnknownIssuer");
}

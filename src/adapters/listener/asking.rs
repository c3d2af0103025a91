//! Asks the listener of a daemon of this policy for its metrics, as a command on the same machine does.

use super::{ListenerError, certificates};
use crate::adapters::secrets;
use crate::model::policy::{Listen, SecretSource};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// So many bytes of the metrics are read: what is told of Main keys stands before what there is of each credential.
const ENOUGH: u64 = 4 << 20;
/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The metrics of the daemon that listens there, and where that is; no metrics if none answers as it should.
pub async fn ask(listen: &Listen) -> (SocketAddr, Option<String>) {
    let ip = match listen.address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    let at = SocketAddr::new(ip, listen.address.port());
    let told = tokio::time::timeout(PATIENCE, metrics(at, listen)).await;
    (at, told.ok().flatten())
}

async fn metrics(at: SocketAddr, listen: &Listen) -> Option<String> {
    let token = listen.token.as_ref().map(|file| secrets::read(&SecretSource::File(file.clone())));
    let token = token.transpose().ok()?;
    let authorization = token.map(|token| format!("Authorization: Bearer {}\r\n", token.expose())).map(Zeroizing::new);
    let authorization = authorization.as_ref().map_or("", |line| line.as_str());
    let request = Zeroizing::new(format!("GET /metrics HTTP/1.0\r\nHost: {at}\r\n{authorization}\r\n"));
    // The other side proves itself before it is told the token.
    let stream = TcpStream::connect(at).await.ok()?;
    let Some(files) = &listen.tls else { return exchange(stream, &request).await };
    let own = Own::of(certificates(&files.certificate)).ok()?;
    let config = ClientConfig::builder_with_provider(own.provider.clone());
    let config = config.with_safe_default_protocol_versions().ok()?.dangerous();
    let config = config.with_custom_certificate_verifier(Arc::new(own)).with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(ServerName::IpAddress(at.ip().into()), stream).await.ok()?;
    exchange(stream, &request).await
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Option<String> {
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.take(ENOUGH).read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    (head.split(' ').nth(1) == Some("200")).then(|| body.to_owned())
}

/// Takes exactly the certificate that the policy has the daemon show, whatever names are in it: it is known here, and was
/// made for the address that others know this machine by.
#[derive(Debug)]
struct Own {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl Own {
    fn of(chain: Result<Vec<CertificateDer<'static>>, ListenerError>) -> Result<Self, ListenerError> {
        let certificate = chain?.swap_remove(0);
        Ok(Self { certificate, provider: Arc::new(default_provider()) })
    }
}

impl ServerCertVerifier for Own {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let same = *shown == self.certificate;
        if same { Ok(ServerCertVerified::assertion()) } else { Err(Error::General("it is another certificate".into())) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, shown, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, shown, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

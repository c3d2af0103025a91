//! A certificate authority of a test's own, and a front that speaks TLS for a server that does not.

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// An authority of our own.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, as PEM.
    pub(crate) file: NamedTempFile,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::with_key(name, KeyPair::generate().unwrap())
    }

    /// The same name and the same key make the same authority, also in another process.
    pub(crate) fn with_key(name: &str, key: KeyPair) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    /// The files of a certificate for that name and of its key, in PEM, under these names in a folder.
    pub(crate) fn write(&self, name: &str, folder: &Path, called: &str) -> (PathBuf, PathBuf) {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let [cert_file, key_file] = ["pem", "key"].map(|end| folder.join(format!("{called}.{end}")));
        std::fs::write(&cert_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key_file, Permissions::from_mode(0o600)).unwrap();
        (cert_file, key_file)
    }

    /// Its certificate, as PEM.
    pub(crate) fn pem(&self) -> String {
        std::fs::read_to_string(self.file.path()).unwrap()
    }

    /// A certificate for that name, good until the end of that year.
    pub(crate) fn certify(&self, name: &str, year: i32) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let (certificate, key) = self.sign(name, year);
        (certificate.der().clone(), key.serialize_der().try_into().unwrap())
    }

    /// The same as text, certificate and key, for servers that read files.
    pub(crate) fn certify_as_pem(&self, name: &str) -> (String, String) {
        let (certificate, key) = self.sign(name, 2100);
        (certificate.pem(), key.serialize_pem())
    }

    fn sign(&self, name: &str, year: i32) -> (Certificate, KeyPair) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

/// A front on 127.0.0.1 for as long as this value lives: it ends TLS and passes every byte on, both ways.
pub(crate) struct Front {
    /// Where it is.
    pub(crate) url: String,
    accepting: JoinHandle<()>,
}

impl Front {
    /// Stands before the server at this port.
    pub(crate) async fn start(authority: &Authority, upstream: u16) -> Self {
        let (certificate, key) = authority.certify("127.0.0.1", 2100);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let (acceptor, listener) =
            (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let url = format!("https://{}", listener.local_addr().unwrap());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(acceptor.clone(), client, upstream));
            }
        });
        Self { url, accepting }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Either side may hang up at any time.
async fn pass(acceptor: TlsAcceptor, client: TcpStream, upstream: u16) -> Option<()> {
    let mut client = acceptor.accept(client).await.ok()?;
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).await.ok()?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.ok().map(drop)
}

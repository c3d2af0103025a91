//! What the listener for machines shows and asks for: a certificate with its key, and a token. Each comes from a file, and
//! counts anew as soon as the file is replaced.

mod asking;

use super::secrets::{SecretError, fingerprint, read, read_lines};
use crate::model::policy::{Listen, ListenTls, SecretSource};
pub use asking::ask;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Why the listener can not show or ask for what the policy says. No text shows what a file holds.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// The certificate can not be read.
    #[error("the certificate {} can not be read", .0.display())]
    Certificate(PathBuf, #[source] pem::Error),
    /// There is none in it.
    #[error("{} does not hold certificates in PEM form", .0.display())]
    NoCertificate(PathBuf),
    /// The key, or the token, can not be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The key is none.
    #[error("{} does not hold a private key in PEM form", .0.display())]
    NoKey(PathBuf),
    /// They can not be used together.
    #[error("the certificate {} and the key {} can not be used together: {problem}", files.certificate.display(), files.key.display())]
    Unfit {
        /// Where they are.
        files: ListenTls,
        /// What is wrong, mostly that the key is another certificate's.
        problem: rustls::Error,
    },
}

/// All that the policy has the listener show and ask for.
pub struct Files {
    /// What it shows, if it speaks TLS.
    pub certificate: Option<Certificate>,
    /// What it asks for, if it does.
    pub token: Option<Token>,
}

impl Files {
    /// Reads it for the first time. It blocks for as long as the file system does, as does all that is here.
    pub fn read(listen: &Listen) -> Result<Self, ListenerError> {
        let certificate = listen.tls.as_ref().map(Certificate::read).transpose()?;
        let token = listen.token.as_deref().map(Token::read).transpose()?;
        Ok(Self { certificate, token })
    }
}

/// The certificate as it was last read.
pub struct Certificate {
    files: ListenTls,
    taken: Mutex<(Print, Arc<ServerConfig>)>,
}

/// What tells one content of both files from another.
type Print = [Option<[u8; 32]>; 2];

impl Certificate {
    fn read(files: &ListenTls) -> Result<Self, ListenerError> {
        let taken = (print(files), Arc::new(config(files)?));
        Ok(Self { files: files.clone(), taken: Mutex::new(taken) })
    }

    /// What a new connection is shown. Files that are just being replaced may not belong together: then what was there before
    /// goes on.
    pub fn now(&self) -> Arc<ServerConfig> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let now = print(&self.files);
        if taken.0 != now {
            taken.0 = now;
            match config(&self.files) {
                Ok(config) => {
                    taken.1 = Arc::new(config);
                    tracing::info!("the listener shows the certificate that was put in place");
                }
                Err(error) => tracing::warn!("the listener goes on with the certificate it had: {error}"),
            }
        }
        taken.1.clone()
    }
}

fn print(files: &ListenTls) -> Print {
    [fingerprint(&files.certificate), fingerprint(&files.key)]
}

fn config(files: &ListenTls) -> Result<ServerConfig, ListenerError> {
    let chain = certificates(&files.certificate)?;
    let key = read_lines(&files.key)?;
    let key =
        PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| ListenerError::NoKey(files.key.clone()))?;
    let unfit = |problem| ListenerError::Unfit { files: files.clone(), problem };
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(unfit)?;
    let mut config = config.with_no_client_auth().with_single_cert(chain, key).map_err(unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ListenerError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.map_err(|error| ListenerError::Certificate(path.to_owned(), error))?;
    if chain.is_empty() { Err(ListenerError::NoCertificate(path.to_owned())) } else { Ok(chain) }
}

/// The token that `/metrics` is shown for.
pub struct Token(SecretSource);

impl Token {
    /// It must be there now.
    fn read(file: &Path) -> Result<Self, ListenerError> {
        let source = SecretSource::File(file.to_owned());
        read(&source)?;
        Ok(Self(source))
    }

    /// Whether this is it. How long that takes tells nothing of it. Nobody is let in while it can not be read.
    pub fn is(&self, given: &[u8]) -> bool {
        match read(&self.0) {
            Ok(token) => {
                let [one, other] = [token.expose().as_bytes(), given].map(|text| digest(&SHA256, text));
                verify_slices_are_equal(one.as_ref(), other.as_ref()).is_ok()
            }
            Err(error) => {
                tracing::warn!("nobody can be shown the metrics: {error}");
                false
            }
        }
    }
}

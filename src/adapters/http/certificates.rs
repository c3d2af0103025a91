//! Certificates in PEM: whom a client trusts, and what it shows itself. Its key is read like every other secret.

use super::super::secrets;
use super::HttpError;
use crate::model::policy::ClientCertificate;
use reqwest::{Certificate, Identity};
use std::fs;
use std::path::Path;
use zeroize::Zeroizing;

/// The authorities to trust.
pub(super) fn authorities(path: &Path) -> Result<Vec<Certificate>, HttpError> {
    let pem = fs::read(path).map_err(|source| HttpError::CaFile { path: path.to_owned(), source })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(HttpError::NoCertificate { path: path.to_owned() }),
    }
}

/// What is shown to a server that asks for it.
pub(super) fn own(own: &ClientCertificate) -> Result<Identity, HttpError> {
    let unreadable = |source| HttpError::CaFile { path: own.certificate.clone(), source };
    let certificate = fs::read(&own.certificate).map_err(unreadable)?;
    let key = secrets::read_lines(&own.key).map_err(HttpError::Key)?;
    // One text of the right length: one that grows leaves copies of the key behind.
    let mut both = Zeroizing::new(Vec::with_capacity(certificate.len() + key.expose().len() + 1));
    both.extend_from_slice(&certificate);
    both.push(b'\n');
    both.extend_from_slice(key.expose().as_bytes());
    Identity::from_pem(&both).map_err(|_| unfit(own))
}

pub(super) fn unfit(own: &ClientCertificate) -> HttpError {
    HttpError::Identity { certificate: own.certificate.clone(), key: own.key.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::{Base, Connections, Deadlines, client};
    use super::*;

    #[test]
    fn certificates_are_missed_with_the_name_of_the_file() {
        let base = Base::new(&"https://127.0.0.1:1".parse().unwrap()).unwrap();
        let make = |path: &Path| client(&base, Some(path), Deadlines::default(), Connections::Kept);
        let missing = make(Path::new("/nonexistent/ca.pem")).unwrap_err();
        assert_eq!(missing.to_string(), "the certificates in /nonexistent/ca.pem can not be read");
        let empty = tempfile::NamedTempFile::new().unwrap();
        let expected = format!("{} does not hold certificates in PEM form", empty.path().display());
        assert_eq!(make(empty.path()).unwrap_err().to_string(), expected);
    }
}

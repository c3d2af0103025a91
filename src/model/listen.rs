//! Where the listener for machines is, and what it shows and asks for.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The listener for `/metrics`, `/livez` and `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Where it is.
    pub address: SocketAddr,
    /// What it shows; plain HTTP is spoken without it.
    pub tls: Option<ListenTls>,
    /// The file of the token that `/metrics` is shown for; without it to everybody.
    pub token: Option<PathBuf>,
}

/// A certificate, and the key that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenTls {
    /// The file of the certificate, and of those between it and its authority, in PEM.
    pub certificate: PathBuf,
    /// The file of the private key, in PEM.
    pub key: PathBuf,
}

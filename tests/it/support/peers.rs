//! Where the real counterparts of the tests are installed.

use std::path::PathBuf;

/// The folder that `tests/peers/install` fills; a test that needs it fails where it is missing.
#[expect(clippy::disallowed_methods, reason = "tests find their counterparts by an environment variable")]
pub(crate) fn peers() -> PathBuf {
    let chosen = std::env::var_os("REKEYD_PEERS").map(PathBuf::from);
    let peers = chosen.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/peers"));
    assert!(
        peers.join("venv/bin/python").exists(),
        "the counterparts are not in {}: run tests/run, or tests/peers/install",
        peers.display()
    );
    peers
}

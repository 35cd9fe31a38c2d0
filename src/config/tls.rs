//! The section `[tls]`.

use std::path::{Path, PathBuf};

use super::section::{MAX_SECONDS, section};

section! {
    /// TLS. Files are read again on SIGHUP and when they change; connections that are open keep their certificate.
    pub struct Tls in "tls" {
        /// PEM file with the server's certificate and the chain to its root. Empty disables TLS.
        pub cert: PathBuf = PathBuf::new();
        /// PEM file with the private key of the certificate. `cert` and `key` are set together.
        pub key: PathBuf = PathBuf::new();
        /// PEM file with certificate authorities. If set, every client must present a certificate of one of them, whose common name must be
        /// the `sub` of its token. Empty: clients need no certificate.
        pub client_ca: PathBuf = PathBuf::new();
        /// Interval in seconds between checks whether these files have changed.
        pub reload_seconds: u64 = 10, 1..=MAX_SECONDS;
        /// Time in seconds that a new connection has for the TLS handshake.
        pub handshake_seconds: u64 = 5, 1..=MAX_SECONDS;
    }
}

impl Tls {
    /// Whether the server uses TLS.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        is_set(&self.cert)
    }
}

pub(super) fn is_set(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

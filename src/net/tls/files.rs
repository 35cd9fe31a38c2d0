//! The files of a certificate, and the configuration that is parsed from them.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::digest::{Context, SHA256};
use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig, crypto,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier},
};

/// The files of a server's certificate, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, followed by its chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities that issue clients' certificates. `None`: clients need no certificate.
    pub client_ca: Option<PathBuf>,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error(
        "{file} cannot be read: {cause}; it is configured for TLS, and must exist and be readable for the server's user"
    )]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// A file is not valid PEM. The parser's error is left out, because it may quote the file.
    #[error("{0} is not valid PEM: it is damaged or truncated")]
    Malformed(PathBuf),
    /// A file has no certificate.
    #[error("there is no certificate in {0}: it must be a PEM file, with a line BEGIN CERTIFICATE")]
    NoCertificate(PathBuf),
    /// A file has no private key.
    #[error("there is no private key in {0}: it must be a PEM file, with a line BEGIN PRIVATE KEY (and not ENCRYPTED)")]
    NoKey(PathBuf),
    /// Certificate and key do not match.
    #[error(
        "the key in {key} does not match the certificate in {cert}: {cause}; the server's own certificate must be the first one in its file"
    )]
    KeyMismatch {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// The error of the TLS library.
        cause: rustls::Error,
    },
    /// A certificate is not one of an authority.
    #[error("a certificate in {file} is not usable as an authority: {cause}")]
    BadAuthority {
        /// The file.
        file: PathBuf,
        /// The error of the TLS library.
        cause: rustls::Error,
    },
    /// The TLS library does not support its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    /// The TLS library rejects the authorities.
    #[error("clients' certificates cannot be verified: {0}")]
    Verifier(#[from] VerifierBuilderError),
}

/// The contents of the files at one time.
pub(super) struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// Tells whether contents have changed, without a second copy of the key.
pub(super) type Digest = Vec<u8>;

impl Contents {
    pub(super) fn digest(&self) -> Digest {
        let mut context = Context::new(&SHA256);
        for part in [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten() {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        context.finish().as_ref().to_vec()
    }
}

impl TlsFiles {
    pub(super) fn read(&self) -> Result<Contents, TlsError> {
        let read = |file: &Path| fs::read(file).map_err(|cause| TlsError::Unreadable { file: file.to_owned(), cause });
        Ok(Contents {
            cert: read(&self.cert)?,
            key: read(&self.key)?,
            client_ca: self.client_ca.as_deref().map(read).transpose()?,
        })
    }

    /// Parses the configuration of new connections.
    pub(super) fn parse(&self, contents: &Contents) -> Result<ServerConfig, TlsError> {
        let chain = certificates(&self.cert, &contents.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|cause| match cause {
            pem::Error::NoItemsFound => TlsError::NoKey(self.key.clone()),
            _ => TlsError::Malformed(self.key.clone()),
        })?;
        // Explicit, because other users of rustls in the process may set a default.
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let authorities = self.client_ca.as_deref().zip(contents.client_ca.as_deref());
        let builder = match authorities {
            None => builder.with_no_client_auth(),
            Some((file, pem)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(file, pem)? {
                    let bad = |cause| TlsError::BadAuthority { file: file.to_owned(), cause };
                    roots.add(certificate).map_err(bad)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mismatch = |cause| TlsError::KeyMismatch { cert: self.cert.clone(), key: self.key.clone(), cause };
        let mut config = builder.with_single_cert(chain, key).map_err(mismatch)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if authorities.is_some() {
            // Otherwise a client could resume a session after its certificate has become invalid.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }

    /// Warns if users other than the server's user and group can access the key.
    pub(super) fn warn_of_others(&self) {
        if fs::metadata(&self.key).is_ok_and(|file| file.permissions().mode() & 0o007 != 0) {
            tracing::warn!(file = %self.key.display(), "every user of this machine can access the private key: run chmod o= on it");
        }
    }
}

fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Malformed(file.to_owned()))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate(file.to_owned()));
    }
    Ok(certificates)
}

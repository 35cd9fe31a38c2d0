//! The files of a certificate, and what is made of them.

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

/// Where a server finds its certificate. All are PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then those that lead to its root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities of clients' certificates. Absent: clients need none.
    pub client_ca: Option<PathBuf>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error(
        "{file} cannot be read: {cause}; it was given for TLS, and must be there and readable for the server's user"
    )]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file is not what a PEM file is. (What the parser says may have in it what stands in the file.)
    #[error("{0} is not a whole PEM file: it is damaged, or cut off")]
    Malformed(PathBuf),
    /// A file that should have certificates has none.
    #[error("there is no certificate in {0}: it must be a PEM file, with a line BEGIN CERTIFICATE")]
    NoCertificate(PathBuf),
    /// A file that should have a key has none.
    #[error("there is no private key in {0}: it must be a PEM file, with a line BEGIN PRIVATE KEY (and not ENCRYPTED)")]
    NoKey(PathBuf),
    /// Certificate and key are not of one pair.
    #[error(
        "the key in {key} does not fit the certificate in {cert}: {cause}; the server's own certificate must be the first there"
    )]
    Misfit {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What the TLS library said.
        cause: rustls::Error,
    },
    /// A certificate cannot be that of an authority.
    #[error("a certificate in {file} cannot be that of an authority: {cause}")]
    BadAuthority {
        /// Which file.
        file: PathBuf,
        /// What the TLS library said.
        cause: rustls::Error,
    },
    /// The TLS library does not take its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    /// The TLS library does not take the authorities.
    #[error("clients' certificates cannot be verified: {0}")]
    Verifier(#[from] VerifierBuilderError),
}

/// What was in the files at one time.
pub(super) struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// By which contents are known again, without a second copy of the key.
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

    /// What new connections are accepted by.
    pub(super) fn parse(&self, contents: &Contents) -> Result<ServerConfig, TlsError> {
        let chain = certificates(&self.cert, &contents.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|cause| match cause {
            pem::Error::NoItemsFound => TlsError::NoKey(self.key.clone()),
            _ => TlsError::Malformed(self.key.clone()),
        })?;
        // Named, because the process may have other users of rustls, with defaults of their own.
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
        let misfit = |cause| TlsError::Misfit { cert: self.cert.clone(), key: self.key.clone(), cause };
        let mut config = builder.with_single_cert(chain, key).map_err(misfit)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if authorities.is_some() {
            // Or somebody could come back on a certificate that is good no longer.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }

    /// Says in the log that more than the server's user and group may read the key.
    pub(super) fn warn_of_others(&self) {
        if fs::metadata(&self.key).is_ok_and(|file| file.permissions().mode() & 0o007 != 0) {
            tracing::warn!(file = %self.key.display(), "everybody on this machine may use the private key: chmod o= it");
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

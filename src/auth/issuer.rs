//! Issuers whose tokens are accepted. Each has one kind of key.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jsonwebtoken::{Algorithm, DecodingKey};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    jwks::{Jwks, UrlError},
    signing_key::{SigningKey, is_exposed},
    verification_key::VerificationKey,
};

/// Another issuer whose tokens are accepted.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// The `iss` claim of its tokens.
    pub issuer: String,
    /// The `aud` claim that its tokens must have.
    pub audience: String,
    /// Where its verification keys come from.
    pub keys: KeySource,
}

/// Where the verification keys of an issuer come from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// The URL of a JWK Set (RFC 7517).
    JwksUrl(String),
    /// A file with a shared secret (HS256).
    SecretFile(PathBuf),
}

/// Why the keys of an issuer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The secret file cannot be read.
    #[error("cannot read the secret of the issuer {issuer:?} in {file}: {cause}")]
    Unreadable {
        /// The issuer.
        issuer: String,
        /// The secret file.
        file: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// All users of the machine can read the secret file.
    #[error(
        "the secret of the issuer {issuer:?} in {file} is readable by all users of this machine; run `chmod 600` on it"
    )]
    Exposed {
        /// The issuer.
        issuer: String,
        /// The secret file.
        file: PathBuf,
    },
    /// The secret is short enough to be guessed (RFC 7518, section 3.2).
    #[error(
        "the secret of the issuer {issuer:?} in {file} is too short; it must have at least {MIN_SECRET_BYTES} bytes"
    )]
    Short {
        /// The issuer.
        issuer: String,
        /// The secret file.
        file: PathBuf,
    },
    /// The URL of the JWK Set is not acceptable.
    #[error("the jwks_url of the issuer {issuer:?} {cause}")]
    Url {
        /// The issuer.
        issuer: String,
        /// What is wrong with the URL.
        cause: UrlError,
    },
}

/// Shortest accepted secret, in bytes.
const MIN_SECRET_BYTES: usize = 32;

/// An issuer with its verification keys.
#[derive(Debug)]
pub(super) struct TrustedIssuer {
    pub(super) issuer: String,
    keys: IssuerKeys,
}

#[derive(Debug)]
enum IssuerKeys {
    Single(Arc<VerificationKey>),
    Published(Jwks),
}

impl TrustedIssuer {
    /// This server itself.
    pub(super) fn own(issuer: &str, audience: &str, key: &SigningKey) -> Self {
        let (id, decoding) = (Some(key.id.clone()), key.decoding.clone());
        let key = VerificationKey::new(id, decoding, vec![Algorithm::EdDSA], issuer, audience);
        Self { issuer: issuer.to_owned(), keys: IssuerKeys::Single(Arc::new(key)) }
    }

    /// Another issuer, and the task that fetches its keys if it publishes them.
    pub(super) fn other(
        issuer: &Issuer,
        interval: Duration,
        stop: &CancellationToken,
    ) -> Result<(Self, Option<JoinHandle<()>>), IssuerError> {
        let Issuer { issuer, audience, keys } = issuer;
        let (keys, task) = match keys {
            KeySource::SecretFile(file) => {
                let decoding = DecodingKey::from_secret(&read_secret(issuer, file)?);
                let key = VerificationKey::new(None, decoding, vec![Algorithm::HS256], issuer, audience);
                (IssuerKeys::Single(Arc::new(key)), None)
            }
            KeySource::JwksUrl(url) => {
                let started = Jwks::start(issuer, audience, url, interval, stop);
                let (jwks, task) = started.map_err(|cause| IssuerError::Url { issuer: issuer.clone(), cause })?;
                (IssuerKeys::Published(jwks), Some(task))
            }
        };
        Ok((Self { issuer: issuer.clone(), keys }, task))
    }

    /// The key for a token with this key id, or without one. May wait for a fetch of published keys.
    pub(super) async fn key(&self, id: Option<&str>) -> Result<Arc<VerificationKey>, Error> {
        match &self.keys {
            IssuerKeys::Single(key) if key.matches(id) => Ok(Arc::clone(key)),
            IssuerKeys::Single(_) => Err(Error::TokenInvalid("its key id is unknown")),
            IssuerKeys::Published(jwks) => jwks.key(id).await,
        }
    }
}

fn read_secret(issuer: &str, file: &Path) -> Result<Vec<u8>, IssuerError> {
    let (issuer, file) = (issuer.to_owned(), file.to_owned());
    let unreadable = |cause| IssuerError::Unreadable { issuer: issuer.clone(), file: file.clone(), cause };
    let mut secret = fs::read(&file).map_err(unreadable)?;
    if is_exposed(&file).map_err(unreadable)? {
        return Err(IssuerError::Exposed { issuer, file });
    }
    // Editors end a file with a newline, which is not part of the secret.
    let length = secret.strip_suffix(b"\n").map_or(secret.len(), <[u8]>::len);
    secret.truncate(length);
    if secret.len() < MIN_SECRET_BYTES {
        return Err(IssuerError::Short { issuer, file });
    }
    Ok(secret)
}

//! Those whose tokens are taken, and their keys: one kind of key an issuer.

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    jwks::{BadUrl, Jwks},
    key::{OwnKey, is_exposed},
    token::{Key, good_for},
};

/// Somebody else whose tokens are taken.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// What its tokens have in their `iss`.
    pub issuer: String,
    /// What they must have in their `aud`.
    pub audience: String,
    /// How they are checked.
    pub keys: Keys,
}

/// How the tokens of an issuer are checked.
#[derive(Debug, Clone)]
pub enum Keys {
    /// By public keys that it publishes here, as a JWK Set (RFC 7517).
    Published(String),
    /// By a secret in a file (HS256).
    Secret(PathBuf),
}

/// Why an issuer's tokens cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The file of the secret cannot be read.
    #[error("the secret of the issuer {issuer:?} in {file} cannot be read: {cause}")]
    Unreadable {
        /// Whose.
        issuer: String,
        /// Which file.
        file: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Others than its owner can read the secret.
    #[error("the secret of the issuer {issuer:?} in {file} can be read by everybody on this machine: `chmod 600` it")]
    Exposed {
        /// Whose.
        issuer: String,
        /// Which file.
        file: PathBuf,
    },
    /// The secret could be guessed (RFC 7518, section 3.2).
    #[error("the secret of the issuer {issuer:?} in {file} is too short: it must have {SECRET_BYTES} bytes or more")]
    Short {
        /// Whose.
        issuer: String,
        /// Which file.
        file: PathBuf,
    },
    /// The address of the keys cannot be.
    #[error("the jwks_url of the issuer {issuer:?} {cause}")]
    Url {
        /// Whose.
        issuer: String,
        /// What is wrong.
        cause: BadUrl,
    },
}

/// Bytes of a secret, at least.
const SECRET_BYTES: usize = 32;

/// An issuer, with its keys.
#[derive(Debug)]
pub(super) struct Trusted {
    pub(super) issuer: String,
    keys: Held,
}

#[derive(Debug)]
enum Held {
    One(Arc<Key>),
    Published(Jwks),
}

impl Trusted {
    /// This server itself.
    pub(super) fn own(issuer: &str, audience: &str, key: &OwnKey) -> Self {
        let key = Key {
            id: Some(key.id.clone()),
            decoding: key.decoding.clone(),
            validation: good_for(vec![Algorithm::EdDSA], issuer, audience),
        };
        Self { issuer: issuer.to_owned(), keys: Held::One(Arc::new(key)) }
    }

    /// Somebody else; with the task that looks at published keys.
    pub(super) fn other(
        issuer: &Issuer,
        interval: Duration,
        stop: &CancellationToken,
    ) -> Result<(Self, Option<JoinHandle<()>>), IssuerError> {
        let Issuer { issuer, audience, keys } = issuer;
        let (keys, task) = match keys {
            Keys::Secret(file) => {
                let secret = secret(issuer, file)?;
                let decoding = DecodingKey::from_secret(&secret);
                let validation = good_for(vec![Algorithm::HS256], issuer, audience);
                (Held::One(Arc::new(Key { id: None, decoding, validation })), None)
            }
            Keys::Published(url) => {
                let started = Jwks::start(issuer, audience, url, interval, stop);
                let (jwks, task) = started.map_err(|cause| IssuerError::Url { issuer: issuer.clone(), cause })?;
                (Held::Published(jwks), Some(task))
            }
        };
        Ok((Self { issuer: issuer.clone(), keys }, task))
    }

    /// The key that a token names, or means by naming none.
    pub(super) async fn key(&self, id: Option<&str>) -> Result<Arc<Key>, Error> {
        match &self.keys {
            Held::One(key) => {
                let is_meant = key.id.is_none() || id.is_none() || key.id.as_deref() == id;
                if is_meant { Ok(Arc::clone(key)) } else { Err(Error::TokenInvalid("its key is not known here")) }
            }
            Held::Published(jwks) => jwks.key(id).await,
        }
    }
}

fn secret(issuer: &str, file: &PathBuf) -> Result<Vec<u8>, IssuerError> {
    let (issuer, unreadable) = (issuer.to_owned(), file.clone());
    let mut secret =
        fs::read(file).map_err(|cause| IssuerError::Unreadable { issuer: issuer.clone(), file: unreadable, cause })?;
    let is_exposed = is_exposed(file);
    if is_exposed.map_err(|cause| IssuerError::Unreadable { issuer: issuer.clone(), file: file.clone(), cause })? {
        return Err(IssuerError::Exposed { issuer, file: file.clone() });
    }
    // Editors end a file with a newline; a secret does not.
    let line = secret.strip_suffix(b"\n").map_or(secret.len(), <[u8]>::len);
    secret.truncate(line);
    if secret.len() < SECRET_BYTES {
        return Err(IssuerError::Short { issuer, file: file.clone() });
    }
    Ok(secret)
}

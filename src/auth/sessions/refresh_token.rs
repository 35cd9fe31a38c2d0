//! Refresh tokens: the id of a session and a secret.

use aws_lc_rs::{digest, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{auth::Error, engine::SecretHash};

/// Prefix of refresh tokens, by which secret scanners find leaked ones.
const PREFIX: &str = "rialto_rt_";

const SECRET_BYTES: usize = 32;

/// The secret part of a refresh token.
pub(super) struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// Draws a secret. Fails if the system returns no random bytes.
    pub(super) fn new() -> Result<Self, Error> {
        let mut secret = [0; SECRET_BYTES];
        rand::fill(&mut secret).map_err(|_| Error::SigningFailed)?;
        Ok(Self(secret))
    }

    /// The hash that is stored. For 32 random bytes a fast hash is as safe as a slow one.
    pub(super) fn hash(&self) -> SecretHash {
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest::digest(&digest::SHA256, &self.0).as_ref());
        SecretHash(hash)
    }

    /// The refresh token of a session.
    pub(super) fn token(&self, session: Uuid) -> String {
        let bytes = [&session.as_bytes()[..], &self.0].concat();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// The session and the secret of a refresh token. `None` if it is malformed.
pub(super) fn parse(token: &str) -> Option<(Uuid, Secret)> {
    let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix(PREFIX)?).ok()?;
    let (id, secret) = bytes.split_first_chunk::<16>()?;
    Some((Uuid::from_bytes(*id), Secret(secret.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_has_its_session_and_its_secret() {
        let (id, secret) = (Uuid::new_v4(), Secret::new().unwrap());
        let token = secret.token(id);
        let (parsed, read) = parse(&token).unwrap();
        assert_eq!((parsed, read.0), (id, secret.0));
        for malformed in ["", PREFIX, "rialto_rt_abc", &token[1..], &token[..token.len() - 1], &format!("{token}A")] {
            assert!(parse(malformed).is_none(), "{malformed}");
        }
        assert_ne!(Secret::new().unwrap().hash().0, secret.hash().0);
        assert_ne!(secret.hash().0, secret.0, "the stored hash cannot be used as a secret");
    }
}

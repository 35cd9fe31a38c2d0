//! Why a call is not authenticated or not allowed.

use std::{sync::Arc, time::Duration};

use crate::users;

/// Why a call is not authenticated or not allowed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The call has no token.
    #[error("this call requires a token: send the metadata `authorization: Bearer TOKEN`")]
    TokenMissing,
    /// The token does not verify.
    #[error("invalid token: {0}")]
    TokenInvalid(&'static str),
    /// The token has expired.
    #[error("the token has expired; refresh it, or log in again")]
    TokenExpired,
    /// The user of the token has been deleted.
    #[error("the user of this token has been deleted")]
    UserDeleted,
    /// The verification keys of the token's issuer could not be fetched, or not for too long.
    #[error("the keys of the token's issuer are unavailable; retry later")]
    KeysUnavailable,
    /// The caller's roles do not allow the call.
    #[error("not allowed: {0}")]
    NotAllowed(&'static str),
    /// The client certificate and the token name different callers.
    #[error("the common name of the client certificate is not the token's `sub`; use the certificate of that caller")]
    CertificateMismatch,
    /// A stream was sent a fresh token of another caller.
    #[error("the new token is of another caller than the stream; send one of the same caller")]
    UserMismatch,
    /// The caller was an admin when the call began.
    #[error("the caller no longer has the role `admin`, with which the call began")]
    RoleRevoked,
    /// A call without a token took too long.
    #[error("a call without a token may take at most {} s; finish sooner, or send a token", limit.as_secs())]
    AnonymousTimeout {
        /// The configured limit.
        limit: Duration,
    },
    /// The system returned no random bytes, or the signing key failed.
    #[error("the server could not sign a token")]
    SigningFailed,
    /// The server runs without authentication.
    #[error("authentication is disabled on this server; call without a token")]
    Disabled,
    /// The username or the password is wrong. The error does not reveal which.
    #[error("wrong username or password")]
    LoginFailed,
    /// The session of the refresh token has expired, was logged out, or ended because the password changed or a refresh token was reused.
    #[error("the session has ended; log in again")]
    SessionEnded,
    /// The call to the users failed.
    #[error(transparent)]
    Users(Arc<users::Error>),
}

impl From<users::Error> for Error {
    fn from(error: users::Error) -> Self {
        Self::Users(Arc::new(error))
    }
}

//! Errors of authentication and authorization.

use tonic::Code;

use super::Failure;
use crate::auth::Error;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let unauthenticated = |reason| Self::new(Code::Unauthenticated, reason, detail.clone());
        let denied = |reason| Self::new(Code::PermissionDenied, reason, detail.clone());
        match error {
            Error::TokenMissing => unauthenticated("TOKEN_MISSING"),
            Error::TokenInvalid(_) => unauthenticated("TOKEN_INVALID"),
            Error::TokenExpired => unauthenticated("TOKEN_EXPIRED"),
            Error::UserDeleted => unauthenticated("USER_DELETED"),
            Error::LoginFailed => unauthenticated("LOGIN_FAILED"),
            Error::SessionEnded => unauthenticated("SESSION_ENDED"),
            Error::NotAllowed(_) => denied("NOT_ALLOWED"),
            Error::CertificateMismatch => denied("CERTIFICATE_MISMATCH"),
            Error::UserMismatch => denied("USER_MISMATCH"),
            Error::RoleRevoked => denied("ROLE_REVOKED"),
            Error::AnonymousTimeout { .. } => Self::new(Code::DeadlineExceeded, "ANONYMOUS_CALL_TIMEOUT", detail),
            Error::SigningFailed => Self::new(Code::Internal, "TOKEN_SIGNING_FAILED", detail),
            Error::KeysUnavailable => Self::new(Code::Unavailable, "KEYS_UNAVAILABLE", detail).retry_after(5),
            Error::Disabled => Self::new(Code::FailedPrecondition, "AUTH_DISABLED", detail),
            Error::Users(error) => Self::from(&*error),
        }
    }
}

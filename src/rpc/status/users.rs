//! Errors of users.

use tonic::Code;

use super::{Failure, clipped};
use crate::{
    engine,
    users::{Error, InvalidField, WatchError},
};

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::InvalidField(invalid) => Self::invalid(invalid.field, "INVALID_VALUE", detail),
            Error::NotFound(name) => Self::new(Code::NotFound, "USER_NOT_FOUND", detail).resource("user", name),
            Error::UsernameTaken(name) => taken("USERNAME_TAKEN", detail).resource("username", name),
            Error::EmailTaken(email) => taken("EMAIL_TAKEN", detail).resource("email", email),
            Error::StaleRevision { .. } => Self::new(Code::Aborted, "STALE_REVISION", detail),
            Error::TooManyBatches { .. } => Self::exhausted("TOO_MANY_BATCHES", detail).retry_after(1),
            Error::TooManyWatchers { .. } => Self::exhausted("TOO_MANY_WATCHERS", detail).retry_after(10),
            Error::TooManyLogins { .. } => Self::exhausted("TOO_MANY_LOGINS", detail).retry_after(1),
            Error::TooManyPasswordHashes { .. } => Self::exhausted("TOO_MANY_PASSWORD_HASHES", detail).retry_after(1),
            Error::Hashing(_) => Self::new(Code::Internal, "HASHING_FAILED", detail),
            Error::Engine(error) => error.clone().into(),
            Error::Element { index, cause } => {
                let inner = Self::from(&**cause);
                let field = inner.field.map(|field| format!("users[{index}].{field}"));
                Self { detail: clipped(detail), field, index: Some(*index), ..inner }
            }
        }
    }
}

fn taken(reason: &'static str, detail: String) -> Failure {
    Failure::new(Code::AlreadyExists, reason, detail)
}

impl From<InvalidField> for Failure {
    fn from(invalid: InvalidField) -> Self {
        Error::from(invalid).into()
    }
}

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Self {
        let detail = error.to_string();
        match error {
            WatchError::TooSlow { .. } => Self::exhausted("SLOW_WATCHER", detail).retry_after(1),
            WatchError::Closed => engine::Error::Stopped.into(),
        }
    }
}

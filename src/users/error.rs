//! Why a call to the users failed.

use super::InvalidField;
use crate::engine;

/// Why a call failed. A call that fails has changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field has an invalid value.
    #[error(transparent)]
    InvalidField(#[from] InvalidField),
    /// No user has this id or username.
    #[error("there is no user {0}")]
    NotFound(String),
    /// Another user has the username.
    #[error("the username {0:?} is taken; choose another")]
    UsernameTaken(String),
    /// Another user has the email address.
    #[error("the email address {0:?} is taken; use another")]
    EmailTaken(String),
    /// The user has changed since the expected revision.
    #[error("the user is at revision {found}, not {expected}; read it again and repeat the change")]
    StaleRevision {
        /// The revision that the caller expected.
        expected: u64,
        /// The current revision.
        found: u64,
    },
    /// The maximum number of `CreateUsers` calls is running.
    #[error("limit of concurrent batches of new users reached ({limit}); retry later")]
    TooManyBatches {
        /// The configured limit.
        limit: usize,
    },
    /// The maximum number of watches is open.
    #[error("limit of user watches reached ({limit}); retry later")]
    TooManyWatchers {
        /// The configured limit.
        limit: usize,
    },
    /// The queue of logins is full.
    #[error("limit of concurrent and queued logins reached ({limit}); retry later")]
    TooManyLogins {
        /// Logins in progress and queued.
        limit: usize,
    },
    /// The queue of new passwords is full.
    #[error("limit of passwords being hashed and queued reached ({limit}); retry later")]
    TooManyPasswordHashes {
        /// Hashes in progress and queued.
        limit: usize,
    },
    /// A password could not be hashed.
    #[error(transparent)]
    Hashing(#[from] HashingFailed),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// An element of a batch failed, and with it the whole batch.
    #[error("users[{index}]: {cause}")]
    Element {
        /// Index of the element, from 0.
        index: usize,
        /// Its error.
        cause: Box<Error>,
    },
}

/// A password could not be hashed: Argon2 failed, or its thread panicked.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed")]
pub struct HashingFailed;

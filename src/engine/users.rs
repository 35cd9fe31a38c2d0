//! Users as they are stored, and the contract of their storage.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use uuid::Uuid;

use super::error::{Error, WriteError};
use crate::types::Time;

/// Stores users.
///
/// - Writes are compare-and-set on the user's revision. `username_key` and a non-empty `email_key` are unique.
/// - Every change comes out of [`Feeds::users`](super::Feeds::users) exactly once, in the order in which it took effect, under the version
///   that [`write_users`](Users::write_users) returned for it.
/// - The number of users is limited: a call that would exceed the limit fails with [`Error::TooManyUsers`], also if only its last write
///   does. Deletions earlier in the call make room.
#[async_trait]
pub trait Users: fmt::Debug + Send + Sync + 'static {
    /// Loads at most `max` users in the order of their ids, beginning after `after`; `None` begins at the first. Fills the read model
    /// before anything is served.
    async fn load_users(&self, after: Option<Uuid>, max: usize) -> Result<Vec<User>, Error>;

    /// Applies all writes, in order, or none; returns the version under which they come out of the users' feed.
    async fn write_users(&self, writes: Vec<UserWrite>) -> Result<u64, WriteError>;
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// A UUIDv7, so that ids sort by creation time.
    pub id: Uuid,
    /// The username as it was given.
    pub username: String,
    /// The canonical form of `username`. Unique.
    pub username_key: String,
    /// The email address as it was given; may be empty.
    pub email: String,
    /// The canonical form of `email`. Unique unless empty.
    pub email_key: String,
    /// `None` disables login with a password.
    pub password: Option<PasswordHash>,
    /// The roles.
    pub roles: Vec<String>,
    /// 1 at creation, incremented by every change.
    pub revision: u64,
    /// When the user was created.
    pub created_at: Time,
    /// When the user last changed.
    pub updated_at: Time,
}

/// The hash of a password, as a PHC string. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// One write of a user.
#[derive(Debug, Clone)]
pub enum UserWrite {
    /// Stores a user with a new id and revision 1.
    Create(Arc<User>),
    /// Replaces the user if its stored revision is one less than the one given here.
    Replace(Arc<User>),
    /// Removes the user if its stored revision is `revision`.
    Delete {
        /// The user's id.
        id: Uuid,
        /// The stored revision.
        revision: u64,
    },
}

impl UserWrite {
    /// Approximate size in memory, in bytes. Queues are bounded by it.
    #[must_use]
    pub fn size(&self) -> usize {
        let held = match self {
            Self::Create(user) | Self::Replace(user) => {
                let keys = user.username_key.len() + user.email_key.len();
                size_of::<User>() + user.username.len() + user.email.len() + keys
            }
            Self::Delete { .. } => 0,
        };
        size_of::<Self>() + held
    }
}

/// A change of a user that took effect.
#[derive(Debug, Clone)]
pub enum UserChange {
    /// The user was created or replaced, and is now this.
    Put(Arc<User>),
    /// The user was deleted.
    Deleted {
        /// The user's id.
        id: Uuid,
        /// The revision of the deletion: one above the user's last.
        revision: u64,
    },
}

/// Changes of users that took effect together.
#[derive(Debug)]
pub struct UserChanges {
    /// Increases with every item of the feed.
    pub version: u64,
    /// The changes, in the order of their writes.
    pub changes: Vec<UserChange>,
}

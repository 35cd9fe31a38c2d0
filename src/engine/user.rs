//! Users as they are stored.

use std::{fmt, sync::Arc};

use uuid::Uuid;

use crate::types::Time;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// UUIDv7: the order of ids is the order of creation.
    pub id: Uuid,
    /// As it was given.
    pub username: String,
    /// The canonical form of `username`. Unique.
    pub username_key: String,
    /// As it was given; may be empty.
    pub email: String,
    /// The form of `email` that is compared. Unique unless empty.
    pub email_key: String,
    /// Absent: no login with a password.
    pub password: Option<PasswordHash>,
    /// What the user may do.
    pub roles: Vec<String>,
    /// 1 at creation, one more with every change.
    pub revision: u64,
    /// When it was created.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
}

/// The hash of a password, as a PHC string. Never printed.
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
    /// Stores a user of a new id. Its revision is 1.
    Create(Arc<User>),
    /// Replaces the user whose revision is one less than the one given here.
    Replace(Arc<User>),
    /// Removes the user, whose revision is `revision`.
    Delete {
        /// Which user.
        id: Uuid,
        /// The stored revision.
        revision: u64,
    },
}

impl UserWrite {
    /// Its share of a queue, in bytes, about.
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
    /// The user is now this.
    Put(Arc<User>),
    /// The user is gone.
    Deleted {
        /// Which user.
        id: Uuid,
        /// The deletion's own revision: one above the user's last.
        revision: u64,
    },
}

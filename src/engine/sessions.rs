//! Sessions: logins that continue by refresh tokens, and the contract of their storage.

use std::fmt;

use async_trait::async_trait;
use uuid::Uuid;

use super::{error::Error, users::PasswordHash};
use crate::types::Time;

/// Stores sessions.
///
/// - A session is rotated by compare-and-set on its secret: of any number of concurrent rotations with one secret exactly one succeeds, and
///   the next one with that secret ends the session.
/// - A user's sessions end when the user is deleted or their password changes, in the same transaction. No session can be created with a
///   previous password.
/// - A call resolves when its effect is durable. Sessions survive restarts. An expired session behaves as if it did not exist.
#[async_trait]
pub trait Sessions: fmt::Debug + Send + Sync + 'static {
    /// Creates a session, provided that `password` is still the user's stored hash; returns `false` otherwise, also if there is no such
    /// user. If the user then has more than `keep` sessions, the oldest end, but never this one. The id must be new.
    async fn create_session(&self, session: Session, password: &PasswordHash, keep: usize) -> Result<bool, Error>;

    /// Replaces the secret and the expiry of a session if `from` is its current secret; otherwise ends the session.
    async fn rotate_session(
        &self,
        id: Uuid,
        from: SecretHash,
        to: SecretHash,
        expires_at: Time,
    ) -> Result<Rotated, Error>;

    /// Ends a session; returns the id of its user, or `None` if there was no such session.
    async fn revoke_session(&self, id: Uuid) -> Result<Option<Uuid>, Error>;

    /// Removes the sessions that expired before this time, in writes small enough not to delay others; returns how many.
    async fn purge_sessions(&self, expired_before: Time) -> Result<usize, Error>;
}

/// A login that continues by refresh tokens, each of which can be used once.
#[derive(Debug, Clone)]
pub struct Session {
    /// The id.
    pub id: Uuid,
    /// The user.
    pub user: Uuid,
    /// The hash of the current refresh token's secret.
    pub secret: SecretHash,
    /// When the user logged in.
    pub created_at: Time,
    /// When the session ends unless it is rotated before.
    pub expires_at: Time,
}

/// The SHA-256 hash of a secret. `Debug` does not print it, and there is no `==`, because comparisons must take constant time.
#[derive(Clone, Copy)]
pub struct SecretHash(pub [u8; 32]);

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

/// The outcome of a rotation.
#[derive(Debug)]
pub enum Rotated {
    /// The session continues in this state.
    To(Session),
    /// The secret was not the current one: it was already used, by the owner or by a thief. The session has ended.
    Reused,
    /// No such session, or it has expired.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_print_a_secret_hash() {
        assert_eq!(format!("{:?}", SecretHash([7; 32])), "SecretHash(…)");
    }
}

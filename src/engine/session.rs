//! Sessions as they are stored.

use std::fmt;

use uuid::Uuid;

use crate::types::Time;

/// A login that goes on by refresh tokens, each good for one turn.
#[derive(Debug, Clone)]
pub struct Session {
    /// Names it.
    pub id: Uuid,
    /// Whose it is.
    pub user: Uuid,
    /// Of the last refresh token that was given out, which alone is good.
    pub secret: SecretHash,
    /// When it began.
    pub created_at: Time,
    /// When it ends, if it is not rotated before.
    pub expires_at: Time,
}

/// The SHA-256 of a secret. Never printed, and without `==`: whoever compares two does it in constant time.
#[derive(Clone, Copy)]
pub struct SecretHash(pub [u8; 32]);

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

/// What became of a session that was to be rotated.
#[derive(Debug)]
pub enum Rotated {
    /// It goes on, and now is this.
    To(Session),
    /// The secret was another than the last: somebody has used it before, the owner or a thief. The session is gone now.
    Reused,
    /// There is no such session, or it has expired.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", SecretHash([7; 32])), "SecretHash(…)");
    }
}

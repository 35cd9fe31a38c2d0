//! The token that a running request depends on.

use std::sync::atomic::{AtomicI64, Ordering};

use uuid::Uuid;

/// What a request needs to continue: a token that has not expired, whose user still exists and still has its rights.
#[derive(Debug)]
pub struct Pass {
    /// The user of this server to whom the token belongs. `None` for tokens of other issuers and of operators.
    pub user: Option<Uuid>,
    /// The caller was an admin when the request began.
    pub admin: bool,
    expires_at: AtomicI64,
}

impl Pass {
    /// Creates a pass that expires at `expires_at`, in seconds since the Unix epoch.
    #[must_use]
    pub fn new(user: Option<Uuid>, admin: bool, expires_at: i64) -> Self {
        Self { user, admin, expires_at: AtomicI64::new(expires_at) }
    }

    /// The expiry, in seconds since the Unix epoch.
    #[must_use]
    pub fn expires_at(&self) -> i64 {
        self.expires_at.load(Ordering::Relaxed)
    }

    /// Extends the pass to the expiry of another token of the same caller. Never shortens it.
    pub fn renew(&self, expires_at: i64) {
        self.expires_at.fetch_max(expires_at, Ordering::Relaxed);
    }
}

//! The token that a running call depends on.

use std::sync::atomic::{AtomicI64, Ordering};

use uuid::Uuid;

/// What lets a call go on: the token that it came with, until that expires, or its user is gone or has lost its rights.
#[derive(Debug)]
pub struct Pass {
    /// Which of our own users has it, if it is one.
    pub user: Option<Uuid>,
    /// The caller managed users when the call began.
    pub admin: bool,
    expires_at: AtomicI64,
}

impl Pass {
    /// Good until so many seconds after the Unix epoch.
    #[must_use]
    pub fn new(user: Option<Uuid>, admin: bool, expires_at: i64) -> Self {
        Self { user, admin, expires_at: AtomicI64::new(expires_at) }
    }

    /// In seconds since the Unix epoch.
    #[must_use]
    pub fn expires_at(&self) -> i64 {
        self.expires_at.load(Ordering::Relaxed)
    }

    /// Another token of the same caller goes on until then.
    pub fn renew(&self, expires_at: i64) {
        self.expires_at.fetch_max(expires_at, Ordering::Relaxed);
    }
}

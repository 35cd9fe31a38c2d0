//! Settings of the users.

use std::num::NonZeroUsize;

/// Limits of the users. Memory and CPU time spent on passwords are bounded by them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Concurrent `CreateUsers` calls.
    pub batches: usize,
    /// Users of one `CreateUsers` call.
    pub users_per_batch: usize,
    /// Users with a password of one `CreateUsers` call.
    pub passwords_per_batch: usize,
    /// Passwords hashed at once. Each takes 19 MiB and a core.
    pub concurrent_hashes: NonZeroUsize,
    /// Logins verified at once, besides `concurrent_hashes` and at the same cost each.
    pub concurrent_logins: NonZeroUsize,
    /// New passwords that may wait to be hashed, without those of `CreateUsers`.
    pub queued_hashes: usize,
    /// Logins that may wait to be verified.
    pub queued_logins: usize,
    /// Concurrent watches.
    pub watchers: usize,
    /// Changed users that are kept for the slowest watcher.
    pub waiting_changes: usize,
}

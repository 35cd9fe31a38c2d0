//! The section `[users]`.

use std::num::NonZeroUsize;

use super::section::{MAX_COUNT, section};

section! {
    /// Calls about users, and the hashing of passwords.
    pub struct Users in "users" {
        /// `CreateUsers` calls at once; each may hold a few MiB.
        pub max_bulk_calls: usize = 16, 1..=1 << 20;
        /// Users that one `CreateUsers` may create.
        pub max_users_per_call: usize = 10_000, 1..=MAX_COUNT;
        /// Users with a password that one `CreateUsers` may create. Each password is hashed, which takes tens of milliseconds of a core.
        pub max_passwords_per_call: usize = 100, 0..=MAX_COUNT;
        /// New passwords hashed at once. Each hash takes 19 MiB and a core.
        pub max_concurrent_hashes: NonZeroUsize = cores(), 1..=MAX_COUNT;
        /// New passwords that may wait to be hashed, in addition to those of `CreateUsers`.
        pub max_queued_hashes: usize = 256, 1..=1 << 20;
        /// Passwords of logins checked at once, in addition to `max_concurrent_hashes`. Each check takes 19 MiB and a core.
        pub max_concurrent_logins: NonZeroUsize = cores(), 1..=MAX_COUNT;
        /// Logins that may wait for their check.
        pub max_queued_logins: usize = 256, 0..=MAX_COUNT;
        /// Watches by `ListUsers` open at once.
        pub max_watchers: usize = 1_000, 1..=1 << 20;
        /// Changes of users that are kept for watchers, once for all of them. A watcher that is further behind is ended, and has to list
        /// again.
        pub max_waiting_changes: usize = 100_000, 1..=1 << 24;
    }
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

//! The counters of a running server, and what each of them counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count since the server started.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one server, shared by its parts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Pages of messages read from the log.
    pub log_reads: Counter,
    /// Times that a subscriber fell out of a room's ring and was served from the log instead.
    pub refills: Counter,
    /// Messages removed by retention.
    pub removed_messages: Counter,
    /// Typing signals dropped because the hub's feed was full.
    pub dropped_signals: Counter,
    /// Password hashes computed, to store a password and to check one.
    pub password_hashes: Counter,
    /// Streams ended because their client read nothing for too long. Most of them are reset.
    pub slow_readers: Counter,
}

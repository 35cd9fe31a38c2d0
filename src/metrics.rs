//! What is counted while the server runs: every figure's name, and what it means.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts of one server, shared by its parts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Pages of messages that were read from the log.
    pub log_reads: Counter,
    /// Times that a subscriber fell out of a room's ring and was sent on from the log.
    pub refills: Counter,
    /// Messages that retention removed.
    pub removed_messages: Counter,
    /// Signals (typing) that were dropped because the hub's feed was full.
    pub dropped_signals: Counter,
    /// Hashes of passwords that were computed, for new ones and to check old ones.
    pub password_hashes: Counter,
    /// Streams that were told to end because their client had read nothing for too long; most of them are reset.
    pub slow_readers: Counter,
}

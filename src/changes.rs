//! A log of the latest change per key, for readers that follow changes at their own pace.
//!
//! A reader is only a version number: a slow one costs no memory, and sees a key that changed several times once, with its latest value.
//! The log is plain data: its owner locks it, and wakes readers by other means.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    ops::Bound,
};

#[cfg(test)]
mod model;

/// The latest change of each of a bounded number of keys, in the order of these changes.
#[derive(Debug)]
pub struct ChangeLog<K, V> {
    limit: usize,
    /// The version of the last change; 0 if there was none.
    version: u64,
    /// The version of the last change that was dropped because of the limit; 0 if none was.
    dropped: u64,
    versions: HashMap<K, u64>,
    changes: BTreeMap<u64, (K, V)>,
}

/// Changes that a reader has not seen yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta<K, V> {
    /// `(version, key, value)` of each changed key, once, in ascending order of versions.
    pub changes: Vec<(u64, K, V)>,
    /// The version to continue from: the reader has then seen everything up to it.
    pub cursor: u64,
}

/// The reader has missed changes: one that it had not seen was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reader is too slow: changes that it had not read were dropped")]
pub struct Lagged;

impl<K: Clone + Eq + Hash, V: Clone> ChangeLog<K, V> {
    /// Creates a log that keeps the changes of at most `limit` keys.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, version: 0, dropped: 0, versions: HashMap::new(), changes: BTreeMap::new() }
    }

    /// Returns the version of the last change; 0 if there was none. A reader that starts here sees all later changes.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Records the new value of a key; returns the version of the change. Drops the oldest change if the limit is exceeded.
    pub fn record(&mut self, key: K, value: V) -> u64 {
        self.version += 1;
        if let Some(before) = self.versions.insert(key.clone(), self.version) {
            self.changes.remove(&before);
        }
        self.changes.insert(self.version, (key, value));
        if self.changes.len() > self.limit
            && let Some((version, (key, _))) = self.changes.pop_first()
        {
            self.versions.remove(&key);
            self.dropped = version;
        }
        self.version
    }

    /// Returns at most `max` changes after the version `cursor`, the oldest first. Fails if an unseen change was dropped.
    pub fn since(&self, cursor: u64, max: usize) -> Result<Delta<K, V>, Lagged> {
        if cursor < self.dropped {
            return Err(Lagged);
        }
        let after = self.changes.range((Bound::Excluded(cursor), Bound::Unbounded)).take(max);
        let changes: Vec<_> = after.map(|(version, (key, value))| (*version, key.clone(), value.clone())).collect();
        let cursor = changes.last().map_or(cursor, |(version, ..)| *version);
        Ok(Delta { changes, cursor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(changes: &[(u64, char, u32)], cursor: u64) -> Result<Delta<char, u32>, Lagged> {
        Ok(Delta { changes: changes.to_vec(), cursor })
    }

    #[test]
    fn a_reader_reads_the_changes_after_its_cursor_in_pages() {
        let mut log = ChangeLog::new(10);
        assert_eq!(log.since(log.version(), 10), delta(&[], 0));
        for (n, key) in ('a'..='e').enumerate() {
            assert_eq!(log.record(key, 0), n as u64 + 1);
        }
        assert_eq!(log.since(2, 2), delta(&[(3, 'c', 0), (4, 'd', 0)], 4));
        assert_eq!(log.since(4, 2), delta(&[(5, 'e', 0)], 5));
        assert_eq!(log.since(log.version(), 2), delta(&[], 5));
    }

    #[test]
    fn a_key_that_changed_again_is_read_once_with_its_latest_value() {
        let mut log = ChangeLog::new(2);
        for n in 1..=9 {
            log.record('a', n);
            log.record('b', n);
        }
        assert_eq!(log.since(0, 10), delta(&[(17, 'a', 9), (18, 'b', 9)], 18), "and counts once against the limit");
    }

    #[test]
    fn a_reader_lags_when_a_change_that_it_had_not_read_is_dropped() {
        let mut log = ChangeLog::new(2);
        ('a'..='c').for_each(|key| _ = log.record(key, 0));
        assert_eq!(log.since(0, 10), Err(Lagged));
        assert_eq!(log.since(1, 10), delta(&[(2, 'b', 0), (3, 'c', 0)], 3), "this reader had read the dropped change");
    }
}

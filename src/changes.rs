//! What changed since: the latest value of the keys that changed last, in the order of their last changes.
//!
//! A reader is a version and nothing more: it costs no memory here however slow it is, and what changed again while it was away it sees once.
//! Who waits for changes is woken by other means: a journal is plain data, for its owner to lock.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    ops::Bound,
};

#[cfg(test)]
mod model;

/// The last changes of a bounded number of keys.
#[derive(Debug)]
pub struct ChangeLog<K, V> {
    limit: usize,
    /// That of the last change.
    version: u64,
    /// That of the last change that was forgotten.
    forgotten: u64,
    versions: HashMap<K, u64>,
    changes: BTreeMap<u64, (K, V)>,
}

/// What a reader had not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta<K, V> {
    /// Keys with what they became, each once, in the order of their versions.
    pub changes: Vec<(u64, K, V)>,
    /// The version up to which the reader has then seen everything.
    pub cursor: u64,
}

/// A change that the reader had not seen was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("changes that were not read yet are forgotten")]
pub struct Lagged;

impl<K: Clone + Eq + Hash, V: Clone> ChangeLog<K, V> {
    /// A journal that keeps the changes of at most `limit` keys.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, version: 0, forgotten: 0, versions: HashMap::new(), changes: BTreeMap::new() }
    }

    /// The version of the last change; 0: there was none. Who reads on from here sees what changes from now on.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Notes what a key became; gives back the version of that.
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
            self.forgotten = version;
        }
        self.version
    }

    /// The changes after the cursor, the oldest first, at most `max`.
    pub fn since(&self, cursor: u64, max: usize) -> Result<Delta<K, V>, Lagged> {
        if cursor < self.forgotten {
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

    fn news(changes: &[(u64, char, u32)], cursor: u64) -> Result<Delta<char, u32>, Lagged> {
        Ok(Delta { changes: changes.to_vec(), cursor })
    }

    #[test]
    fn a_reader_sees_what_changed_after_its_cursor_in_pages() {
        let mut journal = ChangeLog::new(10);
        assert_eq!(journal.since(journal.version(), 10), news(&[], 0));
        for (n, key) in ('a'..='e').enumerate() {
            assert_eq!(journal.record(key, 0), n as u64 + 1);
        }
        assert_eq!(journal.since(2, 2), news(&[(3, 'c', 0), (4, 'd', 0)], 4));
        assert_eq!(journal.since(4, 2), news(&[(5, 'e', 0)], 5));
        assert_eq!(journal.since(journal.version(), 2), news(&[], 5));
    }

    #[test]
    fn a_key_that_changed_again_is_seen_once_as_it_is_now() {
        let mut journal = ChangeLog::new(2);
        for n in 1..=9 {
            journal.record('a', n);
            journal.record('b', n);
        }
        assert_eq!(journal.since(0, 10), news(&[(17, 'a', 9), (18, 'b', 9)], 18), "and takes one place");
    }

    #[test]
    fn a_reader_is_told_when_what_it_had_not_seen_is_forgotten() {
        let mut journal = ChangeLog::new(2);
        ('a'..='c').for_each(|key| _ = journal.record(key, 0));
        assert_eq!(journal.since(0, 10), Err(Lagged));
        assert_eq!(journal.since(1, 10), news(&[(2, 'b', 0), (3, 'c', 0)], 3), "this one had seen it");
    }
}

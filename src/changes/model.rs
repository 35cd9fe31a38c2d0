//! Compares the change log with a model: the list of all changes ever made.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::{ChangeLog, Lagged};

#[derive(Debug, Clone)]
enum Step {
    Record { key: u8 },
    NewReader,
    Read { which: usize, max: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let read = (0..8_usize, 1..4_usize).prop_map(|(which, max)| Step::Read { which, max });
    prop::collection::vec(
        prop_oneof![6 => (0..8_u8).prop_map(|key| Step::Record { key }), 1 => Just(Step::NewReader), 4 => read],
        0..200,
    )
}

/// All changes: the change of version `n` is the `n`th, and its value is `n`.
#[derive(Default)]
struct AllChanges(Vec<u8>);

impl AllChanges {
    /// The last change of each key that changed after a version, in ascending order.
    fn latest(&self, after: u64) -> Vec<(u64, u8)> {
        let mut seen = HashSet::new();
        let all = self.0.iter().enumerate().map(|(n, key)| (n as u64 + 1, *key));
        let mut latest: Vec<_> =
            all.rev().take_while(|(v, _)| *v > after).filter(|(_, key)| seen.insert(*key)).collect();
        latest.reverse();
        latest
    }
}

/// A reader's cursor, and the latest value that it has read of each key.
struct Reader {
    started: u64,
    cursor: u64,
    seen: BTreeMap<u8, u64>,
}

/// The version up to which changes are dropped: at least `limit` other keys changed later. Never below `before`.
fn dropped(all: &AllChanges, limit: usize, before: u64) -> u64 {
    let latest = all.latest(0);
    latest.len().checked_sub(limit + 1).and_then(|n| latest.get(n)).map_or(before, |(version, _)| before.max(*version))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn readers_read_the_latest_value_of_every_key_or_lag(steps in steps(), limit in 1..10_usize) {
        let (mut log, mut all, mut floor) = (ChangeLog::new(limit), AllChanges::default(), 0);
        let mut readers = Vec::new();
        for step in steps {
            match step {
                Step::Record { key } => {
                    all.0.push(key);
                    let version = all.0.len() as u64;
                    prop_assert_eq!(log.record(key, version), version);
                    prop_assert_eq!(log.version(), version);
                    floor = dropped(&all, limit, floor);
                }
                Step::NewReader => {
                    let started = log.version();
                    readers.push(Reader { started, cursor: started, seen: BTreeMap::new() });
                }
                Step::Read { which, max } => {
                    let count = readers.len().max(1);
                    let Some(reader) = readers.get_mut(which % count) else { continue };
                    let expected: Vec<_> = all.latest(reader.cursor).into_iter().take(max).collect();
                    match log.since(reader.cursor, max) {
                        Err(Lagged) => prop_assert!(reader.cursor < floor),
                        Ok(delta) => {
                            prop_assert!(reader.cursor >= floor);
                            prop_assert!(delta.changes.iter().all(|(version, _, value)| version == value));
                            let read: Vec<_> = delta.changes.iter().map(|(version, key, _)| (*version, *key)).collect();
                            prop_assert_eq!(&read, &expected);
                            prop_assert_eq!(delta.cursor, read.last().map_or(reader.cursor, |(version, _)| *version));
                            reader.cursor = delta.cursor;
                            reader.seen.extend(read.into_iter().map(|(version, key)| (key, version)));
                        }
                    }
                }
            }
        }
        prop_assert!(log.changes.len() <= limit && log.versions.len() == log.changes.len());
        for mut reader in readers {
            if let Ok(delta) = log.since(reader.cursor, usize::MAX) {
                prop_assert_eq!(delta.cursor, log.version());
                reader.seen.extend(delta.changes.into_iter().map(|(version, key, _)| (key, version)));
                let truth: BTreeMap<_, _> = all.latest(reader.started).into_iter().map(|(v, key)| (key, v)).collect();
                prop_assert_eq!(&reader.seen, &truth);
            }
        }
    }
}

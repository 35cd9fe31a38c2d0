//! The journal against a model: a list of all changes that there ever were.

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

/// All changes: that of version `n` is the `n`th, and its value `n`.
#[derive(Default)]
struct Log(Vec<u8>);

impl Log {
    /// The keys that changed after a version, in the order of their last changes, with these.
    fn latest(&self, after: u64) -> Vec<(u64, u8)> {
        let mut seen = HashSet::new();
        let all = self.0.iter().enumerate().map(|(n, key)| (n as u64 + 1, *key));
        let mut latest: Vec<_> =
            all.rev().take_while(|(v, _)| *v > after).filter(|(_, key)| seen.insert(*key)).collect();
        latest.reverse();
        latest
    }
}

/// How far it is, and what it then thinks of each key.
struct Reader {
    began: u64,
    cursor: u64,
    seen: BTreeMap<u8, u64>,
}

/// What more than `limit` other keys came after is forgotten, whether its own key came again later or not.
fn forgotten(log: &Log, limit: usize, before: u64) -> u64 {
    let latest = log.latest(0);
    latest.len().checked_sub(limit + 1).and_then(|n| latest.get(n)).map_or(before, |(version, _)| before.max(*version))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn readers_learn_the_last_value_of_every_key_or_that_they_cannot(steps in steps(), limit in 1..10_usize) {
        let (mut journal, mut log, mut floor) = (ChangeLog::new(limit), Log::default(), 0);
        let mut readers = Vec::new();
        for step in steps {
            match step {
                Step::Record { key } => {
                    log.0.push(key);
                    let version = log.0.len() as u64;
                    prop_assert_eq!(journal.record(key, version), version);
                    prop_assert_eq!(journal.version(), version);
                    floor = forgotten(&log, limit, floor);
                }
                Step::NewReader => {
                    let began = journal.version();
                    readers.push(Reader { began, cursor: began, seen: BTreeMap::new() });
                }
                Step::Read { which, max } => {
                    let count = readers.len().max(1);
                    let Some(reader) = readers.get_mut(which % count) else { continue };
                    let expected: Vec<_> = log.latest(reader.cursor).into_iter().take(max).collect();
                    match journal.since(reader.cursor, max) {
                        Err(Lagged) => prop_assert!(reader.cursor < floor),
                        Ok(news) => {
                            prop_assert!(reader.cursor >= floor);
                            prop_assert!(news.changes.iter().all(|(version, _, value)| version == value));
                            let told: Vec<_> = news.changes.iter().map(|(version, key, _)| (*version, *key)).collect();
                            prop_assert_eq!(&told, &expected);
                            prop_assert_eq!(news.cursor, told.last().map_or(reader.cursor, |(version, _)| *version));
                            reader.cursor = news.cursor;
                            reader.seen.extend(told.into_iter().map(|(version, key)| (key, version)));
                        }
                    }
                }
            }
        }
        prop_assert!(journal.changes.len() <= limit && journal.versions.len() == journal.changes.len());
        for mut reader in readers {
            if let Ok(news) = journal.since(reader.cursor, usize::MAX) {
                prop_assert_eq!(news.cursor, journal.version());
                reader.seen.extend(news.changes.into_iter().map(|(version, key, _)| (key, version)));
                let truth: BTreeMap<_, _> = log.latest(reader.began).into_iter().map(|(v, key)| (key, v)).collect();
                prop_assert_eq!(&reader.seen, &truth);
            }
        }
    }
}

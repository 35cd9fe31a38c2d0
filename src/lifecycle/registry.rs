//! A sharded set of what is running, to reach all of it without a lock that all share.
//!
//! Invariants:
//! - An entry removes itself when it is dropped, which locks its shard. So an entry is never dropped while a shard is locked: the weak
//!   references are copied under the lock and upgraded after it.
//! - What reaches all entries (drain, abort) first sets its flag and then visits the shards. An entry that is registered meanwhile is either
//!   visited or sees the flag.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::types::StreamId;

/// What a [`Registry`] holds.
pub trait Entry {
    /// Wakes its task.
    fn wake(&self);
    /// Aborts its task.
    fn abort(&self);
}

/// Number of shards: many more than the threads of a server, so that two of them rarely want the same.
const SHARDS: u64 = 64;

/// All entries of one kind. Cheap to clone.
pub struct Registry<T>(Arc<Shared<T>>);

struct Shared<T> {
    /// Drawn at random, so that the ids of two servers differ.
    node: u64,
    is_draining: AtomicBool,
    is_aborted: AtomicBool,
    next: Counter,
    shards: Vec<Shard<T>>,
}

/// On a cache line of its own: it is written by every request, and the flags beside it are read by every delivery.
#[repr(align(64))]
struct Counter(AtomicU64);

/// On a cache line of its own, for the same reason.
#[repr(align(64))]
struct Shard<T>(Mutex<HashMap<u64, Weak<T>>>);

/// The place of one entry in its registry, until it is dropped. A part of the entry.
pub struct Registration<T> {
    registry: Arc<Shared<T>>,
    number: u64,
}

impl<T: Entry> Registry<T> {
    /// Adds an entry, which removes itself when it is dropped.
    pub fn register(&self, make: impl FnOnce(Registration<T>) -> T) -> Arc<T> {
        let number = self.0.next.0.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::new(make(Registration { registry: Arc::clone(&self.0), number }));
        if let Some(mut shard) = self.0.shard(number) {
            shard.insert(number, Arc::downgrade(&entry));
        }
        if self.0.is_aborted.load(Ordering::Acquire) {
            entry.abort();
        }
        entry
    }

    /// The living entries, shard by shard. A shard is locked only while its references are copied.
    pub fn by_shard(&self) -> impl Iterator<Item = Vec<Arc<T>>> {
        self.0.shards.iter().map(|shard| {
            let entries: Vec<_> = shard.lock().values().cloned().collect();
            entries.iter().filter_map(Weak::upgrade).collect()
        })
    }

    /// Marks the registry as draining and wakes all entries. Later entries are draining from their start.
    pub fn drain(&self) {
        self.0.is_draining.store(true, Ordering::Release);
        self.by_shard().flatten().for_each(|entry| entry.wake());
    }

    /// Aborts all entries, and later ones when they are registered.
    pub fn abort(&self) {
        self.0.is_aborted.store(true, Ordering::Release);
        self.by_shard().flatten().for_each(|entry| entry.abort());
    }
}

impl<T> Shared<T> {
    fn shard(&self, number: u64) -> Option<MutexGuard<'_, HashMap<u64, Weak<T>>>> {
        let index = usize::try_from(number % SHARDS).ok()?;
        self.shards.get(index).map(Shard::lock)
    }
}

impl<T> Shard<T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Weak<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Registration<T> {
    /// Whether the registry is draining. Cheap: one atomic load.
    pub fn is_draining(&self) -> bool {
        self.registry.is_draining.load(Ordering::Acquire)
    }

    /// An id that no other entry has, on this server or another.
    pub fn id(&self) -> StreamId {
        StreamId { node: self.registry.node, number: self.number }
    }
}

/// A shard that holds fewer entries than this keeps its memory.
const SHRINK_FROM: usize = 64;

impl<T> Drop for Registration<T> {
    fn drop(&mut self) {
        let Some(mut shard) = self.registry.shard(self.number) else { return };
        shard.remove(&self.number);
        if shard.capacity() > SHRINK_FROM && shard.len() < shard.capacity() / 4 {
            let twice = 2 * shard.len();
            shard.shrink_to(twice);
        }
    }
}

impl<T> Clone for Registry<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self(Arc::new(Shared {
            node: fastrand::u64(..),
            is_draining: AtomicBool::new(false),
            is_aborted: AtomicBool::new(false),
            next: Counter(AtomicU64::new(1)),
            shards: (0..SHARDS).map(|_| Shard(Mutex::default())).collect(),
        }))
    }
}

impl<T> fmt::Debug for Registry<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("node", &self.0.node).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Registration<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("id", &self.id()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::atomic::AtomicUsize, thread};

    use super::*;

    #[derive(Debug)]
    struct Probe {
        registration: Registration<Probe>,
        woken: AtomicUsize,
        aborted: AtomicUsize,
    }

    impl Entry for Probe {
        fn wake(&self) {
            self.woken.fetch_add(1, Ordering::Relaxed);
        }

        fn abort(&self) {
            self.aborted.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn probe(registry: &Registry<Probe>) -> Arc<Probe> {
        registry.register(|registration| Probe {
            registration,
            woken: AtomicUsize::new(0),
            aborted: AtomicUsize::new(0),
        })
    }

    fn sizes(registry: &Registry<Probe>) -> Vec<usize> {
        registry.0.shards.iter().map(|shard| shard.lock().len()).collect()
    }

    #[test]
    fn entries_are_spread_over_the_shards_and_removed_when_they_are_dropped() {
        let registry = Registry::default();
        let mut probes: Vec<_> = (0..10 * SHARDS).map(|_| probe(&registry)).collect();
        assert!(sizes(&registry).iter().all(|entries| *entries == 10), "{:?}", sizes(&registry));
        let visited: HashSet<_> = registry.by_shard().flatten().map(|probe| probe.registration.id()).collect();
        assert_eq!(visited.len(), probes.len(), "every entry is visited, and has an id of its own");
        probes.truncate(3);
        assert_eq!(sizes(&registry).iter().sum::<usize>(), 3);
        drop(probes);
        assert_eq!(registry.by_shard().flatten().count(), 0);
    }

    #[test]
    fn a_shard_that_has_emptied_gives_its_memory_back() {
        let registry = Registry::default();
        let probes: Vec<_> = (0..1_000 * SHARDS).map(|_| probe(&registry)).collect();
        let capacity = || registry.0.shards[0].lock().capacity();
        assert!(capacity() >= 1_000);
        drop(probes);
        assert!(capacity() <= SHRINK_FROM, "{}", capacity());
    }

    #[test]
    fn an_entry_whose_last_reference_the_visit_holds_is_dropped_without_a_deadlock() {
        let registry = Registry::default();
        let mut held = Some(probe(&registry));
        for _ in registry.by_shard().flatten() {
            held = None;
        }
        assert!(held.is_none());
        assert_eq!(sizes(&registry).iter().sum::<usize>(), 0);
    }

    #[test]
    fn a_drain_wakes_what_is_there_and_reaches_what_comes_later() {
        let registry = Registry::default();
        let early = probe(&registry);
        assert!(!early.registration.is_draining());
        registry.drain();
        assert!(early.registration.is_draining());
        assert_eq!(early.woken.load(Ordering::Relaxed), 1);
        assert!(probe(&registry).registration.is_draining());
    }

    #[test]
    fn an_abort_misses_nothing_that_is_registered_meanwhile() {
        let registry = Registry::default();
        let aborted = thread::scope(|scope| {
            let registering = scope.spawn(|| (0..10_000).map(|_| probe(&registry)).collect::<Vec<_>>());
            registry.abort();
            registering.join().unwrap()
        });
        assert!(aborted.iter().all(|probe| probe.aborted.load(Ordering::Relaxed) > 0));
    }

    #[test]
    fn ids_differ_between_registries() {
        let ids = [Registry::default(), Registry::default()].map(|registry| probe(&registry).registration.id());
        assert_eq!(ids[0].number, ids[1].number);
        assert_ne!(ids[0], ids[1]);
    }
}

//! The members of one room by user id.

#[cfg(test)]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{collections::HashMap, sync::Arc};

/// Below this capacity a shrinking roster keeps its memory.
const KEPT_CAPACITY: usize = 64;

/// Counts the streams of each member.
///
/// Every operation takes constant (amortised) time but [`ids`](Self::ids), which is the only way to visit all members.
#[derive(Debug, Default)]
pub(super) struct Roster {
    streams: HashMap<Arc<str>, usize>,
    #[cfg(test)]
    visited: AtomicUsize,
}

impl Roster {
    /// Adds a stream of this user. Returns `true` if it is the user's first.
    pub(super) fn enter(&mut self, id: &Arc<str>) -> bool {
        let streams = self.streams.entry(Arc::clone(id)).or_default();
        *streams += 1;
        *streams == 1
    }

    /// Removes a stream of this user. Returns `true` if it was the user's last.
    pub(super) fn leave(&mut self, id: &Arc<str>) -> bool {
        let Some(streams) = self.streams.get_mut(id) else { return false };
        *streams = streams.saturating_sub(1);
        if *streams > 0 {
            return false;
        }
        self.streams.remove(id);
        // Visiting the members takes time in proportion to the capacity, so it must follow their number.
        if self.streams.capacity() > KEPT_CAPACITY && self.streams.len() < self.streams.capacity() / 8 {
            self.streams.shrink_to(2 * self.streams.len());
        }
        true
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.streams.contains_key(id)
    }

    /// Distinct members.
    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }

    /// Visits every member: only for rooms whose members are listed by name.
    pub(super) fn ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.streams.keys().inspect(|_| {
            #[cfg(test)]
            self.visited.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Members visited by [`ids`](Self::ids) so far.
    #[cfg(test)]
    pub(super) fn visited(&self) -> usize {
        self.visited.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roster_that_shrinks_gives_its_memory_back() {
        let mut roster = Roster::default();
        let ids: Vec<Arc<str>> = (0..20_000).map(|n| n.to_string().into()).collect();
        assert!(ids.iter().all(|id| roster.enter(id)));
        assert!(!roster.enter(&ids[0]) && !roster.leave(&ids[0]), "a second stream of a member");
        assert!(ids.iter().skip(100).all(|id| roster.leave(id)));
        assert!(roster.len() == 100 && roster.streams.capacity() <= 1024, "{}", roster.streams.capacity());
        assert!(!roster.leave(&"stranger".into()));
    }
}

//! The memory limit of all rings together.

use std::{
    collections::VecDeque,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use crate::batch::Batch;

/// A batch in a ring. Its bytes may be dropped in favour of newer batches of any room; subscribers that keep up have read them by then.
#[derive(Debug)]
pub(super) struct RetainedBatch {
    last_seq: u64,
    /// `None` once the bytes were dropped. Read by every subscriber, possibly at once.
    batch: RwLock<Option<(Batch, Share)>>,
}

/// The part of a batch that is new to a subscriber.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    /// Nothing.
    Nothing,
    /// These frames.
    Frames(Bytes),
    /// Something, but the bytes were dropped.
    Dropped,
}

impl RetainedBatch {
    pub(super) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    pub(super) fn after(&self, seq: u64) -> Part {
        if self.last_seq <= seq {
            return Part::Nothing;
        }
        match &*self.batch.read().unwrap_or_else(PoisonError::into_inner) {
            Some((batch, _)) => batch.after(seq).map_or(Part::Nothing, Part::Frames),
            None => Part::Dropped,
        }
    }

    fn drop_bytes(&self) {
        self.batch.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Bytes counted as held until the share is dropped.
#[derive(Debug)]
struct Share {
    bytes: usize,
    held: Arc<AtomicUsize>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Counts the bytes held by all rings, and drops those of the oldest batches above the limit.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    held: Arc<AtomicUsize>,
    /// Oldest first. Batches that left their rings are removed now and then.
    order: VecDeque<Weak<RetainedBatch>>,
    tidy_at: usize,
}

/// Below this length the queue is not searched for batches that left their rings.
const TIDY: usize = 1024;

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, held: Arc::default(), order: VecDeque::new(), tidy_at: TIDY }
    }

    /// Bytes that all rings hold.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    pub(super) fn keep(&mut self, batch: Batch) -> Arc<RetainedBatch> {
        let share = Share { bytes: batch.size(), held: Arc::clone(&self.held) };
        self.held.fetch_add(share.bytes, Ordering::Relaxed);
        while self.held() > self.limit {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(kept) = oldest.upgrade() {
                kept.drop_bytes();
            }
        }
        if self.order.len() >= self.tidy_at {
            self.order.retain(|kept| kept.strong_count() > 0);
            self.tidy_at = (2 * self.order.len()).max(TIDY);
        }
        let kept = Arc::new(RetainedBatch { last_seq: batch.last_seq(), batch: RwLock::new(Some((batch, share))) });
        self.order.push_back(Arc::downgrade(&kept));
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{batch::Framer, proto::user::ChatMessage};

    fn batch(seq: u64, bytes: usize) -> Batch {
        let mut framer = Framer::default();
        assert!(framer.push(&ChatMessage { seq, text: "x".repeat(bytes), ..ChatMessage::default() }).is_none());
        framer.finish().unwrap()
    }

    #[test]
    fn the_oldest_batches_lose_their_bytes_to_the_newest() {
        let mut budget = Budget::new(10_000);
        let kept: Vec<_> = (1..=5).map(|seq| budget.keep(batch(seq, 3_000))).collect();
        assert!(budget.held() <= 10_000, "{}", budget.held());
        for (kept, dropped) in kept.iter().zip([true, true, false, false, false]) {
            assert_eq!(kept.after(0) == Part::Dropped, dropped, "{}", kept.last_seq());
            assert_eq!(kept.after(kept.last_seq()), Part::Nothing, "a subscriber that has read it misses nothing");
        }
    }

    #[test]
    fn batches_that_left_their_rings_do_not_count() {
        let mut budget = Budget::new(10_000);
        let first = budget.keep(batch(1, 3_000));
        for seq in 2..5_000 {
            drop(budget.keep(batch(seq, 6_000)));
        }
        assert!(matches!(first.after(0), Part::Frames(_)), "the limit was never reached");
        assert!(budget.order.len() <= 2 * TIDY, "{}", budget.order.len());
        drop(first);
        assert_eq!(budget.held(), 0);
    }
}

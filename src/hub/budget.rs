//! What the rings of all rooms together may hold.

use std::{
    collections::VecDeque,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use crate::batch::Batch;

/// A batch in a ring, which may give up its bytes for newer ones of any room. Whoever keeps up has read them by then.
#[derive(Debug)]
pub(super) struct RetainedBatch {
    last_seq: u64,
    /// Read by every subscriber, maybe at once, and written when it is given up.
    batch: RwLock<Option<(Batch, Share)>>,
}

/// What of a batch is new to a subscriber.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    /// Nothing.
    Nothing,
    /// These frames.
    Frames(Bytes),
    /// Something, but its bytes were given up.
    GivenUp,
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
            None => Part::GivenUp,
        }
    }

    fn give_up(&self) {
        self.batch.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// A part of what is held; given back when it is dropped.
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

/// Counts what is held, and makes room at the expense of the oldest.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    held: Arc<AtomicUsize>,
    /// Oldest first. Those that their rings have dropped are cleared away now and then.
    order: VecDeque<Weak<RetainedBatch>>,
    tidy_at: usize,
}

/// Below so many it is not worth looking for dropped ones.
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
                kept.give_up();
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
    fn the_oldest_give_up_their_bytes_for_the_newest() {
        let mut budget = Budget::new(10_000);
        let kept: Vec<_> = (1..=5).map(|seq| budget.keep(batch(seq, 3_000))).collect();
        assert!(budget.held() <= 10_000, "{}", budget.held());
        for (kept, given_up) in kept.iter().zip([true, true, false, false, false]) {
            assert_eq!(kept.after(0) == Part::GivenUp, given_up, "{}", kept.last_seq());
            assert_eq!(kept.after(kept.last_seq()), Part::Nothing, "nothing is missed by who has it");
        }
    }

    #[test]
    fn what_the_rings_have_dropped_counts_no_more() {
        let mut budget = Budget::new(10_000);
        let first = budget.keep(batch(1, 3_000));
        for seq in 2..5_000 {
            drop(budget.keep(batch(seq, 6_000)));
        }
        assert!(matches!(first.after(0), Part::Frames(_)), "there was always room for it");
        assert!(budget.order.len() <= 2 * TIDY, "{}", budget.order.len());
        drop(first);
        assert_eq!(budget.held(), 0);
    }
}

//! A room with subscribers.

use std::sync::Arc;

use tokio::{sync::broadcast, time::Instant};
use tokio_util::time::delay_queue::Key;

use super::{
    budget::{Budget, RetainedBatch},
    message::message,
    presence::Presence,
};
use crate::{
    batch::{Batch, Framer},
    engine::Record,
    types::RoomName,
};

/// The ring of a room, and its members.
#[derive(Debug)]
pub(super) struct Room {
    ring: broadcast::Sender<Arc<RetainedBatch>>,
    members: usize,
    pub(super) presence: Presence,
    /// When the next delayed presence report is due, and the key of its timer.
    pub(super) check: Option<(Instant, Key)>,
    framer: Framer,
    /// Framed records are not in the ring yet.
    unsent: bool,
}

impl Room {
    pub(super) fn new(name: RoomName, ring_batches: usize, presence_max: usize) -> Self {
        Self {
            ring: broadcast::Sender::new(ring_batches),
            members: 0,
            presence: Presence::new(name, presence_max),
            check: None,
            framer: Framer::default(),
            unsent: false,
        }
    }

    pub(super) fn members(&self) -> usize {
        self.members
    }

    /// Adds a member, and gives it a receiver that begins between two batches.
    pub(super) fn join(&mut self) -> Ring {
        self.members += 1;
        Ring { batches: self.ring.subscribe(), sender: self.ring.downgrade() }
    }

    /// Removes a member. Returns `true` if it was the last.
    pub(super) fn leave(&mut self) -> bool {
        self.members = self.members.saturating_sub(1);
        self.members == 0
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.unsent
    }

    pub(super) fn frame(&mut self, record: Record, budget: &mut Budget) {
        self.unsent = true;
        if let Some(full) = self.framer.push(&message(record)) {
            self.put(full, budget);
        }
    }

    pub(super) fn send(&mut self, budget: &mut Budget) {
        self.unsent = false;
        if let Some(rest) = self.framer.finish() {
            self.put(rest, budget);
        }
    }

    fn put(&self, batch: Batch, budget: &mut Budget) {
        // It fails without a receiver: then all members are leaving.
        _ = self.ring.send(budget.keep(batch));
    }
}

/// A member's access to the batches of a room.
#[derive(Debug)]
pub(super) struct Ring {
    /// Batches from the join on.
    pub(super) batches: broadcast::Receiver<Arc<RetainedBatch>>,
    /// For a new receiver after a lag. Weak, so that the ring ends with the hub.
    pub(super) sender: broadcast::WeakSender<Arc<RetainedBatch>>,
}

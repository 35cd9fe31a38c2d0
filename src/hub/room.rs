//! A room that somebody is in.

use std::sync::Arc;

use tokio::{sync::broadcast, time::Instant};
use tokio_util::time::delay_queue::Key;

use super::{
    budget::{Budget, RetainedBatch},
    presence::Presence,
};
use crate::{
    batch::{Batch, Framer},
    engine::Record,
    proto::user::ChatMessage,
    types::RoomName,
};

/// The ring of a room, and who reads it.
#[derive(Debug)]
pub(super) struct Room {
    ring: broadcast::Sender<Arc<RetainedBatch>>,
    members: usize,
    pub(super) presence: Presence,
    /// When presence is looked at, and by which alarm.
    pub(super) check: Option<(Instant, Key)>,
    framer: Framer,
    /// Something framed waits to be sent.
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

    /// A place among the members, between two batches.
    pub(super) fn join(&mut self) -> Ring {
        self.members += 1;
        Ring { batches: self.ring.subscribe(), sender: self.ring.downgrade() }
    }

    /// Says whether nobody is left.
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
        // Without a receiver the members are on their way out, and nobody misses it.
        _ = self.ring.send(budget.keep(batch));
    }
}

/// A member's way to the batches of a room.
#[derive(Debug)]
pub(super) struct Ring {
    /// What comes from now on.
    pub(super) batches: broadcast::Receiver<Arc<RetainedBatch>>,
    /// For whoever has lagged and begins anew. Weak: the ring ends with the hub.
    pub(super) sender: broadcast::WeakSender<Arc<RetainedBatch>>,
}

/// A record as its subscribers see it.
#[must_use]
pub fn message(record: Record) -> ChatMessage {
    ChatMessage {
        user_id: record.user_id,
        text: record.text,
        timestamp: record.time.seconds(),
        timestamp_nanos: record.time.subsec_nanos(),
        room: record.room.as_str().to_owned(),
        seq: record.seq,
        id: record.id,
        event: None,
    }
}

//! Messages before and after they are appended to the log.

use crate::types::{RoomName, Time};

/// A message to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The room.
    pub room: RoomName,
    /// The sender.
    pub user_id: String,
    /// Identifies the message within `(room, user_id)`.
    pub id: String,
    /// Whether the client chose `id`: then another draft with the same `(room, user_id, id)` is a duplicate. Other ids are not indexed.
    pub keyed: bool,
    /// The text.
    pub text: String,
}

impl Draft {
    /// Approximate size in memory, in bytes. Queues are bounded by it.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.user_id.len() + self.id.len() + self.text.len()
    }

    /// Turns the draft into the record that it became.
    #[must_use]
    pub fn into_record(self, seq: u64, time: Time) -> Record {
        Record { room: self.room, seq, time, user_id: self.user_id, id: self.id, text: self.text }
    }
}

/// A message in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The room.
    pub room: RoomName,
    /// Its number in the room's order.
    pub seq: u64,
    /// When the number was assigned.
    pub time: Time,
    /// The sender.
    pub user_id: String,
    /// Identifies the message within `(room, user_id)`.
    pub id: String,
    /// The text.
    pub text: String,
}

impl Record {
    /// Approximate size in memory, in bytes. Pages and batches are bounded by it.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.user_id.len() + self.id.len() + self.text.len()
    }
}

//! Records of the log, and drafts, which become records when they are appended.

use bytes::Bytes;

use crate::types::{RoomName, Time};

/// What a record means. Every kind has a number, with which it is stored; numbers are never reused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RecordKind {
    /// A message.
    #[default]
    Message,
}

/// A stored number that no kind of this version has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown record kind {0}: a newer version of Rialto may have written it")]
pub struct UnknownKind(pub i64);

impl RecordKind {
    /// Returns the number with which the kind is stored.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Message => 0,
        }
    }
}

impl TryFrom<i64> for RecordKind {
    type Error = UnknownKind;

    fn try_from(number: i64) -> Result<Self, UnknownKind> {
        match number {
            0 => Ok(Self::Message),
            unknown => Err(UnknownKind(unknown)),
        }
    }
}

/// A record to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The room.
    pub room: RoomName,
    /// The sender.
    pub user_id: String,
    /// Identifies the record within `(room, user_id)`.
    pub id: String,
    /// Whether the client chose `id`: then another draft with the same `(room, user_id, id)` is a duplicate. Other ids are not indexed.
    pub keyed: bool,
    /// What the record means.
    pub kind: RecordKind,
    /// The `seq` of the record that this one refers to, in the same room. `None`: no other record.
    pub target: Option<u64>,
    /// The text.
    pub text: String,
    /// Further contents in an encoding that belongs to the kind; the engine does not interpret it. Usually empty.
    pub body: Bytes,
}

impl Draft {
    /// Creates the draft of a plain message. `keyed`: see [`Draft::keyed`].
    #[must_use]
    pub fn message(room: RoomName, user_id: String, id: String, keyed: bool, text: String) -> Self {
        Self { room, user_id, id, keyed, kind: RecordKind::Message, target: None, text, body: Bytes::new() }
    }

    /// Approximate size in memory, in bytes. Queues are bounded by it.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.user_id.len() + self.id.len() + self.text.len() + self.body.len()
    }

    /// Turns the draft into the record that it became.
    #[must_use]
    pub fn into_record(self, seq: u64, time: Time) -> Record {
        let Self { room, user_id, id, keyed: _, kind, target, text, body } = self;
        Record { room, seq, time, user_id, id, kind, target, text, body }
    }
}

/// A record in the log.
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
    /// Identifies the record within `(room, user_id)`.
    pub id: String,
    /// What it means.
    pub kind: RecordKind,
    /// See [`Draft::target`].
    pub target: Option<u64>,
    /// The text.
    pub text: String,
    /// See [`Draft::body`].
    pub body: Bytes,
}

impl Record {
    /// Approximate size in memory, in bytes. Pages and batches are bounded by it.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.user_id.len() + self.id.len() + self.text.len() + self.body.len()
    }
}

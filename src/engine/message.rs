//! Messages on their way into the log, and in it.

use crate::types::{RoomName, Time};

/// A message that asks for a place in a room's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Where it is said.
    pub room: RoomName,
    /// Who says it.
    pub user_id: String,
    /// Names it within the room and user.
    pub id: String,
    /// The client gave the id: a second draft with it is a duplicate. Other ids cost no index.
    pub keyed: bool,
    /// What is said.
    pub text: String,
}

impl Draft {
    /// Its share of a queue, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.user_id.len() + self.id.len() + self.text.len()
    }
}

impl Draft {
    /// The record that it became.
    #[must_use]
    pub fn into_record(self, seq: u64, time: Time) -> Record {
        Record { room: self.room, seq, time, user_id: self.user_id, id: self.id, text: self.text }
    }
}

/// A message in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it was said.
    pub room: RoomName,
    /// Its place in the room.
    pub seq: u64,
    /// When it was given its place.
    pub time: Time,
    /// Who said it.
    pub user_id: String,
    /// Names it within the room and user.
    pub id: String,
    /// What was said.
    pub text: String,
}

impl Record {
    /// Its share of a page or a batch, in bytes, about.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.user_id.len() + self.id.len() + self.text.len()
    }
}

/// Something that happens in a room, and is forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// A user is typing.
    Typing {
        /// Who.
        user_id: String,
        /// The stream that said so, which is not told.
        stream: u64,
    },
}

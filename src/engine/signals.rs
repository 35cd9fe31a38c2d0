//! Signals: events of a room that are delivered on a best-effort basis and not stored.

use std::fmt;

use crate::types::{RoomName, StreamId};

/// Sends signals to the hub of every node.
pub trait Signals: fmt::Debug + Send + Sync + 'static {
    /// Emits the signal on the rooms' feed of every node. Never blocks and never fails: if the feed is full, the signal is dropped and
    /// counted in `Metrics::dropped_signals`.
    fn signal(&self, room: RoomName, signal: Signal);
}

/// An event of a room that is not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// A user is typing.
    Typing {
        /// The user.
        user_id: String,
        /// The sending stream, to which the signal is not delivered.
        stream: StreamId,
    },
}

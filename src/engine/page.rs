//! What reading a log returns.

use super::record::Record;
use crate::types::{RoomName, Time};

/// Consecutive records of one room, read from one snapshot.
#[derive(Debug, PartialEq)]
pub struct Page {
    /// Records in ascending order of `seq`.
    pub records: Vec<Record>,
    /// Every record of the room up to this `seq`, counted from where the page was asked to begin, is in `records`. Reading continues
    /// with `after = through`. It may lie above the last record, because `seq` may skip values.
    pub through: u64,
    /// Whether the page reaches down to the floor: no record that is still in the log lies below its first record. For an empty page:
    /// below where it was asked to begin or end.
    pub reached_floor: bool,
    /// See [`Position::floor`].
    pub floor: u64,
    /// See [`Position::head`].
    pub head: u64,
}

/// The state of a room's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Identifies the log that the numbers belong to: one for all rooms. It survives restarts and changes when the data is replaced.
    pub epoch: String,
    /// The highest `seq` that retention has removed; 0 if it has removed nothing.
    pub floor: u64,
    /// The last `seq` that was assigned; 0 if none was.
    pub head: u64,
}

/// A room that exists: at least one message was committed in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomInfo {
    /// The name.
    pub name: RoomName,
    /// See [`Position::head`].
    pub head: u64,
    /// When the first message was committed.
    pub created_at: Time,
}

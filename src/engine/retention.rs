//! How many messages are kept, and for how long.

use std::{collections::HashMap, num::NonZeroU64, time::Duration};

use crate::types::{RoomName, Time};

/// What is kept of a room. A message that exceeds either limit is removed; the default keeps everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionLimits {
    /// Keeps messages up to this age. `None`: any age.
    pub age: Option<Duration>,
    /// Keeps this many of the latest messages. `None`: any number.
    pub messages: Option<NonZeroU64>,
}

/// What is kept of all rooms. The default keeps everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// The limits of every room that has none of its own.
    pub limits: RetentionLimits,
    /// Rooms with limits of their own, which replace the general ones entirely.
    pub rooms: HashMap<RoomName, RetentionLimits>,
    /// Interval between scans for messages to remove.
    pub interval: Duration,
}

impl RetentionLimits {
    /// Returns whether the oldest message of a room must be removed. For engines that assign every number: it counts by subtraction.
    pub(super) fn are_exceeded_by(&self, seq: u64, time: Time, head: u64, now: Time) -> bool {
        let too_many = self.messages.is_some_and(|kept| head.saturating_sub(seq) >= kept.get());
        let too_old = self.age.is_some_and(|age| now.since(time) > age);
        too_many || too_old
    }
}

impl Retention {
    /// Returns the limits of a room.
    #[must_use]
    pub fn of(&self, room: &RoomName) -> RetentionLimits {
        self.rooms.get(room).copied().unwrap_or(self.limits)
    }

    /// Returns whether no message is ever removed.
    #[must_use]
    pub fn keeps_everything(&self) -> bool {
        [&self.limits].into_iter().chain(self.rooms.values()).all(|limits| *limits == RetentionLimits::default())
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { limits: RetentionLimits::default(), rooms: HashMap::new(), interval: Duration::from_secs(10) }
    }
}

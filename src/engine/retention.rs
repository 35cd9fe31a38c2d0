//! How much of the rooms is kept.

use std::{collections::HashMap, num::NonZeroU64, time::Duration};

use crate::types::{RoomName, Time};

/// What is kept of a room. Nothing given: everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionLimits {
    /// Messages that are no older than this.
    pub age: Option<Duration>,
    /// The last so many messages.
    pub messages: Option<NonZeroU64>,
}

/// What is kept of all rooms. By default everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Of every room without limits of its own.
    pub limits: RetentionLimits,
    /// Of these rooms instead.
    pub rooms: HashMap<RoomName, RetentionLimits>,
    /// How often is looked for messages that go.
    pub interval: Duration,
}

impl RetentionLimits {
    /// Whether the oldest message of a room goes now. For a log whose numbers have no holes.
    #[must_use]
    pub fn give_up(&self, seq: u64, time: Time, head: u64, now: Time) -> bool {
        let too_many = self.messages.is_some_and(|kept| head.saturating_sub(seq) >= kept.get());
        let too_old = self.age.is_some_and(|age| now.since(time) > age);
        too_many || too_old
    }
}

impl Retention {
    /// What is kept of this room.
    #[must_use]
    pub fn of(&self, room: &RoomName) -> RetentionLimits {
        self.rooms.get(room).copied().unwrap_or(self.limits)
    }

    /// Whether no message ever goes.
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

//! The section `[retention]`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::section::{Limit, MAX_SECONDS, section};

section! {
    /// Which messages are kept. A message is removed as soon as one of the two limits allows it.
    pub struct Retention in "retention" {
        /// Age in seconds above which a message is removed. 0 means no limit.
        pub seconds: Limit = Limit::NONE, 0..=1 << 40;
        /// Messages that each room keeps: the newest ones. 0 means no limit.
        pub messages: Limit = Limit::NONE, 0..=i64::MAX as u64;
        /// Limits of single rooms, instead of the two above. A limit that is left out is 0, no limit:
        /// `rooms = { audit = {}, "build.log" = { seconds = 86400, messages = 1000 } }`
        pub rooms: BTreeMap<String, Retained> = BTreeMap::new();
        /// Interval in seconds between searches for messages to remove.
        pub interval_seconds: u64 = 10, 1..=MAX_SECONDS;
    }
}

/// What one room keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retained {
    /// Instead of `retention.seconds`.
    pub seconds: Limit,
    /// Instead of `retention.messages`.
    pub messages: Limit,
}

impl Default for Retained {
    fn default() -> Self {
        Self { seconds: Limit::NONE, messages: Limit::NONE }
    }
}

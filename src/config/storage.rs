//! The section `[storage]`.

use std::num::NonZeroUsize;

use super::section::{KIB, Limit, MAX_COUNT, MIB, section};

section! {
    /// The data file: what it may hold, how it is written, and how it is read.
    pub struct Storage in "storage" {
        /// Size in bytes of the data file. At this limit writes fail as on a full disk. 0 means no limit.
        pub max_file_bytes: Limit = Limit::NONE, 0..=i64::MAX as u64;
        /// Rooms that may exist. A room exists from its first message on.
        pub max_rooms: usize = 100_000, 1..=MAX_COUNT;
        /// In token mode, rooms that one user may create by sending the first message.
        pub max_rooms_per_user: usize = 1_000, 1..=MAX_COUNT;
        /// Users that may exist. All are kept in memory, about 1 KiB each.
        pub max_users: usize = 1_000_000, 1..=MAX_COUNT;
        /// Messages of all streams that may wait to be written. At this limit senders wait.
        pub max_queued_messages: usize = 8_192, 1..=1 << 24;
        /// Bytes of these messages.
        pub max_queued_bytes: usize = 4 * MIB, 1..=1 << 31;
        /// Committed groups of messages that may wait to be delivered. At this limit the writer waits, so that a slow delivery slows
        /// senders down.
        pub max_queued_groups: usize = 8, 1..=1 << 20;
        /// Size in bytes of a page that is read from the log. Larger pages make fewer reads; each reading stream holds up to four.
        pub max_page_bytes: usize = 256 * KIB, 1..=MAX_COUNT;
        /// Connections that read the data file. Each can keep one core busy while clients resume or read history.
        pub max_readers: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3), 1..=1 << 16;
    }
}

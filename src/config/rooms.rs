//! The section `[rooms]`.

use super::section::{MAX_COUNT, MIB, section};

section! {
    /// Rooms in memory, and the memberships in them. A stream has one membership for each room that it is in.
    pub struct Rooms in "rooms" {
        /// Rooms with at least one member. Each takes about 3 KiB, and 2 KiB more if its presence is requested.
        pub max_open_rooms: usize = 100_000, 1..=MAX_COUNT;
        /// Rooms that one stream may be in.
        pub max_rooms_per_stream: usize = 1_000, 1..=MAX_COUNT;
        /// Memberships in one room.
        pub max_members_per_room: usize = 100_000, 1..=MAX_COUNT;
        /// In token mode, memberships of one caller, over all its streams.
        pub max_memberships_per_caller: usize = 2_000, 1..=MAX_COUNT;
        /// Memberships of all streams.
        pub max_memberships: usize = 1_000_000, 1..=MAX_COUNT;
        /// Members of a room up to which presence names each member; above, it reports only how many there are. With 0 it only ever reports
        /// how many.
        pub presence_max: usize = 200, 0..=MAX_COUNT;
        /// Batches that a room keeps in memory for its slowest subscriber. A subscriber that is further behind reads from the log. Below 32,
        /// a single group of the log can fill it.
        pub max_ring_batches: usize = 64, 1..=1 << 16;
        /// Bytes of these batches over all rooms. At this limit the oldest batches are dropped, and subscribers that had not read them
        /// read from the log. More memory means fewer reads from the log.
        pub max_ring_bytes: usize = 256 * MIB, 1..=1 << 40;
        /// Joins and other requests that may wait for the hub.
        pub max_queued_joins: usize = 1_024, 1..=1 << 24;
        /// Bytes of pages of the log that are cached for subscribers that resume or lag. 0 disables the cache.
        pub max_history_bytes: usize = 16 * MIB, 0..=1 << 40;
        /// Watches of rooms by `ListRooms` open at once; as many of who is online, which `ListUsers` watches include.
        pub max_watchers: usize = 1_000, 1..=1 << 20;
        /// Changes of rooms, and of who is online, that are kept for watchers, once for all of them. A watcher that is further behind is ended, and has to list
        /// again.
        pub max_waiting_changes: usize = 100_000, 1..=1 << 24;
    }
}

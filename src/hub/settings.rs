//! The limits of the hub.

/// How large the hub may grow.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Batches that a room's ring keeps for its slowest subscriber.
    pub ring_batches: usize,
    /// Bytes that the rings of all rooms keep. Beyond it the oldest batches are dropped, and their late readers read the log.
    pub ring_bytes: usize,
    /// Commands, most of them joins, that may wait for the actor; more callers wait.
    pub inbox: usize,
    /// Rooms with at least one subscriber.
    pub open_rooms: usize,
    /// Memberships of all streams: a stream has one in each of its rooms.
    pub memberships: usize,
    /// Memberships of one user. `None`: no limit.
    pub memberships_per_user: Option<usize>,
    /// Rooms that one stream may be in.
    pub rooms_per_stream: usize,
    /// Memberships in one room.
    pub members_per_room: usize,
    /// Members of a room up to which presence lists each by name; above it, it reports only their number.
    pub presence_max: usize,
    /// Bytes of framed pages of the log that are cached for resuming and lagging streams.
    pub history_bytes: usize,
    /// Changes that a watcher of rooms, or of online users, may be behind.
    pub waiting_changes: usize,
    /// Watchers of rooms, and as many of online users.
    pub watchers: usize,
}

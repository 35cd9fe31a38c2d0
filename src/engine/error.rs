//! Why an engine could not do what it was asked.

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The draft would have created a room beyond the limit on all rooms.
    #[error(
        "room limit reached ({limit}): publish to an existing room, or ask the operator to raise storage.max_rooms"
    )]
    TooManyRooms {
        /// The configured limit.
        limit: usize,
    },
    /// The draft would have created a room beyond the limit on rooms of one creator.
    #[error(
        "limit of rooms created by one user reached ({limit}): publish to an existing room, or ask the operator to raise \
         storage.max_rooms_per_user"
    )]
    TooManyRoomsOfUser {
        /// The configured limit.
        limit: usize,
    },
    /// The write would have created a user beyond the limit.
    #[error(
        "user limit reached ({limit}): delete users that are no longer needed, or ask the operator to raise storage.max_users"
    )]
    TooManyUsers {
        /// The configured limit.
        limit: usize,
    },
    /// The device, or the configured file size, is exhausted. Writes succeed again once there is space.
    #[error("the disk is full: free space in the data folder, raise storage.max_file_bytes, or keep fewer messages")]
    DiskFull,
    /// The engine was sealed because the server is shutting down.
    #[error("the log accepts no more messages: the server is shutting down")]
    Sealed,
    /// Durability can no longer be guaranteed until the engine is reopened.
    #[error("the log has stopped after a failed commit and accepts no writes: restart the server")]
    Stopped,
    /// Stored data cannot be decoded.
    #[error("the log is damaged: {0}")]
    Damaged(String),
    /// A temporary failure: the same call may succeed later.
    #[error("the log is temporarily unavailable, try again: {0}")]
    Unavailable(String),
}

/// Why none of the writes of a call took effect.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// A write conflicts with the stored users, or with an earlier write of the same call.
    #[error("write {index}: {conflict}")]
    Conflict {
        /// The position of the conflicting write, from 0.
        index: usize,
        /// The conflict.
        conflict: Conflict,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] Error),
}

/// Why a write of a user was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Another user has the username.
    #[error("the username is taken")]
    UsernameTaken,
    /// Another user has the email address.
    #[error("the email address is taken")]
    EmailTaken,
    /// The stored revision differs from the expected one.
    #[error("the user has changed since it was read")]
    StaleRevision,
    /// No user has the id.
    #[error("no user has this id")]
    NoSuchUser,
}

//! Why the hub refused something.

use crate::{engine, types::RoomName};

/// Why a room was not joined, or a watch not begun.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream is in the room already.
    #[error("the stream is already in the room {0}; leave it before joining again")]
    AlreadyJoined(RoomName),
    /// The stream is in the maximum number of rooms.
    #[error("room limit of this stream reached ({limit}); leave a room or open another stream")]
    TooManyRooms {
        /// The configured limit.
        limit: usize,
    },
    /// The maximum number of rooms have a subscriber.
    #[error("open-room limit of the server reached ({limit}); join a room that has subscribers, or try again later")]
    TooManyOpenRooms {
        /// The configured limit.
        limit: usize,
    },
    /// The room has the maximum number of members.
    #[error("member limit of the room reached ({limit}); try again later")]
    RoomFull {
        /// The configured limit.
        limit: usize,
    },
    /// All streams of the caller have the maximum number of memberships.
    #[error("membership limit of this caller reached ({limit}); leave a room on any stream first")]
    TooManyMembershipsOfCaller {
        /// The configured limit.
        limit: usize,
    },
    /// All streams of the server have the maximum number of memberships.
    #[error("membership limit of the server reached ({limit}); try again later")]
    TooManyMemberships {
        /// The configured limit.
        limit: usize,
    },
    /// The maximum number of streams watch.
    #[error("watcher limit of the server reached ({limit}); try again later")]
    TooManyWatchers {
        /// The configured limit.
        limit: usize,
    },
    /// The hub's actor has failed; a restart is needed.
    #[error("the hub has failed and delivers nothing until a restart; connect again later")]
    Stopped,
    /// The log failed, or has ended.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

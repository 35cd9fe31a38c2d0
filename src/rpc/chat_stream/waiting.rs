//! Messages of a stream that were taken and are not decided yet.

use futures_util::future::BoxFuture;

use crate::{
    auth,
    engine::{Receipt, Refused},
    hub::{self, JoinedRoom},
    types::RoomName,
};

/// What the message that was taken last waits for.
pub(super) enum Waiting {
    /// For its place in the log's queue.
    Append { nth: u64, room: RoomName, place: BoxFuture<'static, Result<Receipt, Refused>> },
    /// For a place in the room, and where that is.
    Join { nth: u64, room: RoomName, id: String, entered: BoxFuture<'static, Result<JoinedRoom, hub::Error>> },
    /// For the outcomes of everything said before.
    Leave { room: RoomName },
    /// For what the keys say of another token, and until when that is good.
    GoOn { nth: u64, room: String, id: String, expires_at: BoxFuture<'static, Result<i64, auth::Error>> },
}

/// A draft in the log's queue.
pub(super) struct Inflight {
    pub(super) nth: u64,
    pub(super) room: RoomName,
    pub(super) receipt: Receipt,
}

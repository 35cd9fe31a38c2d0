//! What the message of a stream that was taken last waits for.

use futures_util::future::BoxFuture;

use super::inflight::SentDraft;
use crate::{
    auth,
    engine::{Receipt, Refused},
    hub::{self, JoinedRoom},
    types::RoomName,
};

/// What the message that was taken last waits for. Every future here goes on in a task of its own: a stream whose client does not read is
/// not polled, and must not hold what others wait for.
pub(super) enum Waiting {
    /// A place in the log's queue.
    Append { sent: SentDraft, receipt: BoxFuture<'static, Result<Receipt, Refused>> },
    /// The join of a room.
    Join { nth: u64, room: RoomName, id: String, joined: BoxFuture<'static, Result<JoinedRoom, hub::Error>> },
    /// The outcomes of all drafts before; then the room is left.
    Leave { room: RoomName },
    /// The verification of a new token, and with it the token's expiry in seconds since the Unix epoch.
    RefreshToken { nth: u64, room: String, id: String, expires_at: BoxFuture<'static, Result<i64, auth::Error>> },
}

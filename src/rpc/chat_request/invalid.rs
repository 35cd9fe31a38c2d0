//! What is wrong with a request of Chat, Subscribe, Publish, GetHistory or ListRooms.

use crate::rpc::status::NAME_BYTES;
use crate::types::{BadRoomName, RoomName};

/// A request or a message of a stream that is not valid, before any limit or right is checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidChat {
    #[error(transparent)]
    Room(#[from] BadRoomName),
    #[error("name 1 to {max} rooms")]
    RoomCount { max: usize },
    #[error("the room {0} is named twice; name each room once")]
    DuplicateRoom(RoomName),
    #[error("the metadata {header} {problem}")]
    RoomsHeader { header: &'static str, problem: String },
    #[error("the stream is not in the room {0}; join it first")]
    NotInRoom(RoomName),
    #[error("an event has no text; send text and event in two messages")]
    TextInEvent,
    #[error("text must have 1 to {max} bytes, without NUL")]
    Text { max: usize },
    #[error("user_id must have at most {NAME_BYTES} bytes, without control characters")]
    UserId,
    #[error("a typing event needs a user_id")]
    AnonymousTyping,
    #[error("a message with an id needs a user_id, for which the id is unique; set user_id or leave id empty")]
    AnonymousId,
    #[error("id must have at most {NAME_BYTES} bytes, without control characters")]
    Id,
    #[error("history must be at most {max}; GetHistory returns more")]
    History { max: u32 },
    #[error("history and after_seq exclude each other; set one of them")]
    HistoryAfterSeq,
    #[error("only the server sends this event")]
    ServerEvent,
    #[error("only plain messages can be published; send events on a Chat stream")]
    PublishedEvent,
    #[error("a message must be set")]
    NoMessage,
    #[error("after_seq and before_seq exclude each other; set one of them")]
    Range,
    #[error("page_size must not be negative")]
    PageSize,
}

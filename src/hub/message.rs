//! Records of the log as subscribers receive them.

use crate::{
    engine::{Record, RecordKind},
    proto::user::ChatMessage,
};

/// The message of a record.
#[must_use]
pub fn message(record: Record) -> ChatMessage {
    let RecordKind::Message = record.kind;
    ChatMessage {
        user_id: record.user_id,
        text: record.text,
        timestamp: record.time.seconds(),
        timestamp_nanos: record.time.subsec_nanos(),
        room: record.room.as_str().to_owned(),
        seq: record.seq,
        id: record.id,
        event: None,
    }
}

//! Presence events as listeners receive them.

use bytes::{Bytes, BytesMut};
use tokio::sync::broadcast;

use crate::{
    batch,
    proto::user::{self, ChatMessage, Typing, chat_message::Event},
    types::{RoomName, StreamId},
};

/// Framed events for the listeners of a room.
#[derive(Debug, Clone)]
pub(in crate::hub) enum Report {
    /// For every listener.
    Presence(Bytes),
    /// For every listener but the stream on which the user types.
    Typing { stream: StreamId, frame: Bytes },
}

/// One listener's end of the reports of a room.
#[derive(Debug)]
pub(in crate::hub) struct Listener {
    /// Frames to deliver first: the members as the other listeners know them.
    pub(in crate::hub) snapshot: Bytes,
    pub(in crate::hub) reports: broadcast::Receiver<Report>,
}

/// Appends a presence event. An empty `user_id` reports the count alone: with `online`, the names reported so far hold; without, they
/// do not.
pub(super) fn append_presence(room: &RoomName, user_id: &str, online: bool, count: usize, frames: &mut BytesMut) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let presence = user::Presence { user_id: user_id.to_owned(), online, count };
    let message = ChatMessage {
        room: room.as_str().to_owned(),
        event: Some(Event::Presence(presence)),
        ..ChatMessage::default()
    };
    batch::frame(&message, frames);
}

/// The frame of a typing event.
pub(super) fn typing_frame(room: &RoomName, user_id: String) -> Bytes {
    let room = room.as_str().to_owned();
    let message = ChatMessage { user_id, room, event: Some(Event::Typing(Typing {})), ..ChatMessage::default() };
    let mut frame = BytesMut::new();
    batch::frame(&message, &mut frame);
    frame.freeze()
}

//! Joining a room, and from where its messages are delivered (D5).

use std::sync::Arc;

use bytes::BytesMut;

use super::{command::JoinReply, error::Error, handle::Handle};
use crate::{
    batch,
    engine::Position,
    proto::user::{self, ChatMessage, chat_message::Event},
    types::RoomName,
};

/// How to join a room.
#[derive(Debug, Clone, Default)]
pub struct JoinOptions {
    /// Where to begin.
    pub start: JoinStart,
    /// The identity of the member; `None` for an anonymous one.
    pub user_id: Option<Arc<str>>,
    /// Send a `joined` event first, and a `left` event at the end.
    pub report_joined: bool,
    /// Send presence and typing events.
    pub presence: bool,
}

/// Where in a room delivery begins.
#[derive(Debug, Clone, Default)]
pub enum JoinStart {
    /// With messages published from now on.
    #[default]
    Live,
    /// With this many of the last messages.
    Last(usize),
    /// After a message that the subscriber holds.
    After {
        /// The `seq` of that message.
        seq: u64,
        /// The log whose `seq` this is; empty to skip the check.
        epoch: String,
    },
}

/// A room that was joined, for a subscription to [follow](super::Subscription::add).
#[derive(Debug)]
pub struct JoinedRoom {
    pub(super) room: RoomName,
    pub(super) reply: JoinReply,
    pub(super) reports_joined: bool,
    /// Every message above this `seq` is delivered.
    pub(super) cursor: u64,
    /// The head at the join. No subscriber has received more; the ring may repeat what is not above it.
    pub(super) head: u64,
    /// Frames to deliver first.
    pub(super) initial_frames: BytesMut,
}

impl Handle {
    /// Joins a room, for a [`Subscription`](super::Subscription) that is not in it. Dropping the result leaves it.
    pub async fn join(self, room: RoomName, options: JoinOptions) -> Result<JoinedRoom, Error> {
        let JoinOptions { start, user_id, report_joined, presence } = options;
        // First the receiver, then the head: a record committed between the two comes out of the receiver, which skips what is not above
        // the cursor.
        let mut reply = self.enter(room.clone(), user_id, presence).await?;
        let position = self.0.log.position(&room).await?;
        let head = position.head;
        let begin = match start {
            JoinStart::Live => Begin::at(head),
            JoinStart::Last(count) => Begin::at(self.0.log.cursor_before(&room, head, count).await?),
            JoinStart::After { seq, epoch } => Begin::after(seq, &epoch, &position),
        };
        let mut initial_frames = BytesMut::new();
        if report_joined {
            let recovered = begin.gap.is_none() && begin.recovered;
            let online = u32::try_from(reply.online).unwrap_or(u32::MAX);
            let event = user::Joined { epoch: position.epoch, head_seq: head, recovered, online };
            batch::frame(&event_in(&room, Event::Joined(event)), &mut initial_frames);
        }
        if let Some((from, to)) = begin.gap {
            batch::frame(&gap(&room, from, to), &mut initial_frames);
        }
        if let Some(listener) = &mut reply.listener {
            initial_frames.extend_from_slice(&std::mem::take(&mut listener.snapshot));
        }
        Ok(JoinedRoom { room, reply, reports_joined: report_joined, cursor: begin.cursor, head, initial_frames })
    }
}

/// Where delivery begins, and what is missing before it.
#[derive(Debug, PartialEq)]
struct Begin {
    cursor: u64,
    recovered: bool,
    gap: Option<(u64, u64)>,
}

impl Begin {
    fn at(cursor: u64) -> Self {
        Self { cursor, recovered: true, gap: None }
    }

    fn after(seq: u64, epoch: &str, position: &Position) -> Self {
        let Position { epoch: own, floor, head } = position;
        let another_log = !epoch.is_empty() && epoch != own;
        if another_log || seq > *head {
            // It is unknown what the subscriber has seen of this log, so all of it may be missing.
            return Self { cursor: *head, recovered: false, gap: (*head > 0).then_some((1, *head)) };
        }
        if seq < *floor {
            return Self { cursor: *floor, recovered: false, gap: Some((seq + 1, *floor)) };
        }
        Self::at(seq)
    }
}

/// The event that reports these messages, both ends included, as missing.
pub(super) fn gap(room: &RoomName, from_seq: u64, to_seq: u64) -> ChatMessage {
    event_in(room, Event::Gap(user::Gap { from_seq, to_seq }))
}

fn event_in(room: &RoomName, event: Event) -> ChatMessage {
    ChatMessage { room: room.as_str().to_owned(), event: Some(event), ..ChatMessage::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_reports_what_is_missing() {
        let position = |floor, head| Position { epoch: "this".into(), floor, head };
        let begin = |seq, epoch, floor, head| Begin::after(seq, epoch, &position(floor, head));
        let missing = |cursor, gap| Begin { cursor, recovered: false, gap };
        for epoch in ["", "this"] {
            assert_eq!(begin(0, epoch, 0, 0), Begin::at(0), "an empty room");
            assert_eq!(begin(0, epoch, 0, 9), Begin::at(0), "from the beginning");
            assert_eq!(begin(9, epoch, 0, 9), Begin::at(9), "nothing was missed");
            assert_eq!(begin(4, epoch, 4, 9), Begin::at(4), "just what retention left");
            assert_eq!(begin(3, epoch, 4, 9), missing(4, Some((4, 4))), "retention was faster");
            assert_eq!(begin(0, epoch, 9, 9), missing(9, Some((1, 9))), "retention took everything");
            assert_eq!(begin(10, epoch, 0, 9), missing(9, Some((1, 9))), "more than there is");
            assert_eq!(begin(1, epoch, 0, 0), missing(0, None), "more than nothing");
        }
        assert_eq!(begin(5, "other", 0, 9), missing(9, Some((1, 9))), "another log");
        assert_eq!(begin(0, "other", 0, 9), missing(9, Some((1, 9))), "another log, from its beginning");
        assert_eq!(begin(0, "other", 0, 0), missing(0, None), "another log, and this one is empty");
    }
}

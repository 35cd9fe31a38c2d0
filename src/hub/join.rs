//! How a room is entered, and from where its messages are delivered (D5).

use std::sync::Arc;

use bytes::BytesMut;
use futures_util::future::BoxFuture;

use super::{Error, Handle, Joined, unasked};
use crate::{
    batch,
    engine::Position,
    proto::user::{self, ChatMessage, chat_message::Event},
    types::RoomName,
};

/// How a room is entered.
#[derive(Debug, Clone, Default)]
pub struct JoinOptions {
    /// Where to begin.
    pub start: JoinStart,
    /// Who comes; absent: somebody.
    pub user_id: Option<Arc<str>>,
    /// Say so by `joined`.
    pub told: bool,
    /// Tell who comes and goes, and types.
    pub presence: bool,
}

/// Where in a room to begin.
#[derive(Debug, Clone, Default)]
pub enum JoinStart {
    /// With what comes.
    #[default]
    Live,
    /// With the last so many messages.
    Last(usize),
    /// After this `seq` of this log.
    After {
        /// The last one that the subscriber holds.
        seq: u64,
        /// Whose numbers these are; empty: any.
        epoch: String,
    },
}

/// A room that was entered, for a subscription to follow.
#[derive(Debug)]
pub struct JoinedRoom {
    pub(super) room: RoomName,
    pub(super) joined: Joined,
    pub(super) told: bool,
    /// Everything above is delivered.
    pub(super) cursor: u64,
    /// The head at the entry. Nobody was shown more, and what comes live may repeat what is below.
    pub(super) head: u64,
    /// What the subscriber is told first.
    pub(super) words: BytesMut,
}

impl Handle {
    /// [Enters](Self::enter) a room for a stream, which may not ask for the outcome for long.
    #[must_use]
    pub fn enter_unasked(self, room: RoomName, entry: JoinOptions) -> BoxFuture<'static, Result<JoinedRoom, Error>> {
        unasked(self.enter(room, entry), || Err(Error::Closed))
    }

    /// Enters a room, for a [`Subscription`](super::Subscription) that is not in it.
    pub async fn enter(self, room: RoomName, entry: JoinOptions) -> Result<JoinedRoom, Error> {
        let JoinOptions { start, user_id, told, presence } = entry;
        // First the receiver, then the head: a record committed between the two comes out of the receiver and is cut off below.
        let mut joined = self.join(room.clone(), user_id, presence).await?;
        let position = self.0.log.position(&room).await?;
        let head = position.head;
        let begin = match start {
            JoinStart::Live => Begin::at(head),
            JoinStart::Last(count) => Begin::at(self.0.log.cursor_before(&room, head, count).await?),
            JoinStart::After { seq, epoch } => Begin::after(seq, &epoch, &position),
        };
        let mut words = BytesMut::new();
        if told {
            let recovered = begin.gap.is_none() && begin.recovered;
            let online = u32::try_from(joined.online).unwrap_or(u32::MAX);
            let event = user::Joined { epoch: position.epoch, head_seq: head, recovered, online };
            batch::frame(&event_in(&room, Event::Joined(event)), &mut words);
        }
        if let Some((from, to)) = begin.gap {
            batch::frame(&gap(&room, from, to), &mut words);
        }
        if let Some(listener) = &mut joined.listener {
            words.extend_from_slice(&std::mem::take(&mut listener.now));
        }
        Ok(JoinedRoom { room, joined, told, cursor: begin.cursor, head, words })
    }
}

/// Where delivery begins, and what is missing before that.
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
            // What is missing, nobody can tell: all that there is was perhaps never seen.
            return Self { cursor: *head, recovered: false, gap: (*head > 0).then_some((1, *head)) };
        }
        if seq < *floor {
            return Self { cursor: *floor, recovered: false, gap: Some((seq + 1, *floor)) };
        }
        Self::at(seq)
    }
}

/// Says that these messages, both ends included, are not delivered.
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
    fn resuming_says_what_is_missing() {
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

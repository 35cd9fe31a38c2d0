//! Joining and leaving rooms on a running stream.

use rialto::proto::user::{ChatMessage, Gap, Join, Joined, Leave, Typing, chat_message::Event};

use super::{Chat, Hub};

/// A message with an event, from a client or from the server.
pub fn event(room: &str, event: Event) -> ChatMessage {
    ChatMessage { room: room.into(), event: Some(event), ..ChatMessage::default() }
}

pub fn join(room: &str, join: Join) -> ChatMessage {
    event(room, Event::Join(join))
}

/// The same from a user.
pub fn join_as(user_id: &str, room: &str, how: Join) -> ChatMessage {
    ChatMessage { user_id: user_id.into(), ..join(room, how) }
}

pub fn leave(room: &str) -> ChatMessage {
    event(room, Event::Leave(Leave {}))
}

pub fn typing(room: &str, user_id: &str) -> ChatMessage {
    ChatMessage { user_id: user_id.into(), ..event(room, Event::Typing(Typing {})) }
}

/// A join for live messages only.
pub fn live() -> Join {
    Join::default()
}

/// A join that resumes.
pub fn after(seq: u64, epoch: &str) -> Join {
    Join { after_seq: Some(seq), epoch: epoch.into(), ..Join::default() }
}

/// A join with the last messages as history.
pub fn last(history: u32) -> Join {
    Join { history, ..Join::default() }
}

/// A join with presence.
pub fn with_presence() -> Join {
    Join { presence: true, ..Join::default() }
}

pub fn gap(room: &str, from_seq: u64, to_seq: u64) -> ChatMessage {
    event(room, Event::Gap(Gap { from_seq, to_seq }))
}

/// The `joined` event of a message, which must be one.
pub fn joined(message: &ChatMessage) -> &Joined {
    match &message.event {
        Some(Event::Joined(joined)) => joined,
        _ => panic!("not joined: {message:?}"),
    }
}

pub fn is_left(message: &ChatMessage) -> bool {
    match &message.event {
        Some(Event::Left(left)) => {
            assert_eq!(left.reason, "LEFT");
            true
        }
        _ => false,
    }
}

impl Chat {
    /// Joins a room; no other message may precede the answer.
    pub async fn join(&mut self, room: &str, how: Join) -> Joined {
        self.join_as("", room, how).await
    }

    pub async fn join_as(&mut self, user_id: &str, room: &str, how: Join) -> Joined {
        self.send(join_as(user_id, room, how)).await;
        let answer = self.next().await;
        assert_eq!(answer.room, room);
        joined(&answer).clone()
    }

    /// Leaves a room; returns what came before the answer.
    pub async fn leave(&mut self, room: &str) -> Vec<ChatMessage> {
        self.send(leave(room)).await;
        let mut before = Vec::new();
        loop {
            let message = self.next().await;
            if is_left(&message) {
                assert_eq!(message.room, room);
                return before;
            }
            before.push(message);
        }
    }

    /// Half-closes the stream; returns everything up to its end, which must be OK.
    pub async fn finish(&mut self) -> Vec<ChatMessage> {
        self.half_close();
        let (messages, end) = self.rest().await;
        end.unwrap();
        messages
    }
}

impl Hub {
    /// The epoch of the log.
    pub async fn epoch(&self) -> String {
        self.chat("").await.join("any", live()).await.epoch
    }

    /// Publishes this many messages in a room and waits for them.
    pub async fn filled(&self, room: &str, n: usize) -> Vec<ChatMessage> {
        let (sender, mut receiver) = self.chat(room).await.split();
        let say = async {
            for n in 0..n {
                sender.send(super::said(room, "bob", &format!("{room}:{n}"))).await.unwrap();
            }
        };
        let hear = async {
            let mut heard = Vec::with_capacity(n);
            while heard.len() < n {
                heard.push(super::soon(receiver.message()).await.unwrap().unwrap());
            }
            heard
        };
        tokio::join!(say, hear).1
    }
}

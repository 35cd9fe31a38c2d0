//! Rooms that are entered and left while a stream runs.

use rialto::proto::user::{ChatMessage, Gap, Join, Joined, Leave, Typing, chat_message::Event};

use super::{Chat, Hub};

/// An event of a client, or of the server.
pub fn event(room: &str, event: Event) -> ChatMessage {
    ChatMessage { room: room.into(), event: Some(event), ..ChatMessage::default() }
}

pub fn join(room: &str, join: Join) -> ChatMessage {
    event(room, Event::Join(join))
}

/// The same by somebody.
pub fn join_as(user_id: &str, room: &str, how: Join) -> ChatMessage {
    ChatMessage { user_id: user_id.into(), ..join(room, how) }
}

pub fn leave(room: &str) -> ChatMessage {
    event(room, Event::Leave(Leave {}))
}

pub fn typing(room: &str, user_id: &str) -> ChatMessage {
    ChatMessage { user_id: user_id.into(), ..event(room, Event::Typing(Typing {})) }
}

/// A join that begins with what comes.
pub fn live() -> Join {
    Join::default()
}

/// A join that resumes.
pub fn after(seq: u64, epoch: &str) -> Join {
    Join { after_seq: Some(seq), epoch: epoch.into(), ..Join::default() }
}

/// A join that begins with the last messages.
pub fn last(history: u32) -> Join {
    Join { history, ..Join::default() }
}

/// A join that is told who is there.
pub fn with_presence() -> Join {
    Join { presence: true, ..Join::default() }
}

pub fn gap(room: &str, from_seq: u64, to_seq: u64) -> ChatMessage {
    event(room, Event::Gap(Gap { from_seq, to_seq }))
}

/// The `joined` that it must be.
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
    /// Joins; nothing else may come before the answer.
    pub async fn join(&mut self, room: &str, how: Join) -> Joined {
        self.join_as("", room, how).await
    }

    pub async fn join_as(&mut self, user_id: &str, room: &str, how: Join) -> Joined {
        self.send(join_as(user_id, room, how)).await;
        let answer = self.next().await;
        assert_eq!(answer.room, room);
        joined(&answer).clone()
    }

    /// Leaves; gives back what came before the answer.
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

    /// What comes up to the end of the stream, which ends with OK because it half-closes now.
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

    /// So many messages in a room, said and heard.
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

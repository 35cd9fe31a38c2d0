//! What one message of a stream asks for, and whether it is valid.

mod invalid;

use std::sync::Arc;

use prost::DecodeError;
use uuid::Uuid;

use super::status::{Failure, NAME_BYTES, RequestError};
use crate::{
    caller::Caller,
    engine::Draft,
    hub::{JoinOptions, JoinStart, Subscription},
    limit::RateLimits,
    proto::user::{ChatMessage, Join, RefreshToken, chat_message::Event},
    rooms,
    types::RoomName,
};
pub(super) use invalid::InvalidChat;

/// Messages that a `join` may ask for.
const MAX_HISTORY: u32 = 1_000;

/// What messages are checked against.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Bytes of a text.
    pub(super) text_bytes: usize,
    pub(super) limits: RateLimits,
}

/// What a message of a stream asks for.
pub(super) enum Request {
    Publish(Draft),
    Join {
        room: RoomName,
        id: String,
        options: JoinOptions,
    },
    Leave {
        room: RoomName,
    },
    Typing {
        room: RoomName,
        user_id: String,
    },
    /// Continue the stream with another token of the same caller.
    RefreshToken {
        token: String,
        room: String,
        id: String,
    },
}

/// A rejected message, with the fields that identify it to its sender.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) failure: Failure,
    pub(super) room: String,
    pub(super) id: String,
}

impl Rules {
    /// Reads a message of a stream that is in these rooms. Every message counts for the caller's message rate; a token counts for the call
    /// rate instead, so that a caller at its limit can still refresh it.
    pub(super) fn read(
        &self,
        message: Result<ChatMessage, DecodeError>,
        caller: &Caller,
        subscription: &Subscription,
    ) -> Result<Request, Rejection> {
        let limited = match &message {
            Ok(ChatMessage { event: Some(Event::RefreshToken(_)), .. }) => self.limits.call_by(caller),
            _ => self.limits.message(caller),
        };
        let mut message = message.map_err(|error| Rejection {
            failure: limited.map_or_else(Failure::from, |()| RequestError::MalformedMessage(error).into()),
            room: String::new(),
            id: String::new(),
        })?;
        let stamped = limited.map_err(Failure::from).and_then(|()| set_user_id(&mut message, caller));
        let room = room_or_lobby(&message.room);
        let failed = |failure| Rejection { failure, room: room.to_owned(), id: message.id.clone() };
        stamped.and_then(|()| Ok(self.check(&message)?)).map_err(failed)?;
        if let Some(Event::RefreshToken(RefreshToken { token })) = message.event {
            return Ok(Request::RefreshToken { token, room: message.room, id: message.id });
        }
        let room = match &message.event {
            Some(Event::Join(_)) => RoomName::new(room).map_err(InvalidChat::from),
            _ => joined_room(room, subscription),
        };
        let room = room.map_err(|error| failed(error.into()))?;
        Ok(match message.event {
            None => Request::Publish(draft(message, room)),
            Some(Event::Join(join)) => {
                let user_id = (!message.user_id.is_empty()).then(|| Arc::from(message.user_id));
                Request::Join { room, id: message.id, options: join_options(join, user_id) }
            }
            Some(Event::Typing(_)) => Request::Typing { room, user_id: message.user_id },
            Some(_) => Request::Leave { room },
        })
    }

    /// Reads a message that is published without a stream.
    pub(super) fn read_published(&self, mut message: ChatMessage, caller: &Caller) -> Result<Draft, Failure> {
        self.limits.message(caller)?;
        set_user_id(&mut message, caller)?;
        if message.event.is_some() {
            return Err(InvalidChat::PublishedEvent.into());
        }
        let in_message = |error: InvalidChat| Failure::from(error).within("message");
        self.check_text(&message).map_err(in_message)?;
        let room = RoomName::new(room_or_lobby(&message.room)).map_err(|error| in_message(error.into()))?;
        Ok(draft(message, room))
    }

    fn check(&self, message: &ChatMessage) -> Result<(), InvalidChat> {
        if message.event.is_some() && !message.text.is_empty() {
            return Err(InvalidChat::TextInEvent);
        }
        match &message.event {
            None => self.check_text(message),
            Some(Event::Join(join)) => {
                check_user_id(message)?;
                check_join(join)
            }
            Some(Event::Leave(_) | Event::RefreshToken(_)) => Ok(()),
            Some(Event::Typing(_)) => {
                if message.user_id.is_empty() {
                    return Err(InvalidChat::AnonymousTyping);
                }
                check_user_id(message)
            }
            Some(
                Event::Joined(_)
                | Event::Left(_)
                | Event::Presence(_)
                | Event::Gap(_)
                | Event::Rejected(_)
                | Event::Draining(_)
                | Event::Duplicate(_),
            ) => Err(InvalidChat::ServerEvent),
        }
    }

    fn check_text(&self, message: &ChatMessage) -> Result<(), InvalidChat> {
        if message.text.is_empty() || message.text.len() > self.text_bytes || message.text.contains('\0') {
            return Err(InvalidChat::Text { max: self.text_bytes });
        }
        check_user_id(message)?;
        // Anonymous messages are accepted, since the original Node client sends no others; but an id is unique per user.
        if message.user_id.is_empty() && !message.id.is_empty() {
            return Err(InvalidChat::AnonymousId);
        }
        if is_name(&message.id) { Ok(()) } else { Err(InvalidChat::Id) }
    }
}

/// Checks the fields of a join.
pub(super) fn check_join(join: &Join) -> Result<(), InvalidChat> {
    if join.history > MAX_HISTORY {
        return Err(InvalidChat::History { max: MAX_HISTORY });
    }
    if join.history > 0 && join.after_seq.is_some() {
        return Err(InvalidChat::HistoryAfterSeq);
    }
    Ok(())
}

/// The options of a join that [was checked](check_join).
pub(super) fn join_options(join: Join, user_id: Option<Arc<str>>) -> JoinOptions {
    let Join { after_seq, epoch, history, presence } = join;
    let start = match after_seq {
        Some(seq) => JoinStart::After { seq, epoch },
        None if history > 0 => JoinStart::Last(usize::try_from(history).unwrap_or(usize::MAX)),
        None => JoinStart::Live,
    };
    JoinOptions { start, user_id, report_joined: true, presence }
}

/// A message that names no room means the lobby.
pub(super) fn room_or_lobby(room: &str) -> &str {
    if room.is_empty() { RoomName::LOBBY } else { room }
}

/// Fills in the user id of an authenticated caller.
fn set_user_id(message: &mut ChatMessage, caller: &Caller) -> Result<(), Failure> {
    message.user_id = rooms::speaks_as(caller, std::mem::take(&mut message.user_id))?;
    Ok(())
}

fn check_user_id(message: &ChatMessage) -> Result<(), InvalidChat> {
    if is_name(&message.user_id) { Ok(()) } else { Err(InvalidChat::UserId) }
}

fn is_name(value: &str) -> bool {
    value.len() <= NAME_BYTES && !value.contains(char::is_control)
}

/// The room of this name, if the stream is in it.
fn joined_room(name: &str, subscription: &Subscription) -> Result<RoomName, InvalidChat> {
    match subscription.room(name) {
        Some(room) => Ok(room.clone()),
        None => Err(InvalidChat::NotInRoom(RoomName::new(name)?)),
    }
}

fn draft(message: ChatMessage, room: RoomName) -> Draft {
    let keyed = !message.id.is_empty();
    let id = if keyed { message.id } else { Uuid::now_v7().to_string() };
    Draft::message(room, message.user_id, id, keyed, message.text)
}

//! What a client asks for by one message of its stream, and what such a message must be.

use std::sync::Arc;

use prost::DecodeError;
use tonic::Code;
use uuid::Uuid;

use super::status::{Failure, NAME_BYTES};
use crate::{
    caller::Caller,
    engine::Draft,
    hub::{JoinOptions, JoinStart, Subscription},
    limit::RateLimits,
    proto::user::{ChatMessage, Join, RefreshToken, chat_message::Event},
    types::RoomName,
};

/// Messages that a `join` may ask for.
const HISTORY: u32 = 1_000;

/// The rules that are configured.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) text_bytes: usize,
    pub(super) limits: RateLimits,
}

/// What a message asks for.
pub(super) enum Request {
    Say(Draft),
    Join {
        room: RoomName,
        id: String,
        entry: JoinOptions,
    },
    Leave {
        room: RoomName,
    },
    Typing {
        room: RoomName,
        user_id: String,
    },
    /// With another token of the same caller.
    GoOn {
        token: String,
        room: String,
        id: String,
    },
}

/// A message that is refused, with what names it to its sender.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) failure: Failure,
    pub(super) room: String,
    pub(super) id: String,
}

impl Rules {
    /// Reads a message of a caller's stream that is in these rooms. Whatever it is, it counts for the caller's rate; a token as a call, so that
    /// who says much can still go on.
    pub(super) fn read(
        &self,
        message: Result<ChatMessage, DecodeError>,
        caller: &Caller,
        subscription: &Subscription,
    ) -> Result<Request, Bad> {
        let limited = match &message {
            Ok(ChatMessage { event: Some(Event::RefreshToken(_)), .. }) => self.limits.call_by(caller),
            _ => self.limits.message(caller),
        };
        let mut message = message.map_err(|error| Bad {
            failure: limited.map_or_else(Failure::from, |()| Failure::undecodable(&error)),
            room: String::new(),
            id: String::new(),
        })?;
        let stamped = limited.map_err(Failure::from).and_then(|()| stamp(&mut message, caller));
        let room = named(&message.room);
        let failed = |failure| Bad { failure, room: room.to_owned(), id: message.id.clone() };
        stamped.and_then(|()| self.check(&message)).map_err(failed)?;
        if let Some(Event::RefreshToken(RefreshToken { token })) = message.event {
            return Ok(Request::GoOn { token, room: message.room, id: message.id });
        }
        let room = match &message.event {
            Some(Event::Join(_)) => RoomName::new(room).map_err(Failure::from),
            _ => entered(room, subscription),
        };
        let room = room.map_err(failed)?;
        Ok(match message.event {
            None => Request::Say(draft(message, room)),
            Some(Event::Join(join)) => {
                let user_id = (!message.user_id.is_empty()).then(|| Arc::from(message.user_id));
                Request::Join { room, id: message.id, entry: entry(join, user_id) }
            }
            Some(Event::Typing(_)) => Request::Typing { room, user_id: message.user_id },
            Some(_) => Request::Leave { room },
        })
    }

    /// Reads a message that is published without a stream.
    pub(super) fn read_published(&self, mut message: ChatMessage, caller: &Caller) -> Result<Draft, Failure> {
        self.limits.message(caller)?;
        stamp(&mut message, caller)?;
        if message.event.is_some() {
            return Err(Failure::invalid("message.event", "INVALID_EVENT", "only plain messages can be published"));
        }
        let in_message = |failure: Failure| failure.within("message");
        self.check_said(&message).map_err(in_message)?;
        let room = RoomName::new(named(&message.room)).map_err(|error| in_message(error.into()))?;
        Ok(draft(message, room))
    }

    fn check(&self, message: &ChatMessage) -> Result<(), Failure> {
        if message.event.is_some() && !message.text.is_empty() {
            return Err(Failure::invalid("text", "INVALID_TEXT", "an event has no text; send them apart"));
        }
        match &message.event {
            None => self.check_said(message),
            Some(Event::Join(join)) => {
                check_user_id(message)?;
                check_join(join)
            }
            Some(Event::Leave(_) | Event::RefreshToken(_)) => Ok(()),
            Some(Event::Typing(_)) => {
                if message.user_id.is_empty() {
                    return Err(Failure::invalid("user_id", "INVALID_USER_ID", "somebody must be typing"));
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
            ) => Err(Failure::invalid("event", "INVALID_EVENT", "only the server sends this event")),
        }
    }

    fn check_said(&self, message: &ChatMessage) -> Result<(), Failure> {
        if message.text.is_empty() || message.text.len() > self.text_bytes || message.text.contains('\0') {
            let detail = format!("text must have 1 to {} bytes, without NUL", self.text_bytes);
            return Err(Failure::invalid("text", "INVALID_TEXT", detail));
        }
        check_user_id(message)?;
        // Anonymous messages are taken (the original Node client sends no others), but ids are unique per user: nobody has none.
        if message.user_id.is_empty() && !message.id.is_empty() {
            let detail = "a message with an id needs a user_id, for which the id is unique";
            return Err(Failure::invalid("user_id", "INVALID_USER_ID", detail));
        }
        if !is_name(&message.id) {
            let detail = format!("id must have at most {NAME_BYTES} bytes, without control characters");
            return Err(Failure::invalid("id", "INVALID_ID", detail));
        }
        Ok(())
    }
}

/// A join is possible as it is.
pub(super) fn check_join(join: &Join) -> Result<(), Failure> {
    if join.history > HISTORY {
        let detail = format!("history must be at most {HISTORY}; GetHistory has more");
        return Err(Failure::invalid("join.history", "INVALID_HISTORY", detail));
    }
    if join.history > 0 && join.after_seq.is_some() {
        let detail = "history begins at the end, after_seq at a place: only one of them can be asked for";
        return Err(Failure::invalid("join.history", "INVALID_HISTORY", detail));
    }
    Ok(())
}

/// How a join that [is possible](check_join) enters.
pub(super) fn entry(join: Join, user_id: Option<Arc<str>>) -> JoinOptions {
    let Join { after_seq, epoch, history, presence } = join;
    let start = match after_seq {
        Some(seq) => JoinStart::After { seq, epoch },
        None if history > 0 => JoinStart::Last(usize::try_from(history).unwrap_or(usize::MAX)),
        None => JoinStart::Live,
    };
    JoinOptions { start, user_id, told: true, presence }
}

/// Everyone who names no room is in the lobby.
pub(super) fn named(room: &str) -> &str {
    if room.is_empty() { RoomName::LOBBY } else { room }
}

/// Puts the caller's name in, where it is known.
fn stamp(message: &mut ChatMessage, caller: &Caller) -> Result<(), Failure> {
    message.user_id = caller.speaks_as(std::mem::take(&mut message.user_id))?;
    Ok(())
}

fn check_user_id(message: &ChatMessage) -> Result<(), Failure> {
    if is_name(&message.user_id) {
        return Ok(());
    }
    let detail = format!("user_id must have at most {NAME_BYTES} bytes, without control characters");
    Err(Failure::invalid("user_id", "INVALID_USER_ID", detail))
}

fn is_name(value: &str) -> bool {
    value.len() <= NAME_BYTES && !value.contains(char::is_control)
}

/// The room of this name, if the stream is in it.
fn entered(name: &str, subscription: &Subscription) -> Result<RoomName, Failure> {
    if let Some(room) = subscription.room(name) {
        return Ok(room.clone());
    }
    let name = RoomName::new(name)?;
    let detail = format!("the stream is not in the room {name}");
    Err(Failure::new(Code::FailedPrecondition, "NOT_IN_ROOM", detail))
}

fn draft(message: ChatMessage, room: RoomName) -> Draft {
    let keyed = !message.id.is_empty();
    let id = if keyed { message.id } else { Uuid::now_v7().to_string() };
    Draft { room, user_id: message.user_id, id, keyed, text: message.text }
}

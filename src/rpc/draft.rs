//! What a message of a client must be before it may ask for a place in the log.

use prost::DecodeError;
use tonic::Code;
use uuid::Uuid;

use super::status::{Failure, NAME_BYTES};
use crate::{
    engine::{Draft, RoomName},
    hub::Subscription,
    proto::user::{ChatMessage, chat_message::Event},
};

/// The rules that are configured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) text_bytes: usize,
}

/// A message that is refused, with what names it to its sender.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) failure: Failure,
    pub(super) room: String,
    pub(super) id: String,
}

impl Rules {
    pub(super) fn check(
        &self,
        message: Result<ChatMessage, DecodeError>,
        subscription: &Subscription,
    ) -> Result<Draft, Bad> {
        let mut message = message.map_err(|error| Bad {
            failure: Failure::undecodable(&error),
            room: String::new(),
            id: String::new(),
        })?;
        if message.room.is_empty() {
            message.room = RoomName::LOBBY.to_owned();
        }
        let room = self.check_fields(&message).and_then(|()| room(&message.room, subscription));
        match room {
            Ok(room) => Ok(draft(message, room)),
            Err(failure) => Err(Bad { failure, room: message.room, id: message.id }),
        }
    }

    fn check_fields(&self, message: &ChatMessage) -> Result<(), Failure> {
        if let Some(event) = &message.event {
            return Err(event_of_client(event));
        }
        if message.text.is_empty() || message.text.len() > self.text_bytes || message.text.contains('\0') {
            let detail = format!("text must have 1 to {} bytes, without NUL", self.text_bytes);
            return Err(Failure::invalid("text", "INVALID_TEXT", detail));
        }
        if !is_name(&message.user_id) {
            let detail = format!("user_id must have at most {NAME_BYTES} bytes, without control characters");
            return Err(Failure::invalid("user_id", "INVALID_USER_ID", detail));
        }
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

fn is_name(value: &str) -> bool {
    value.len() <= NAME_BYTES && !value.contains(char::is_control)
}

fn event_of_client(event: &Event) -> Failure {
    match event {
        Event::Join(_) => Failure::not_yet("join"),
        Event::Leave(_) => Failure::not_yet("leave"),
        Event::Typing(_) => Failure::not_yet("typing"),
        Event::RefreshToken(_) => Failure::not_yet("refresh_token"),
        Event::Joined(_)
        | Event::Left(_)
        | Event::Presence(_)
        | Event::Gap(_)
        | Event::Rejected(_)
        | Event::Draining(_)
        | Event::Duplicate(_) => Failure::invalid("event", "INVALID_EVENT", "only the server sends this event"),
    }
}

/// The room of a name, which is taken as it is.
fn room(name: &str, subscription: &Subscription) -> Result<RoomName, Failure> {
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

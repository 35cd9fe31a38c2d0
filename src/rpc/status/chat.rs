//! Failures of Chat, Subscribe, and the methods of ChatService.

use tonic::Code;

use super::Failure;
use crate::{
    engine::Error as EngineError,
    hub::{self, SubscriptionError},
    rooms,
    rpc::{chat_request::InvalidChat, stream_limit::StreamLimitError},
};

impl From<InvalidChat> for Failure {
    fn from(error: InvalidChat) -> Self {
        let detail = error.to_string();
        let invalid = |field, reason| Self::invalid(field, reason, detail.clone());
        match error {
            InvalidChat::Room(_) => invalid("room", "INVALID_ROOM"),
            InvalidChat::RoomCount { .. } => invalid("rooms", "INVALID_ROOMS"),
            InvalidChat::DuplicateRoom(_) => invalid("room", "INVALID_ROOMS"),
            InvalidChat::RoomsHeader { header, .. } => invalid(header, "INVALID_ROOMS"),
            InvalidChat::NotInRoom(_) => Self::new(Code::FailedPrecondition, "NOT_IN_ROOM", detail),
            InvalidChat::TextInEvent | InvalidChat::Text { .. } => invalid("text", "INVALID_TEXT"),
            InvalidChat::UserId | InvalidChat::AnonymousTyping | InvalidChat::AnonymousId => {
                invalid("user_id", "INVALID_USER_ID")
            }
            InvalidChat::Id => invalid("id", "INVALID_ID"),
            InvalidChat::History { .. } | InvalidChat::HistoryAfterSeq => invalid("join.history", "INVALID_HISTORY"),
            InvalidChat::ServerEvent => invalid("event", "INVALID_EVENT"),
            InvalidChat::PublishedEvent => invalid("message.event", "INVALID_EVENT"),
            InvalidChat::NoMessage => invalid("message", "INVALID_MESSAGE"),
            InvalidChat::Range => invalid("before_seq", "INVALID_RANGE"),
            InvalidChat::PageSize => invalid("page_size", "INVALID_VALUE"),
        }
    }
}

impl From<StreamLimitError> for Failure {
    fn from(error: StreamLimitError) -> Self {
        let reason = match error {
            StreamLimitError::Server { .. } => "TOO_MANY_STREAMS",
            StreamLimitError::Caller { .. } => "TOO_MANY_STREAMS_PER_CALLER",
        };
        Self::new(Code::ResourceExhausted, reason, error.to_string()).retry_after(10)
    }
}

impl From<rooms::Error> for Failure {
    fn from(error: rooms::Error) -> Self {
        match error {
            rooms::Error::Denied(denied) => denied.into(),
            rooms::Error::UserMismatch(mismatch) => mismatch.into(),
            rooms::Error::Hub(error) => error.into(),
            rooms::Error::Engine(error) => error.into(),
        }
    }
}

impl From<rooms::UserMismatch> for Failure {
    fn from(mismatch: rooms::UserMismatch) -> Self {
        Self::new(Code::PermissionDenied, "USER_ID_MISMATCH", mismatch.to_string())
    }
}

impl From<rooms::Denied> for Failure {
    fn from(denied: rooms::Denied) -> Self {
        match denied {
            rooms::Denied::Unauthenticated => Self::new(Code::Unauthenticated, "TOKEN_MISSING", denied.to_string()),
        }
    }
}

impl From<SubscriptionError> for Failure {
    fn from(error: SubscriptionError) -> Self {
        match error {
            SubscriptionError::LogEnded => EngineError::Stopped.into(),
            SubscriptionError::HubStopped => hub::Error::Stopped.into(),
            SubscriptionError::Engine(error) => error.into(),
        }
    }
}

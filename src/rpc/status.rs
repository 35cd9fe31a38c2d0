//! Errors on the wire: the one place that knows which gRPC status, reason and details a domain error has.

mod chat;

use std::{collections::HashMap, time::Duration};

use http::{HeaderMap, HeaderValue, Response};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    auth,
    changes::Lagged,
    engine::Error as EngineError,
    hub, lifecycle,
    limit::Limited,
    proto::user::{ChatMessage, Rejected, chat_message::Event},
    types::{BadRoomName, RoomName},
    users,
};

/// Bytes of a user id or an idempotency key.
pub(super) const NAME_BYTES: usize = 128;

/// The domain of every `google.rpc.ErrorInfo`.
const DOMAIN: &str = "rialto";

/// A failed call or message, before it is known how it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    code: Code,
    /// Stable, for programs.
    reason: &'static str,
    detail: String,
    /// The field that is wrong.
    field: Option<String>,
    /// Which element of the call, from 0.
    index: Option<usize>,
    /// Kind and name of what is missing or taken.
    resource: Option<(&'static str, String)>,
    retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn new(code: Code, reason: &'static str, detail: impl Into<String>) -> Self {
        let detail = clipped(detail.into());
        Self { code, reason, detail, field: None, index: None, resource: None, retry_after: None }
    }

    /// A field has a value that it cannot have.
    pub(crate) fn invalid(field: impl Into<String>, reason: &'static str, detail: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(Code::InvalidArgument, reason, detail) }
    }

    /// In a drain whatever is not available any more is so because of it.
    pub(crate) fn in_drain(self, draining: bool) -> Self {
        if draining && self.code == Code::Unavailable { Self::draining() } else { self }
    }

    /// The field is one of this one's.
    pub(crate) fn within(self, outer: &str) -> Self {
        Self { field: self.field.map(|field| format!("{outer}.{field}")), ..self }
    }

    fn resource(self, kind: &'static str, name: impl Into<String>) -> Self {
        Self { resource: Some((kind, clipped(name.into()))), ..self }
    }

    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(Duration::from_secs(seconds)), ..self }
    }

    /// The frame was whole, but not a message.
    pub(crate) fn undecodable(error: &prost::DecodeError) -> Self {
        Self::new(Code::InvalidArgument, "UNDECODABLE", format!("the message does not decode: {error}"))
    }

    /// The frame is longer than it may be, and was not read.
    pub(crate) fn oversize() -> Self {
        Self::new(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", "the message is larger than this server takes")
    }

    /// Flags or compressed data that are none. INTERNAL is what the gRPC specification demands (compression.md).
    pub(crate) fn malformed(detail: &str) -> Self {
        Self::new(Code::Internal, "MALFORMED_REQUEST", detail)
    }

    /// The request ended in the middle of a frame.
    pub(crate) fn truncated() -> Self {
        Self::new(Code::InvalidArgument, "TRUNCATED", "the request ended in the middle of a message")
    }

    /// More is under way than may be kept until it is whole.
    pub(crate) fn too_much_unfinished() -> Self {
        let detail = "the server waits for the rest of as much as it may; send smaller messages, or this one later";
        Self::new(Code::ResourceExhausted, "TOO_MUCH_UNFINISHED", detail).retry_after(1)
    }

    /// The request stream ended by a reset.
    pub(crate) fn reset() -> Self {
        Self::new(Code::Aborted, "STREAM_RESET", "the request stream was reset before its end")
    }

    pub(crate) fn draining() -> Self {
        Self::new(Code::Unavailable, "DRAINING", "the server is shutting down; connect again").retry_after(1)
    }

    pub(crate) fn too_many_streams() -> Self {
        Self::new(Code::ResourceExhausted, "TOO_MANY_STREAMS", "the server has as many streams as it may")
            .retry_after(10)
    }

    /// More header fields than a client needs.
    pub(crate) fn too_many_fields(limit: usize) -> Self {
        let detail = format!("a request may have at most {limit} header fields");
        Self::new(Code::InvalidArgument, "TOO_MANY_HEADERS", detail)
    }

    /// The deadline that the client gave has passed.
    pub(crate) fn deadline_exceeded() -> Self {
        Self::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "the deadline of the call has passed")
    }

    /// A request that no gRPC client makes.
    pub(crate) fn foreign(detail: impl Into<String>) -> Self {
        Self::new(Code::PermissionDenied, "FOREIGN_ORIGIN", detail)
    }

    /// What a stream is told of one of its messages. Names that are longer than they may be are left out: `nth` says which message it is.
    pub(crate) fn into_rejected(self, mut room: String, mut id: String, nth: u64) -> ChatMessage {
        if room.len() > RoomName::MAX_LEN {
            room.clear();
        }
        if id.len() > NAME_BYTES {
            id.clear();
        }
        let retry_after = self.retry_after.and_then(|after| prost_types::Duration::try_from(after).ok());
        let rejected = Rejected {
            id,
            code: self.code.into(),
            reason: self.reason.to_owned(),
            detail: self.detail,
            retry_after,
            nth,
        };
        ChatMessage { room, event: Some(Event::Rejected(rejected)), ..ChatMessage::default() }
    }
}

/// What a client sent is told back to it only so far: the trailers that carry it must stay far below the header limit of any client, which
/// would otherwise drop its whole connection.
fn clipped(mut text: String) -> String {
    const BYTES: usize = 400;
    if text.len() > BYTES {
        text.truncate(text.floor_char_boundary(BYTES));
        text.push('…');
    }
    text
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let mut details = ErrorDetails::new();
        let metadata = failure.index.map(|index| ("index".to_owned(), index.to_string()));
        details.set_error_info(failure.reason, DOMAIN, HashMap::from_iter(metadata));
        if let Some(field) = failure.field {
            details.add_bad_request_violation(field, failure.detail.clone());
        }
        if let Some((kind, name)) = failure.resource {
            details.set_resource_info(kind, name, "", failure.detail.clone());
        }
        if failure.retry_after.is_some() {
            details.set_retry_info(failure.retry_after);
        }
        Status::with_error_details(failure.code, failure.detail, details)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let detail = error.to_string();
        match error {
            EngineError::TooManyRooms { .. } => {
                Self::new(Code::ResourceExhausted, "TOO_MANY_ROOMS", detail).retry_after(60)
            }
            EngineError::TooManyRoomsOfUser { .. } => {
                Self::new(Code::ResourceExhausted, "TOO_MANY_ROOMS_OF_USER", detail).retry_after(60)
            }
            EngineError::DiskFull => Self::new(Code::ResourceExhausted, "DISK_FULL", detail).retry_after(30),
            EngineError::Sealed => Self::draining(),
            EngineError::Stopped => Self::new(Code::Unavailable, "LOG_STOPPED", detail).retry_after(30),
            EngineError::Unavailable(_) => Self::new(Code::Unavailable, "LOG_UNAVAILABLE", detail).retry_after(1),
            EngineError::Damaged(_) => Self::new(Code::DataLoss, "LOG_DAMAGED", detail),
        }
    }
}

impl From<BadRoomName> for Failure {
    fn from(error: BadRoomName) -> Self {
        Self::invalid("room", "INVALID_ROOM", error.to_string())
    }
}

impl From<hub::Error> for Failure {
    fn from(error: hub::Error) -> Self {
        let detail = error.to_string();
        match error {
            hub::Error::AlreadyJoined(_) => Self::new(Code::AlreadyExists, "ALREADY_IN_ROOM", detail),
            hub::Error::TooManyRooms { .. } => {
                Self::new(Code::ResourceExhausted, "TOO_MANY_ROOMS_IN_STREAM", detail).retry_after(1)
            }
            hub::Error::TooManyOpenRooms { .. } => {
                Self::new(Code::ResourceExhausted, "TOO_MANY_OPEN_ROOMS", detail).retry_after(10)
            }
            hub::Error::RoomFull { .. } => Self::new(Code::ResourceExhausted, "ROOM_FULL", detail).retry_after(10),
            hub::Error::TooManyMembershipsOfCaller { .. } => {
                Self::new(Code::ResourceExhausted, "TOO_MANY_MEMBERSHIPS_OF_CALLER", detail).retry_after(10)
            }
            hub::Error::TooManyMemberships { .. } => {
                Self::new(Code::ResourceExhausted, "TOO_MANY_MEMBERSHIPS", detail).retry_after(10)
            }
            hub::Error::TooManyWatchers { .. } => {
                Self::new(Code::ResourceExhausted, "TOO_MANY_WATCHERS", detail).retry_after(10)
            }
            hub::Error::Stopped => Self::new(Code::Unavailable, "HUB_STOPPED", detail).retry_after(30),
            hub::Error::Engine(error) => error.into(),
        }
    }
}

impl From<Lagged> for Failure {
    fn from(_: Lagged) -> Self {
        let detail = "more has changed than can wait for this watcher; list anew";
        Self::new(Code::ResourceExhausted, "WATCH_TOO_SLOW", detail).retry_after(1)
    }
}

impl From<lifecycle::EndReason> for Failure {
    fn from(reason: lifecycle::EndReason) -> Self {
        match reason {
            lifecycle::EndReason::SlowReader => {
                let detail = "the client has read nothing for too long; resume after the last seq that it has";
                Self::new(Code::ResourceExhausted, "SLOW_READER", detail).retry_after(1)
            }
            lifecycle::EndReason::TokenExpired => auth::Error::Expired.into(),
            lifecycle::EndReason::UserDeleted => auth::Error::UserDeleted.into(),
            lifecycle::EndReason::RightsLost => auth::Error::RightsLost.into(),
        }
    }
}

impl From<auth::Error> for Failure {
    fn from(error: auth::Error) -> Self {
        use auth::Error;
        let detail = error.to_string();
        let unauthenticated = |reason| Self::new(Code::Unauthenticated, reason, detail.clone());
        let denied = |reason| Self::new(Code::PermissionDenied, reason, detail.clone());
        match error {
            Error::Missing => unauthenticated("TOKEN_MISSING"),
            Error::Invalid(_) => unauthenticated("TOKEN_INVALID"),
            Error::Expired => unauthenticated("TOKEN_EXPIRED"),
            Error::UserDeleted => unauthenticated("USER_DELETED"),
            Error::LoginFailed => unauthenticated("LOGIN_FAILED"),
            Error::SessionEnded => unauthenticated("SESSION_ENDED"),
            Error::NotAllowed(_) => denied("NOT_ALLOWED"),
            Error::CertificateMismatch => denied("CERTIFICATE_MISMATCH"),
            Error::SomebodyElse => denied("SOMEBODY_ELSE"),
            Error::RightsLost => denied("RIGHTS_LOST"),
            Error::TooLong => Self::new(Code::DeadlineExceeded, "TOO_LONG_WITHOUT_TOKEN", detail),
            Error::Unsigned => Self::new(Code::Internal, "TOKEN_NOT_MADE", detail),
            Error::KeysUnavailable => Self::new(Code::Unavailable, "KEYS_UNAVAILABLE", detail).retry_after(5),
            Error::TokensOff => Self::new(Code::FailedPrecondition, "TOKENS_OFF", detail),
            Error::Users(error) => Self::from(&*error),
        }
    }
}

impl From<Limited> for Failure {
    fn from(limited: Limited) -> Self {
        let failure = Self::new(Code::ResourceExhausted, "RATE_LIMITED", limited.to_string());
        Self { retry_after: Some(limited.after), ..failure }
    }
}

impl From<users::Error> for Failure {
    fn from(error: users::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&users::Error> for Failure {
    fn from(error: &users::Error) -> Self {
        let detail = error.to_string();
        match error {
            users::Error::Invalid(invalid) => Self::invalid(invalid.field, "INVALID_VALUE", detail),
            users::Error::NotFound(name) => Self::new(Code::NotFound, "USER_NOT_FOUND", detail).resource("user", name),
            users::Error::UsernameTaken(name) => {
                Self::new(Code::AlreadyExists, "USERNAME_TAKEN", detail).resource("username", name)
            }
            users::Error::EmailTaken(email) => {
                Self::new(Code::AlreadyExists, "EMAIL_TAKEN", detail).resource("email", email)
            }
            users::Error::StaleRevision { .. } => Self::new(Code::Aborted, "STALE_REVISION", detail),
            users::Error::TooManyBulks => Self::new(Code::ResourceExhausted, "TOO_MANY_BULKS", detail).retry_after(1),
            users::Error::TooManyWatchers => {
                Self::new(Code::ResourceExhausted, "TOO_MANY_WATCHERS", detail).retry_after(10)
            }
            users::Error::TooManyLogins => Self::new(Code::ResourceExhausted, "TOO_MANY_LOGINS", detail).retry_after(1),
            users::Error::TooManyPasswords => {
                Self::new(Code::ResourceExhausted, "TOO_MANY_PASSWORDS", detail).retry_after(1)
            }
            users::Error::Hashing(_) => Self::new(Code::Internal, "HASHING_FAILED", detail),
            users::Error::Engine(error) => error.clone().into(),
            users::Error::Element { index, cause } => {
                let inner = Self::from(&**cause);
                let field = inner.field.map(|field| format!("users[{index}].{field}"));
                Self { detail: clipped(detail), field, index: Some(*index), ..inner }
            }
        }
    }
}

impl From<users::Ended> for Failure {
    fn from(ended: users::Ended) -> Self {
        let detail = ended.to_string();
        match ended {
            users::Ended::TooSlow { .. } => Self::new(Code::ResourceExhausted, "WATCH_TOO_SLOW", detail).retry_after(1),
            users::Ended::Closed => EngineError::Stopped.into(),
        }
    }
}

impl From<users::Invalid> for Failure {
    fn from(invalid: users::Invalid) -> Self {
        users::Error::from(invalid).into()
    }
}

/// The trailers of a status.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Only a message that is no header value gets here, and none of ours is.
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from(i32::from(Code::Internal)));
    }
    trailers
}

/// The trailers of a stream that something from outside has ended.
pub(crate) fn why(reason: lifecycle::EndReason) -> HeaderMap {
    trailers(&Failure::from(reason).into())
}

/// What tonic itself says of a request, in our words and with details: it compares a frame's length with the limit, and decompresses,
/// before any codec is asked. Whatever says something else has details already.
pub(super) fn in_our_words(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    match status.code() {
        // Before it was decompressed, and then.
        Code::OutOfRange | Code::ResourceExhausted => Failure::oversize().into(),
        Code::Internal => Failure::malformed(status.message()).into(),
        _ => status,
    }
}

/// The same for a response.
pub(crate) fn explain<B>(mut response: Response<B>) -> Response<B> {
    if let Some(status) = response.extensions_mut().remove::<Status>() {
        // A status of ours always fits into headers; if it did not, the old answer stands.
        drop(in_our_words(status).add_header(response.headers_mut()));
    }
    response
}

//! Maps domain errors to gRPC statuses with `google.rpc` details.
//!
//! [`Failure`] is the common form. One file per domain converts its errors by a match without a catch-all arm, so that a new variant does
//! not compile until it has a code and a reason.

mod auth;
mod chat;
mod engine;
mod hub;
mod lifecycle;
mod limit;
mod request;
mod tonic_status;
mod users;

use std::{collections::HashMap, time::Duration};

use http::{HeaderMap, HeaderValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    lifecycle::EndReason,
    proto::user::{ChatMessage, Rejected, chat_message::Event},
    types::RoomName,
};
pub(crate) use request::RequestError;
pub(super) use tonic_status::with_details;
pub(crate) use tonic_status::with_details_in_response;

/// Longest user id and longest idempotency key, in bytes.
pub(super) const NAME_BYTES: usize = 128;

/// The domain of every `google.rpc.ErrorInfo`.
const DOMAIN: &str = "rialto";

/// An error of a call or of one message, before it is rendered as a status or as a `rejected` event.
///
/// Only the conversions in this module choose codes and reasons; the rest of `rpc` has typed errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    code: Code,
    /// The stable reason, for programs.
    reason: &'static str,
    /// The error text, for people.
    detail: String,
    /// Path of the invalid request field.
    field: Option<String>,
    /// Index of the failed element of a batch, from 0.
    index: Option<usize>,
    /// Kind and name of the resource that is missing or taken.
    resource: Option<(&'static str, String)>,
    /// Delay after which the same call may succeed. `None`: a retry is not promised to help.
    retry_after: Option<Duration>,
}

impl Failure {
    fn new(code: Code, reason: &'static str, detail: impl Into<String>) -> Self {
        let detail = clipped(detail.into());
        Self { code, reason, detail, field: None, index: None, resource: None, retry_after: None }
    }

    /// INVALID_ARGUMENT for a request field.
    fn invalid(field: impl Into<String>, reason: &'static str, detail: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(Code::InvalidArgument, reason, detail) }
    }

    /// RESOURCE_EXHAUSTED: a limit is reached.
    fn exhausted(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Code::ResourceExhausted, reason, detail)
    }

    /// Prefixes the field's path with the message that contains it.
    pub(crate) fn within(self, outer: &str) -> Self {
        Self { field: self.field.map(|field| format!("{outer}.{field}")), ..self }
    }

    fn resource(self, kind: &'static str, name: impl Into<String>) -> Self {
        Self { resource: Some((kind, clipped(name.into()))), ..self }
    }

    /// Sets the retry delay, in seconds.
    fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(Duration::from_secs(seconds)), ..self }
    }

    /// Renders the failure as the `rejected` event of the `nth` message of a stream, from 1. A room or id longer than the protocol allows is
    /// omitted; `nth` still identifies the message.
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

/// Clips text from the client, with which errors quote it. Trailers above 16 KiB make clients drop the whole connection.
fn clipped(mut text: String) -> String {
    const BYTES: usize = 400;
    if text.len() > BYTES {
        text.truncate(text.floor_char_boundary(BYTES));
        text.push('…');
    }
    text
}

/// The trailers of a status.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Unreachable with our statuses: their messages and details are valid header values.
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from(i32::from(Code::Internal)));
    }
    trailers
}

/// The trailers of a response that the server ends.
pub(crate) fn why(reason: EndReason) -> HeaderMap {
    trailers(&Failure::from(reason).into())
}

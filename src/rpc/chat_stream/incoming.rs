//! The request half of a stream.

use prost::DecodeError;
use tonic::{Status, Streaming};

use crate::proto::user::ChatMessage;

/// The messages of a client; one that does not decode is an error of its own.
pub(in crate::rpc) type ChatRequests = Streaming<Result<ChatMessage, DecodeError>>;

/// The request half of a stream.
pub(super) enum Incoming {
    Open(Box<ChatRequests>),
    /// The client only listens: nothing comes, and nothing ends.
    Absent,
    /// Nothing more is read. The stream ends with this status once everything that was read is settled.
    Closed(Status),
    /// The trailers were sent.
    Ended,
}

//! Errors of a request itself, and limits that apply before any domain is called.

use tonic::Code;

use super::Failure;

/// Why a request is refused, or ends before it is complete.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// A frame was complete, but is not the expected protobuf message.
    #[error("the message is not valid protobuf: {0}")]
    MalformedMessage(prost::DecodeError),
    /// A message is larger than the method accepts, as sent or decompressed. The cause has the limit, in bytes.
    #[error("the message is too large; send a smaller one ({cause})")]
    MessageTooLarge {
        /// tonic's message.
        cause: String,
    },
    /// A frame has invalid flags or invalid compressed data, or a unary request has no message.
    #[error("malformed gRPC request: {cause}")]
    MalformedRequest {
        /// tonic's message.
        cause: String,
    },
    /// The request ended in the middle of a message.
    #[error("the request ended in the middle of a message")]
    Truncated,
    /// The client reset the request stream.
    #[error("the request stream was reset before its end")]
    Reset,
    /// The buffers for incomplete messages of all requests are full.
    #[error("too many incomplete messages are buffered ({limit} bytes); send smaller messages, or retry later")]
    TooManyIncompleteMessages {
        /// Bytes, for all requests.
        limit: usize,
    },
    /// The request has more header fields than allowed.
    #[error("the request has more than {limit} header fields; send fewer")]
    TooManyHeaders {
        /// Header fields of one request.
        limit: usize,
    },
    /// The messages are compressed in an unknown way.
    #[error("unsupported grpc-encoding: use gzip, zstd or identity")]
    UnsupportedEncoding,
    /// The request names a host that is not this machine, on a server that accepts only local names.
    #[error("without authentication this server accepts only local names: call it by localhost or a loopback address")]
    HostNotAllowed,
    /// The deadline set by the client (`grpc-timeout`) passed.
    #[error("the call's deadline (grpc-timeout) passed; set a longer one, or retry")]
    DeadlineExceeded,
    /// The server is shutting down.
    #[error("the server is shutting down; reconnect")]
    Draining,
    /// The server has its maximum number of streams.
    #[error("stream limit of the server reached ({limit}); retry later")]
    TooManyStreams {
        /// Streams of the server.
        limit: usize,
    },
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        use RequestError as Error;
        let detail = error.to_string();
        match error {
            Error::MalformedMessage(_) => Self::new(Code::InvalidArgument, "MALFORMED_MESSAGE", detail),
            Error::MessageTooLarge { .. } => Self::exhausted("MESSAGE_TOO_LARGE", detail),
            // INTERNAL is what the gRPC specification demands (compression.md).
            Error::MalformedRequest { .. } => Self::new(Code::Internal, "MALFORMED_REQUEST", detail),
            Error::Truncated => Self::new(Code::InvalidArgument, "TRUNCATED", detail),
            Error::Reset => Self::new(Code::Aborted, "STREAM_RESET", detail),
            Error::TooManyIncompleteMessages { .. } => {
                Self::exhausted("TOO_MANY_INCOMPLETE_MESSAGES", detail).retry_after(1)
            }
            Error::TooManyHeaders { .. } => Self::new(Code::InvalidArgument, "TOO_MANY_HEADERS", detail),
            Error::UnsupportedEncoding => Self::new(Code::Unimplemented, "ENCODING_UNSUPPORTED", detail),
            Error::HostNotAllowed => Self::new(Code::PermissionDenied, "HOST_NOT_ALLOWED", detail),
            Error::DeadlineExceeded => Self::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", detail),
            Error::Draining => Self::new(Code::Unavailable, "DRAINING", detail).retry_after(1),
            Error::TooManyStreams { .. } => Self::exhausted("TOO_MANY_STREAMS", detail).retry_after(10),
        }
    }
}

impl Failure {
    /// The server is shutting down.
    pub(crate) fn draining() -> Self {
        RequestError::Draining.into()
    }

    /// Reports DRAINING instead of any other UNAVAILABLE while the server drains: the drain is the cause.
    pub(crate) fn in_drain(self, draining: bool) -> Self {
        if draining && self.code == Code::Unavailable { Self::draining() } else { self }
    }
}

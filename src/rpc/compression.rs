//! Which encodings requests may have, and which replies are compressed.
//!
//! gRPC compresses each message separately, so small messages become larger: `ARCHITECTURE.md` has the measurements behind the choices here.
//! tonic stops decompressing a message at its decoding limit.

use http::{HeaderMap, HeaderValue, Request};
use prost::Message;
use tonic::{
    Response, Status,
    codec::{
        CompressionEncoding::{self, Gzip, Zstd},
        SingleMessageCompressionOverride,
    },
    metadata::AsciiMetadataValue,
};

use super::{
    methods,
    status::{Failure, RequestError},
};

/// The encodings that requests may have, and replies.
const ENCODINGS: [(&str, CompressionEncoding); 2] = [("gzip", Gzip), ("zstd", Zstd)];

/// What a client is answered whose encoding is not among them.
const SUPPORTED: &str = "gzip,zstd,identity";

/// Names the encoding of a message, and what its sender can decode.
const ENCODING: &str = "grpc-encoding";
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// Minimum size of a reply that is compressed, in bytes.
const MIN_REPLY: usize = 1024;

/// Applies `accept` (or `send`), a method of a generated server, to every encoding.
pub(crate) fn with_encodings<S>(server: S, accept: impl Fn(S, CompressionEncoding) -> S) -> S {
    ENCODINGS.into_iter().fold(server, |server, (_, encoding)| accept(server, encoding))
}

/// The encoding of a request's messages: `None` if they are not compressed, UNIMPLEMENTED if it is not supported.
pub(super) fn of_request(headers: &HeaderMap) -> Result<Option<CompressionEncoding>, Status> {
    let Some(name) = headers.get(ENCODING).map(HeaderValue::as_bytes) else { return Ok(None) };
    if name == b"identity" {
        return Ok(None);
    }
    let supported = ENCODINGS.into_iter().find(|(encoding, _)| encoding.as_bytes() == name);
    supported.map(|(_, encoding)| Some(encoding)).ok_or_else(unsupported)
}

fn unsupported() -> Status {
    let mut status = Status::from(Failure::from(RequestError::UnsupportedEncoding));
    // Required by the gRPC specification (compression.md).
    status.metadata_mut().insert(ACCEPT_ENCODING, AsciiMetadataValue::from_static(SUPPORTED));
    status
}

/// A reply that is compressed only if that is likely to make it smaller.
pub(super) fn reply<M: Message>(message: M) -> Response<M> {
    let is_small = message.encoded_len() < MIN_REPLY;
    let mut response = Response::new(message);
    if is_small {
        response.extensions_mut().insert(SingleMessageCompressionOverride::Disable);
    }
    response
}

/// Hides from tonic what the client accepts, where replies must not be compressed: tonic cannot except the messages of a stream.
pub(crate) fn keep_plain<B>(mut request: Request<B>) -> Request<B> {
    if !methods::find(request.uri().path()).is_some_and(|method| method.compresses_replies) {
        request.headers_mut().remove(ACCEPT_ENCODING);
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_is_told_to_use_is_what_is_supported() {
        let names: Vec<_> = ENCODINGS.iter().map(|(name, _)| *name).chain(["identity"]).collect();
        assert_eq!(names.join(","), SUPPORTED);
        for name in names {
            let headers = HeaderMap::from_iter([(ENCODING.parse().unwrap(), name.parse().unwrap())]);
            of_request(&headers).unwrap();
        }
    }
}

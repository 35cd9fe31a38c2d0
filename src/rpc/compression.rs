//! Which compressions requests may have, and which replies are worth one.
//!
//! gRPC compresses every message alone, so small ones become larger: `ARCHITECTURE.md` has the figures behind what is done here. tonic
//! stops to decompress a message at its decoding limit.

use http::{HeaderMap, HeaderValue, Request};
use prost::Message;
use tonic::{
    Response, Status,
    codec::{CompressionEncoding, SingleMessageCompressionOverride},
    metadata::AsciiMetadataValue,
};

use super::status::{Failure, RequestError};

/// Names the compression of a message, and what the sender itself can read.
const ENCODING: &str = "grpc-encoding";
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// Bytes of a reply from which on it is compressed for those who accept that.
const WORTHWHILE: usize = 1024;

/// The methods that answer with many messages, each of them small.
const LISTS: [&str; 2] = ["/user.UserService/ListUsers", "/rialto.v1.ChatService/ListRooms"];

/// The compression of a request's messages, or the answer to one that is not known here.
pub(super) fn of_request(headers: &HeaderMap) -> Result<Option<CompressionEncoding>, Status> {
    match headers.get(ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(None),
        Some(b"gzip") => Ok(Some(CompressionEncoding::Gzip)),
        Some(b"zstd") => Ok(Some(CompressionEncoding::Zstd)),
        Some(_) => {
            let mut status = Status::from(Failure::from(RequestError::UnsupportedEncoding));
            // As the gRPC specification demands (compression.md).
            status.metadata_mut().insert(ACCEPT_ENCODING, AsciiMetadataValue::from_static("gzip,zstd,identity"));
            Err(status)
        }
    }
}

/// A reply that is compressed only if that makes it smaller.
pub(super) fn reply<M: Message>(message: M) -> Response<M> {
    let is_small = message.encoded_len() < WORTHWHILE;
    let mut response = Response::new(message);
    if is_small {
        response.extensions_mut().insert(SingleMessageCompressionOverride::Disable);
    }
    response
}

/// Lists are sent as they are, whatever the client accepts: tonic has no way to except single messages of a stream.
pub(crate) fn keep_lists_plain<B>(mut request: Request<B>) -> Request<B> {
    if LISTS.contains(&request.uri().path()) {
        request.headers_mut().remove(ACCEPT_ENCODING);
    }
    request
}

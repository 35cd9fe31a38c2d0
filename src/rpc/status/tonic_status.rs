//! Statuses that tonic makes by itself, for which it gives no details.

use http::Response;
use tonic::{Code, Status};

use super::{Failure, RequestError};

/// Replaces a status made by tonic by one with details. tonic checks a frame's length and decompresses it before any codec of ours is
/// called. A status with details is one of ours and stays as it is.
pub(crate) fn with_details(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    let cause = status.message().trim_start_matches("Error, ").to_owned();
    match status.code() {
        // OUT_OF_RANGE before decompression, RESOURCE_EXHAUSTED after it.
        Code::OutOfRange | Code::ResourceExhausted => Failure::from(RequestError::MessageTooLarge { cause }).into(),
        Code::Internal => Failure::from(RequestError::MalformedRequest { cause }).into(),
        _ => status,
    }
}

/// Applies [`with_details`] to a response that consists of a status alone.
pub(crate) fn with_details_in_response<B>(mut response: Response<B>) -> Response<B> {
    if let Some(status) = response.extensions_mut().remove::<Status>() {
        // If the new status did not fit into headers, tonic's would remain; ours always fits.
        drop(with_details(status).add_header(response.headers_mut()));
    }
    response
}

//! What every request must be before anything else looks at it: gRPC over HTTP/2, from where this server may be called, within the limits.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderValue, StatusCode, Version, header, uri::Authority};
use tonic::{Status, body::Body};

use super::{
    compression,
    status::{Failure, RequestError},
};
use crate::{caller::is_loopback, lifecycle::TaskGroup};

/// Maximum number of header fields of a request. An honest client sends a dozen; a call keeps them for as long as it waits, and hundreds of
/// small ones take many times their bytes.
const MAX_FIELDS: usize = 64;

/// What the server admits.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    /// The tasks of all streams, of every method.
    pub(crate) streams: TaskGroup,
    /// Maximum number of them.
    pub(crate) max_streams: usize,
    /// Admit only requests to a name of this machine. On loopback without tokens, a web page could otherwise reach the server through a name
    /// of its own that it points to this machine (DNS rebinding).
    pub(crate) local_names_only: bool,
}

/// The layer's function, for `axum::middleware`.
pub(crate) async fn admit(State(admission): State<Admission>, request: Request, next: Next) -> Response {
    match admission.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into(),
    }
}

/// Why a request is not admitted.
enum Refusal {
    /// Not a gRPC request, so there is no gRPC status.
    Http(StatusCode, &'static str),
    Grpc(Status),
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        Self::Grpc(Failure::from(error).into())
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Http(status, text) => {
                let mut response = Self::new(axum::body::Body::from(text));
                *response.status_mut() = status;
                response
            }
            Refusal::Grpc(status) => trailers_only(status),
        }
    }
}

impl Admission {
    fn check(&self, request: &Request) -> Result<(), Refusal> {
        is_grpc(request)?;
        if self.local_names_only && !is_local(request) {
            return Err(RequestError::HostNotAllowed.into());
        }
        if request.headers().len() > MAX_FIELDS {
            return Err(RequestError::TooManyHeaders { limit: MAX_FIELDS }.into());
        }
        if self.streams.len() > self.max_streams {
            return Err(RequestError::TooManyStreams { limit: self.max_streams }.into());
        }
        compression::of_request(request.headers()).map(drop).map_err(Refusal::Grpc)
    }
}

/// Checks content type and HTTP version. Browsers send other content types to foreign servers without asking them first; they ask about this
/// one, and get no permission.
fn is_grpc(request: &Request) -> Result<(), Refusal> {
    let content_type = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !content_type.is_some_and(|value| value.starts_with(b"application/grpc")) {
        // Required by the gRPC specification (PROTOCOL-HTTP2, Requests).
        return Err(Refusal::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE, "this server speaks gRPC\n"));
    }
    if request.version() < Version::HTTP_2 {
        return Err(Refusal::Http(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC needs HTTP/2\n"));
    }
    Ok(())
}

/// Refuses a call before its method runs.
pub(crate) fn refuse(failure: impl Into<Failure>) -> Response {
    trailers_only(failure.into().into())
}

fn trailers_only(status: Status) -> Response {
    status.into_http::<Body>().map(axum::body::Body::new)
}

/// Whether the request's authority, or the `host` header in its place, is a name of this machine.
fn is_local(request: &Request) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let named = host.map(str::parse::<Authority>).and_then(Result::ok);
    let Some(authority) = request.uri().authority().cloned().or(named) else { return false };
    is_loopback(authority.host())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        let at = |uri: &str| is_local(&Request::builder().uri(uri).body(axum::body::Body::empty()).unwrap());
        for local in
            ["http://localhost:1", "http://LOCALHOST", "http://127.0.0.1:5", "http://127.9.9.9", "http://[::1]:5"]
        {
            assert!(at(local), "{local}");
        }
        for foreign in
            ["http://evil.example:50051", "http://localhost.evil.example", "http://10.0.0.1", "http://[::2]", "/"]
        {
            assert!(!at(foreign), "{foreign}");
        }
    }
}

//! What every request passes on its way in: is it gRPC at all, does it come from where it may, and how long may it take.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, StatusCode, Version, header, uri::Authority};
use tonic::{Status, body::Body};

use super::{
    compression,
    status::{Failure, RequestError},
};
use crate::{caller::is_loopback, lifecycle::Requests};

/// How strict the door is.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    /// All streams there are, of every method, and how many there may be.
    pub(crate) streams: Requests,
    pub(crate) max_streams: usize,
    /// Take only requests to a name of this machine. On loopback without tokens, a web page could otherwise reach the hub through a name of
    /// its own that it points here (DNS rebinding).
    pub(crate) local_names_only: bool,
}

/// The layer's function, for `axum::middleware`.
pub(crate) async fn admit(State(admission): State<Admission>, request: Request, next: Next) -> Response {
    // Browsers send other types to foreign servers without asking them first; this one they ask about, and get no answer.
    let content_type = request.headers().get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    if !content_type.is_some_and(|value| value.starts_with(b"application/grpc")) {
        // As the gRPC specification demands (PROTOCOL-HTTP2, Requests).
        let mut refused = Response::new(axum::body::Body::from("this server speaks gRPC\n"));
        *refused.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return refused;
    }
    if request.version() < Version::HTTP_2 {
        let mut refused = Response::new(axum::body::Body::from("gRPC needs HTTP/2\n"));
        *refused.status_mut() = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
        return refused;
    }
    if admission.local_names_only && !is_local(&request) {
        return refuse(RequestError::HostNotAllowed);
    }
    if request.headers().len() > FIELDS {
        return refuse(RequestError::TooManyHeaders { limit: FIELDS });
    }
    if admission.streams.len() > admission.max_streams {
        return refuse(RequestError::TooManyStreams { limit: admission.max_streams });
    }
    if let Err(unsupported) = compression::of_request(request.headers()) {
        return answer(unsupported);
    }
    match timeout(request.headers()) {
        None => next.run(request).await,
        Some(timeout) => match tokio::time::timeout(timeout, next.run(request)).await {
            Ok(response) => response,
            Err(_) => refuse(RequestError::DeadlineExceeded),
        },
    }
}

/// Header fields of a request. An honest client sends a dozen; a call keeps them for as long as it waits, and hundreds of small ones take many
/// times their bytes.
const FIELDS: usize = 64;

/// A call that ends before it has begun.
pub(crate) fn refuse(why: impl Into<Failure>) -> Response {
    answer(why.into().into())
}

fn answer(status: Status) -> Response {
    status.into_http::<Body>().map(axum::body::Body::new)
}

/// The authority of the request, or the host that stands for it, is a name of this machine.
fn is_local(request: &Request) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let named = host.map(str::parse::<Authority>).and_then(Result::ok);
    let Some(authority) = request.uri().authority().cloned().or(named) else { return false };
    is_loopback(authority.host())
}

/// The deadline of the call, if it has a readable one: at most eight digits and a unit (PROTOCOL-HTTP2, Timeout).
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let number = Some(number).filter(|digits| digits.len() <= 8)?.parse::<u64>().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 60 * 60),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_in_every_unit_and_garbage_is_none() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", value.parse().unwrap());
            timeout(&headers)
        };
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("3M"), Some(Duration::from_secs(180)));
        assert_eq!(read("100m"), Some(Duration::from_millis(100)));
        assert_eq!(read("99999999S"), Some(Duration::from_secs(99_999_999)));
        for garbage in ["", "S", "5", "-1S", "1.5S", "999999999S", "1x", "1 S"] {
            assert_eq!(read(garbage), None, "{garbage:?}");
        }
    }

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

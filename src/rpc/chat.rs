//! The Chat method: enters the rooms that the metadata names, then answers with a [`Session`] as the body.
//!
//! It stands beside the generated server, because that one encodes each message of each stream by itself; here one framed batch serves all.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Body as HttpBody;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming, body::Body, metadata::GRPC_CONTENT_TYPE};
use tower::Service;

use super::{
    Settings,
    codec::ChatDecoder,
    draft, session,
    session::{Session, Streams},
    status::Failure,
};
use crate::{engine::RoomName, hub};

/// Names the rooms that a stream starts in.
const ROOMS: &str = "rialto-rooms";

/// The method's path.
pub(crate) const PATH: &str = "/user.UserService/Chat";

/// What the method works on.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) hub: hub::Handle,
    pub(crate) streams: Streams,
    /// Cancelled when the server drains: streams end when what they had accepted is delivered.
    pub(crate) draining: CancellationToken,
}

/// Serves the method.
#[derive(Debug, Clone)]
pub(crate) struct Chat {
    parts: Parts,
    settings: Settings,
}

impl Chat {
    pub(super) fn new(parts: Parts, settings: Settings) -> Self {
        Self { parts, settings }
    }

    async fn start<B>(&self, request: Request<B>) -> Result<Session, Failure>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send,
    {
        if self.parts.draining.is_cancelled() {
            return Err(Failure::draining());
        }
        uncompressed(request.headers())?;
        let rooms = rooms(request.headers(), self.settings.rooms_per_stream)?;
        let place = self.parts.streams.open()?;
        let mut subscription = self.parts.hub.subscribe();
        for room in rooms {
            subscription.join(room).await?;
        }
        let limit = Some(self.settings.chat_frame_bytes);
        Ok(Session::new(session::Start {
            hub: self.parts.hub.clone(),
            requests: Streaming::new_request(ChatDecoder, request.into_body(), None, limit),
            subscription,
            rules: draft::Rules { text_bytes: self.settings.text_bytes },
            inflight: self.settings.inflight_per_stream,
            draining: self.parts.draining.clone(),
            place,
        }))
    }
}

impl<B> Service<Request<B>> for Chat
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<tonic::codegen::StdError> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let chat = self.clone();
        Box::pin(async move {
            Ok(match chat.start(request).await {
                Ok(session) => {
                    let mut response = Response::new(Body::new(session));
                    response.headers_mut().insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
                    response
                }
                Err(failure) => Status::from(failure).into_http(),
            })
        })
    }
}

/// The rooms that the metadata names, each once; the lobby if it names none.
fn rooms(headers: &HeaderMap, limit: usize) -> Result<Vec<RoomName>, Failure> {
    let mut rooms = Vec::new();
    let mut values = headers.get_all(ROOMS).iter().peekable();
    if values.peek().is_none() {
        rooms.push(RoomName::default());
    }
    for value in values {
        let list = value.to_str().map_err(|_| invalid("is not ASCII"))?;
        if list.trim().is_empty() {
            continue;
        }
        for name in list.split(',') {
            let name = name.trim();
            let room = RoomName::new(name).map_err(|error| invalid(&format!("names {name:?}, but {error}")))?;
            if !rooms.contains(&room) {
                rooms.push(room);
            }
            if rooms.len() > limit {
                return Err(invalid(&format!("names more than {limit} rooms")));
            }
        }
    }
    Ok(rooms)
}

fn invalid(what: &str) -> Failure {
    Failure::invalid(ROOMS, "INVALID_ROOMS", format!("the metadata {ROOMS} {what}"))
}

fn uncompressed(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(()),
        Some(_) => {
            Err(Failure::new(Code::Unimplemented, "ENCODING_UNSUPPORTED", "chat messages are not taken compressed"))
        }
    }
}

//! The methods whose response body is a [`ChatStream`]: Chat, in the rooms that the metadata names, and Subscribe.
//!
//! They stand beside the generated servers, which would encode each message once per stream; here one framed batch serves all streams.

use std::{collections::HashSet, convert::Infallible, future::Future, sync::Arc};

use http::{HeaderMap, Request, Response, header};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, body::Body, metadata::GRPC_CONTENT_TYPE};
use tower::{Service, service_fn};

use super::{
    caller,
    chat_request::{self, InvalidChat, Rules},
    chat_stream::{ChatRequests, ChatStream, ChatStreamParts, InflightLimits},
    codec::{ChatDecoder, RequestDecoder},
    compression, handle,
    status::Failure,
    stream_limit::{StreamLimit, StreamPermit},
};
use crate::{
    auth::Auth,
    caller::Caller,
    config,
    hub::{self, JoinOptions, Subscription},
    lifecycle::RequestHandle,
    limit::RateLimits,
    proto::rialto::v1::{Position, SubscribeRequest},
    rooms::Rooms,
    types::RoomName,
};

/// The metadata that names the rooms in which a Chat stream starts.
const ROOMS_HEADER: &str = "rialto-rooms";

/// What the services are made of.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    /// Rooms that one stream may be in.
    pub(crate) rooms_per_stream: usize,
    /// For presence of users; everything that concerns a room goes through `rooms`.
    pub(crate) hub: hub::Handle,
    pub(crate) rooms: Rooms,
    pub(crate) streams: StreamLimit,
    pub(crate) auth: Auth,
    pub(crate) limits: RateLimits,
    /// Cancelled when the server drains.
    pub(crate) draining: CancellationToken,
}

/// Serves Chat.
pub(crate) fn chat(parts: Parts, settings: &config::Limits) -> impl OwnBody<Future: Send> + use<> {
    serve(Arc::new(Method { parts, settings: settings.clone() }), |method, request| async move {
        let caller = caller(request.extensions());
        let rooms = rooms_of(request.headers(), method.parts.rooms_per_stream).map_err(Failure::from)?;
        let joins = rooms.into_iter().map(|room| (room, JoinOptions::default())).collect();
        let limit = Some(method.settings.max_chat_frame_bytes);
        let encoding = compression::of_request(request.headers())?;
        let stream = handle(request.extensions());
        let requests = Streaming::new_request(ChatDecoder, request.into_body(), encoding, limit);
        let permit = method.parts.streams.acquire(&caller).map_err(Failure::from)?;
        method.start(caller, stream, permit, Some(requests), joins).await
    })
}

/// Serves Subscribe.
pub(crate) fn subscribe(parts: Parts, settings: &config::Limits) -> impl OwnBody<Future: Send> + use<> {
    serve(Arc::new(Method { parts, settings: settings.clone() }), |method, request| async move {
        let caller = caller(request.extensions());
        let limit = Some(method.settings.max_frame_bytes);
        let encoding = compression::of_request(request.headers())?;
        let stream = handle(request.extensions());
        let mut requests = Streaming::new_request(RequestDecoder::default(), request.into_body(), encoding, limit);
        // Before the request has arrived, which may take long: the call counts as a stream, and a drain does not wait for it.
        let permit = method.parts.streams.acquire(&caller).map_err(Failure::from)?;
        let max = method.parts.rooms_per_stream;
        let arrived = method.parts.draining.run_until_cancelled(requests.message()).await;
        let wanted = arrived.ok_or_else(Failure::draining)??;
        let joins = joins_of(wanted.unwrap_or_default(), max)?;
        method.start(caller, stream, permit, None, joins).await
    })
}

/// A method whose response body is not made by tonic.
pub(crate) trait OwnBody:
    Service<Request<axum::body::Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static
{
}

impl<S> OwnBody for S where
    S: Service<Request<axum::body::Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static
{
}

fn serve<F>(
    method: Arc<Method>,
    start: impl Fn(Arc<Method>, Request<axum::body::Body>) -> F + Clone + Send + Sync + 'static,
) -> impl OwnBody<Future: Send>
where
    F: Future<Output = Result<ChatStream, Status>> + Send,
{
    service_fn(move |request: Request<axum::body::Body>| {
        let begun = method.may_begin().map(|()| start(Arc::clone(&method), request));
        async move {
            let stream = match begun {
                Ok(stream) => stream.await,
                Err(failure) => Err(failure.into()),
            };
            Ok(match stream {
                Ok(stream) => {
                    let mut response = Response::new(Body::new(stream));
                    response.headers_mut().insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
                    response
                }
                Err(status) => status.into_http(),
            })
        }
    })
}

#[derive(Debug)]
struct Method {
    parts: Parts,
    settings: config::Limits,
}

impl Method {
    fn may_begin(&self) -> Result<(), Failure> {
        if self.parts.draining.is_cancelled() { Err(Failure::draining()) } else { Ok(()) }
    }

    /// Joins the rooms, and makes the stream that follows them.
    async fn start(
        &self,
        caller: Caller,
        stream: RequestHandle,
        permit: StreamPermit,
        requests: Option<ChatRequests>,
        joins: Vec<(RoomName, JoinOptions)>,
    ) -> Result<ChatStream, Status> {
        let joined = join_all(&self.parts.rooms, &caller, &stream, joins).await;
        let subscription = joined.map_err(|failure| failure.in_drain(self.parts.draining.is_cancelled()))?;
        let settings = &self.settings;
        Ok(ChatStream::new(ChatStreamParts {
            rooms: self.parts.rooms.clone(),
            auth: self.parts.auth.clone(),
            caller,
            stream,
            requests,
            subscription,
            rules: Rules { text_bytes: settings.max_text_bytes, limits: self.parts.limits.clone() },
            inflight: InflightLimits {
                drafts: settings.max_inflight_per_stream,
                bytes: settings.max_inflight_bytes_per_stream,
            },
            permit,
        }))
    }
}

async fn join_all(
    rooms: &Rooms,
    caller: &Caller,
    stream: &RequestHandle,
    joins: Vec<(RoomName, JoinOptions)>,
) -> Result<Subscription, Failure> {
    let mut subscription = rooms.subscribe(stream.clone());
    for (room, options) in joins {
        subscription.check_join(&room)?;
        subscription.add(rooms.join(caller, room, options).await?);
    }
    Ok(subscription)
}

/// The rooms that a subscription names, each once.
fn joins_of(wanted: SubscribeRequest, max: usize) -> Result<Vec<(RoomName, JoinOptions)>, Failure> {
    let SubscribeRequest { rooms } = wanted;
    if rooms.is_empty() || rooms.len() > max {
        return Err(InvalidChat::RoomCount { max }.into());
    }
    let mut joins: Vec<(RoomName, JoinOptions)> = Vec::with_capacity(rooms.len());
    let mut seen = HashSet::new();
    for (index, Position { room, join }) in rooms.into_iter().enumerate() {
        let at_index = |error: InvalidChat| Failure::from(error).within(&format!("rooms[{index}]"));
        let room = RoomName::new(chat_request::room_or_lobby(&room)).map_err(|error| at_index(error.into()))?;
        let join = join.unwrap_or_default();
        chat_request::check_join(&join).map_err(at_index)?;
        if !seen.insert(room.clone()) {
            return Err(at_index(InvalidChat::DuplicateRoom(room)));
        }
        joins.push((room, chat_request::join_options(join, None)));
    }
    Ok(joins)
}

/// The rooms that the metadata names, each once; the lobby if it names none.
fn rooms_of(headers: &HeaderMap, max: usize) -> Result<Vec<RoomName>, InvalidChat> {
    let mut rooms = Vec::new();
    let mut values = headers.get_all(ROOMS_HEADER).iter().peekable();
    if values.peek().is_none() {
        rooms.push(RoomName::default());
    }
    for value in values {
        let list = value.to_str().map_err(|_| invalid("is not ASCII".into()))?;
        if list.trim().is_empty() {
            continue;
        }
        for name in list.split(',') {
            let name = name.trim();
            let room = RoomName::new(name).map_err(|error| invalid(format!("names {name:?}, but {error}")))?;
            if !rooms.contains(&room) {
                rooms.push(room);
            }
            if rooms.len() > max {
                return Err(invalid(format!("names more than {max} rooms")));
            }
        }
    }
    Ok(rooms)
}

fn invalid(problem: String) -> InvalidChat {
    InvalidChat::RoomsHeader { header: ROOMS_HEADER, problem }
}

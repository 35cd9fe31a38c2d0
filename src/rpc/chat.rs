//! The methods whose response body is a [`ChatStream`]: Chat, in the rooms that the metadata names, and Subscribe.
//!
//! They stand beside the generated servers, because those encode each message of each stream by themselves; here one framed batch serves
//! all.

use std::{convert::Infallible, future::Future, sync::Arc};

use http::{HeaderMap, Request, Response, header};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, body::Body, metadata::GRPC_CONTENT_TYPE};
use tower::{Service, service_fn};

use super::{
    Settings, caller,
    chat_request::{self, Rules},
    chat_stream::{ChatRequests, ChatStream, ChatStreamParts, InflightLimits},
    codec::{ChatDecoder, RequestDecoder},
    compression,
    status::Failure,
    stream_limit::{StreamLimit, StreamPermit},
};
use crate::{
    auth::Auth,
    caller::Caller,
    hub::{self, JoinOptions, Subscription},
    lifecycle::RequestHandle,
    limit::RateLimits,
    proto::rialto::v1::{Position, SubscribeRequest},
    types::RoomName,
};

/// Names the rooms that a stream starts in.
const ROOMS: &str = "rialto-rooms";

/// The path of Chat.
pub(crate) const CHAT_PATH: &str = "/user.UserService/Chat";

/// The path of Subscribe.
pub(crate) const SUBSCRIBE_PATH: &str = "/rialto.v1.ChatService/Subscribe";

/// What the methods work on.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) hub: hub::Handle,
    pub(crate) streams: StreamLimit,
    pub(crate) auth: Auth,
    pub(crate) limits: RateLimits,
    /// Cancelled when the server drains.
    pub(crate) draining: CancellationToken,
}

/// Serves Chat.
pub(crate) fn chat(parts: Parts, settings: &Settings) -> impl OwnBody<Future: Send> + use<> {
    serve(Arc::new(Method { parts, settings: settings.clone() }), |method, request| async move {
        let caller = caller(request.extensions());
        let rooms = rooms(request.headers(), method.settings.rooms_per_stream)?;
        let entry = || JoinOptions { user_id: caller.id.clone(), ..JoinOptions::default() };
        let entries = rooms.into_iter().map(|room| (room, entry())).collect();
        let limit = Some(method.settings.chat_frame_bytes);
        let encoding = compression::of_request(request.headers())?;
        let requests = Streaming::new_request(ChatDecoder, request.into_body(), encoding, limit);
        let permit = method.parts.streams.acquire(&caller).map_err(Failure::from)?;
        method.start(caller, permit, Some(requests), entries).await
    })
}

/// Serves Subscribe.
pub(crate) fn subscribe(parts: Parts, settings: &Settings) -> impl OwnBody<Future: Send> + use<> {
    serve(Arc::new(Method { parts, settings: settings.clone() }), |method, request| async move {
        let caller = caller(request.extensions());
        let limit = Some(method.settings.frame_bytes);
        let encoding = compression::of_request(request.headers())?;
        let mut requests = Streaming::new_request(RequestDecoder::default(), request.into_body(), encoding, limit);
        let missing = || Failure::invalid("rooms", "INVALID_ROOMS", "name at least one room");
        // It may be long in coming: meanwhile it is a stream like any other, and a drain does not wait for it.
        let permit = method.parts.streams.acquire(&caller).map_err(Failure::from)?;
        let wanted = method.parts.draining.run_until_cancelled(requests.message()).await;
        let wanted = wanted.ok_or_else(Failure::draining)??.ok_or_else(missing)?;
        let entries = entries(wanted, &caller, method.settings.rooms_per_stream)?;
        method.start(caller, permit, None, entries).await
    })
}

/// A method that answers with a body of its own.
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
            let session = match begun {
                Ok(session) => session.await,
                Err(failure) => Err(failure.into()),
            };
            Ok(match session {
                Ok(session) => {
                    let mut response = Response::new(Body::new(session));
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
    settings: Settings,
}

impl Method {
    fn may_begin(&self) -> Result<(), Failure> {
        if self.parts.draining.is_cancelled() { Err(Failure::draining()) } else { Ok(()) }
    }

    /// Enters the rooms: when the session is there, nothing is missed any more.
    async fn start(
        &self,
        caller: Caller,
        permit: StreamPermit,
        requests: Option<ChatRequests>,
        entries: Vec<(RoomName, JoinOptions)>,
    ) -> Result<ChatStream, Status> {
        let hub = &self.parts.hub;
        let stream = RequestHandle::current();
        let entered = enter(hub, &stream, entries).await;
        let subscription = entered.map_err(|failure| failure.in_drain(self.parts.draining.is_cancelled()))?;
        Ok(ChatStream::new(ChatStreamParts {
            hub: hub.clone(),
            auth: self.parts.auth.clone(),
            caller,
            stream,
            requests,
            subscription,
            rules: Rules { text_bytes: self.settings.text_bytes, limits: self.parts.limits.clone() },
            inflight: InflightLimits {
                drafts: self.settings.inflight_per_stream,
                bytes: self.settings.inflight_bytes_per_stream,
            },
            permit,
        }))
    }
}

async fn enter(
    hub: &hub::Handle,
    stream: &RequestHandle,
    entries: Vec<(RoomName, JoinOptions)>,
) -> Result<Subscription, Failure> {
    let mut subscription = hub.subscribe(stream.clone());
    for (room, entry) in entries {
        subscription.may_enter(&room)?;
        subscription.add(hub.clone().enter(room, entry).await?);
    }
    Ok(subscription)
}

/// The rooms of a subscription, each once.
fn entries(wanted: SubscribeRequest, caller: &Caller, limit: usize) -> Result<Vec<(RoomName, JoinOptions)>, Failure> {
    let SubscribeRequest { rooms } = wanted;
    if rooms.is_empty() || rooms.len() > limit {
        return Err(Failure::invalid("rooms", "INVALID_ROOMS", format!("name 1 to {limit} rooms")));
    }
    let mut entries: Vec<(RoomName, JoinOptions)> = Vec::with_capacity(rooms.len());
    let mut seen = std::collections::HashSet::new();
    for (index, Position { room, join }) in rooms.into_iter().enumerate() {
        let room = RoomName::new(chat_request::named(&room))
            .map_err(|error| Failure::invalid(format!("rooms[{index}].room"), "INVALID_ROOM", error.to_string()))?;
        let join = join.unwrap_or_default();
        chat_request::check_join(&join).map_err(|failure| failure.within(&format!("rooms[{index}]")))?;
        if !seen.insert(room.clone()) {
            let detail = format!("{room} is named twice");
            return Err(Failure::invalid(format!("rooms[{index}].room"), "INVALID_ROOMS", detail));
        }
        entries.push((room, chat_request::entry(join, caller.id.clone())));
    }
    Ok(entries)
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

//! The methods of `rialto.v1.ChatService` that are no Chat: publish, read back, list.

use std::pin::Pin;

use async_stream::stream;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    caller,
    chat::Parts,
    chat_request::{Rules, named},
    compression::reply,
    generated_v1::chat_service_server::ChatService,
    status::Failure,
    stream_limit::StreamLimit,
};
use crate::{
    engine::{Appended, Page, Refused, RoomInfo},
    hub,
    proto::{
        rialto::v1::{GetHistoryRequest, GetHistoryResponse, ListRoomsRequest, PublishRequest, PublishResponse, Room},
        user::Gap,
    },
    types::RoomName,
};

/// Messages of a page, at most.
const PAGE: usize = 1_000;

/// Rooms looked up at once while a list is streamed.
const CHUNK: usize = 256;

/// Serves the methods.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    hub: hub::Handle,
    streams: StreamLimit,
    rules: Rules,
    draining: CancellationToken,
}

impl Calls {
    pub(super) fn new(parts: Parts, rules: Rules) -> Self {
        let Parts { hub, streams, draining, .. } = parts;
        Self { hub, streams, rules, draining }
    }
}

#[tonic::async_trait]
impl ChatService for Calls {
    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let caller = caller(request.extensions());
        let missing = || Failure::invalid("message", "INVALID_MESSAGE", "a message must be set");
        let message = request.into_inner().message.ok_or_else(missing)?;
        let draft = self.rules.read_published(message, &caller)?;
        let said = draft.clone();
        let refused = |refused: Refused| Failure::from(refused.error);
        let receipt = self.hub.append(draft).await.map_err(refused)?;
        let (message, duplicate) = match receipt.await.map_err(refused)? {
            Appended::Accepted { seq, time } => (hub::message(said.into_record(seq, time)), false),
            Appended::Duplicate(first) => (hub::message(*first), true),
        };
        Ok(reply(PublishResponse { message: Some(message), duplicate }))
    }

    async fn get_history(&self, request: Request<GetHistoryRequest>) -> Result<Response<GetHistoryResponse>, Status> {
        let GetHistoryRequest { room, after_seq, before_seq, page_size } = request.into_inner();
        let room = RoomName::new(named(&room)).map_err(Failure::from)?;
        let max = size(page_size)?;
        let log = self.hub.log();
        let (page, asked_from) = match (after_seq, before_seq) {
            (Some(_), Some(_)) => {
                let detail = "pages go on after a message or end before one: only one of them can be asked for";
                return Err(Failure::invalid("before_seq", "INVALID_RANGE", detail).into());
            }
            (Some(after), None) => (log.read(&room, after, max).await, after),
            (None, before) => (log.read_before(&room, before.unwrap_or(u64::MAX), max).await, 0),
        };
        let page = page.map_err(Failure::from)?;
        let epoch = log.position(&room).await.map_err(Failure::from)?.epoch;
        let gap = missing(&page, asked_from, after_seq.is_some(), before_seq);
        let Page { records, head, .. } = page;
        let messages = records.into_iter().map(hub::message).collect();
        Ok(reply(GetHistoryResponse { messages, epoch, head_seq: head, gap }))
    }

    type ListRoomsStream = Pin<Box<dyn Stream<Item = Result<Room, Status>> + Send>>;

    async fn list_rooms(&self, request: Request<ListRoomsRequest>) -> Result<Response<Self::ListRoomsStream>, Status> {
        let caller = caller(request.extensions());
        let watch = request.into_inner().watch;
        let permit = watch.then(|| self.streams.acquire_of_caller(&caller)).transpose().map_err(Failure::from)?;
        let (hub, draining) = (self.hub.clone(), self.draining.clone());
        // Before the list, so that nothing lies between the two.
        let changes = watch.then(|| hub.room_changes()).transpose().map_err(Failure::from)?;
        Ok(Response::new(Box::pin(stream! {
            let _permit = permit;
            let mut after = None;
            loop {
                if watch && draining.is_cancelled() {
                    yield Err(Failure::draining().into());
                    return;
                }
                let infos = hub.log().rooms(after.as_ref(), CHUNK).await.map_err(Failure::from)?;
                let Some(last) = infos.last() else { break };
                after = Some(last.name.clone());
                for info in infos {
                    yield Ok(wire(&info, &hub));
                }
            }
            let Some(mut changes) = changes else { return };
            loop {
                let Some(names) = draining.run_until_cancelled(changes.next()).await else {
                    yield Err(Failure::draining().into());
                    return;
                };
                for name in names.map_err(Failure::from)? {
                    // One that was only joined does not exist yet.
                    if let Some(info) = hub.log().room(&name).await.map_err(Failure::from)? {
                        yield Ok(wire(&info, &hub));
                    }
                }
            }
        })))
    }
}

/// What of a page has gone with retention.
fn missing(page: &Page, after: u64, forwards: bool, before: Option<u64>) -> Option<Gap> {
    let Page { records, floor, .. } = page;
    if forwards {
        return (after < *floor).then(|| Gap { from_seq: after + 1, to_seq: *floor });
    }
    // Backwards there is something missing only where the page has come to the floor.
    let reached = records.first().is_none_or(|first| first.seq <= floor + 1);
    let to_seq = before.map_or(*floor, |before| before.saturating_sub(1).min(*floor));
    (reached && to_seq > 0).then_some(Gap { from_seq: 1, to_seq })
}

fn size(page_size: i32) -> Result<usize, Failure> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(PAGE),
        Ok(size) => Ok(size.min(PAGE)),
        Err(_) => Err(Failure::invalid("page_size", "INVALID_VALUE", "page_size must not be negative")),
    }
}

fn wire(info: &RoomInfo, hub: &hub::Handle) -> Room {
    Room {
        online: u32::try_from(hub.members(&info.name)).unwrap_or(u32::MAX),
        name: info.name.as_str().to_owned(),
        head_seq: info.head,
        created_at: info.created_at.seconds(),
    }
}

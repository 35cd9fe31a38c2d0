//! The unary and listing methods of `rialto.v1.ChatService`: publish, read history, list rooms.

use std::pin::Pin;

use async_stream::stream;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    caller,
    chat::Parts,
    chat_request::{InvalidChat, Rules, room_or_lobby},
    compression::reply,
    generated_v1::chat_service_server::ChatService,
    status::Failure,
    stream_limit::StreamLimit,
};
use crate::{
    hub,
    proto::{
        rialto::v1::{GetHistoryRequest, GetHistoryResponse, ListRoomsRequest, PublishRequest, PublishResponse, Room},
        user::Gap,
    },
    rooms::{HistoryPage, HistoryRange, Published, RoomSummary, Rooms},
    types::RoomName,
};

/// Messages of a page, at most.
const MAX_PAGE: usize = 1_000;

/// Rooms that a streamed list reads at once.
const CHUNK: usize = 256;

/// Serves the methods.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    rooms: Rooms,
    streams: StreamLimit,
    rules: Rules,
    draining: CancellationToken,
}

impl Calls {
    pub(super) fn new(parts: Parts, rules: Rules) -> Self {
        let Parts { rooms, streams, draining, .. } = parts;
        Self { rooms, streams, rules, draining }
    }
}

#[tonic::async_trait]
impl ChatService for Calls {
    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let caller = caller(request.extensions());
        let message = request.into_inner().message.ok_or(InvalidChat::NoMessage).map_err(Failure::from)?;
        let draft = self.rules.read_published(message, &caller)?;
        let Published { record, duplicate } = self.rooms.publish(&caller, draft).await.map_err(Failure::from)?;
        Ok(reply(PublishResponse { message: Some(hub::message(record)), duplicate }))
    }

    async fn get_history(&self, request: Request<GetHistoryRequest>) -> Result<Response<GetHistoryResponse>, Status> {
        let caller = caller(request.extensions());
        let GetHistoryRequest { room, after_seq, before_seq, page_size } = request.into_inner();
        let room = RoomName::new(room_or_lobby(&room)).map_err(InvalidChat::from).map_err(Failure::from)?;
        let max = max_page(page_size).map_err(Failure::from)?;
        let range = match (after_seq, before_seq) {
            (Some(_), Some(_)) => return Err(Failure::from(InvalidChat::Range).into()),
            (Some(seq), None) => HistoryRange::After(seq),
            (None, Some(seq)) => HistoryRange::Before(seq),
            (None, None) => HistoryRange::Latest,
        };
        let page = self.rooms.history(&caller, &room, range, max).await.map_err(Failure::from)?;
        let HistoryPage { records, epoch, head, gap } = page;
        let gap = gap.map(|(from_seq, to_seq)| Gap { from_seq, to_seq });
        let messages = records.into_iter().map(hub::message).collect();
        Ok(reply(GetHistoryResponse { messages, epoch, head_seq: head, gap }))
    }

    type ListRoomsStream = Pin<Box<dyn Stream<Item = Result<Room, Status>> + Send>>;

    async fn list_rooms(&self, request: Request<ListRoomsRequest>) -> Result<Response<Self::ListRoomsStream>, Status> {
        let caller = caller(request.extensions());
        let watch = request.into_inner().watch;
        let permit = watch.then(|| self.streams.acquire_of_caller(&caller)).transpose().map_err(Failure::from)?;
        let (rooms, draining) = (self.rooms.clone(), self.draining.clone());
        // Before the list, so that no change lies between the two.
        let changes = watch.then(|| rooms.changes()).transpose().map_err(Failure::from)?;
        Ok(Response::new(Box::pin(stream! {
            let _permit = permit;
            let mut after = None;
            loop {
                if watch && draining.is_cancelled() {
                    yield Err(Failure::draining().into());
                    return;
                }
                let page = rooms.list(&caller, after.as_ref(), CHUNK).await.map_err(Failure::from)?;
                for summary in page.rooms {
                    yield Ok(wire(&summary));
                }
                after = page.next_after;
                if after.is_none() {
                    break;
                }
            }
            let Some(mut changes) = changes else { return };
            loop {
                let Some(names) = draining.run_until_cancelled(changes.next()).await else {
                    yield Err(Failure::draining().into());
                    return;
                };
                for name in names.map_err(Failure::from)? {
                    // A room that was only joined does not exist yet.
                    if let Some(summary) = rooms.summary(&caller, &name).await.map_err(Failure::from)? {
                        yield Ok(wire(&summary));
                    }
                }
            }
        })))
    }
}

/// The messages of a page; 0 asks for the maximum.
fn max_page(page_size: i32) -> Result<usize, InvalidChat> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(MAX_PAGE),
        Ok(size) => Ok(size.min(MAX_PAGE)),
        Err(_) => Err(InvalidChat::PageSize),
    }
}

fn wire(room: &RoomSummary) -> Room {
    let RoomSummary { info, online } = room;
    Room {
        name: info.name.as_str().to_owned(),
        head_seq: info.head,
        created_at: info.created_at.seconds(),
        online: u32::try_from(*online).unwrap_or(u32::MAX),
    }
}

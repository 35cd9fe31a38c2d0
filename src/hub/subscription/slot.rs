//! One room of a stream: read from the log up to the head, then followed live; after a lag, again from the log.
//!
//! Invariants:
//! - Everything above the start of the join and up to `cursor` was delivered, except for gaps that were reported.
//! - The receiver is older than the head up to which the log is read, so that nothing lies between the two; what both have is skipped.

use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast::WeakSender};
use tokio_stream::{
    Stream as _,
    wrappers::{BroadcastStream, errors::BroadcastStreamRecvError},
};

use crate::{
    batch,
    engine::{Error as EngineError, Position},
    hub::{
        budget::{Part, RetainedBatch},
        command::Membership,
        error::Error,
        handle::Handle,
        history::Page,
        join::{JoinedRoom, gap},
        presence::{Listener, Report},
        spawned::{ready_or_spawned, spawned},
    },
    lifecycle::RequestHandle,
    types::RoomName,
};

/// One room of a stream.
#[derive(Debug)]
pub(super) struct Slot {
    hub: Handle,
    room: RoomName,
    /// Delivered before anything else.
    initial_frames: Bytes,
    /// Everything up to this `seq` was delivered, or was not asked for.
    cursor: u64,
    /// Everything up to this `seq` must be delivered before the stream may end.
    must_reach: u64,
    /// Ends with the hub.
    batches: BroadcastStream<Arc<RetainedBatch>>,
    ring: WeakSender<Arc<RetainedBatch>>,
    /// Permits for holding a page, shared by the rooms of the stream.
    page_permits: Arc<Semaphore>,
    /// `None`: `batches` has the next messages.
    refill: Option<Box<Refill>>,
    listening: Option<Box<Listening>>,
    reports_joined: bool,
    ended: bool,
    _membership: Membership,
}

/// Reading the log from the cursor up to a head of the room.
enum Refill {
    Locating(BoxFuture<'static, Result<Position, EngineError>>),
    Fetching { head: u64, page: BoxFuture<'static, Result<HeldPage, EngineError>> },
    Reading { head: u64, page: HeldPage },
}

/// A page, and the permit to hold it.
type HeldPage = (Arc<Page>, OwnedSemaphorePermit);

impl std::fmt::Debug for Refill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Locating(_) => "Locating",
            Self::Fetching { .. } => "Fetching",
            Self::Reading { .. } => "Reading",
        })
    }
}

/// Receiving presence and typing.
enum Listening {
    Reports(BroadcastStream<Report>),
    /// Reports were missed: a new snapshot was asked for.
    Again(BoxFuture<'static, Result<Option<Listener>, Error>>),
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Reports(_) => "Reports",
            Self::Again(_) => "Again",
        })
    }
}

impl Slot {
    pub(super) fn new(hub: Handle, joined: JoinedRoom, page_permits: Arc<Semaphore>) -> Self {
        let JoinedRoom { room, reply, reports_joined, cursor, head, initial_frames } = joined;
        let mut slot = Self {
            hub,
            room,
            initial_frames: initial_frames.freeze(),
            cursor,
            must_reach: head,
            batches: BroadcastStream::new(reply.ring.batches),
            ring: reply.ring.sender,
            page_permits,
            refill: None,
            listening: reply.listener.map(|listener| Box::new(Listening::to(listener))),
            reports_joined,
            ended: false,
            _membership: reply.membership,
        };
        slot.read_up_to(head, false);
        slot
    }

    pub(super) fn reports_joined(&self) -> bool {
        self.reports_joined
    }

    pub(super) fn into_initial_frames(self) -> Bytes {
        self.initial_frames
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn require(&mut self, seq: u64) {
        self.must_reach = self.must_reach.max(seq);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.must_reach <= self.cursor && self.initial_frames.is_empty()
    }

    /// The next frames. `None`, once: the hub has ended, and everything was delivered.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        stream: &RequestHandle,
    ) -> Poll<Result<Option<Bytes>, EngineError>> {
        if !self.initial_frames.is_empty() {
            return Poll::Ready(Ok(Some(mem::take(&mut self.initial_frames))));
        }
        if let Some(frames) = self.poll_listening(cx, stream) {
            return Poll::Ready(Ok(Some(frames)));
        }
        while !self.ended {
            let polled = if self.refill.is_some() { self.poll_refill(cx) } else { self.poll_live(cx).map(Ok) };
            if let Some(frames) = ready!(polled)? {
                return Poll::Ready(Ok(Some(frames)));
            }
            if self.ended {
                return Poll::Ready(Ok(None));
            }
        }
        Poll::Pending
    }

    /// Ready without frames: a refill has begun, or the hub has ended.
    fn poll_live(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match ready!(Pin::new(&mut self.batches).poll_next(cx)) {
                Some(Ok(batch)) => match batch.after(self.cursor) {
                    Part::Nothing => {}
                    Part::Frames(frames) => {
                        self.cursor = batch.last_seq();
                        return Poll::Ready(Some(frames));
                    }
                    Part::Dropped => {
                        self.begin_refill();
                        return Poll::Ready(None);
                    }
                },
                Some(Err(BroadcastStreamRecvError::Lagged(_))) => {
                    self.begin_refill();
                    return Poll::Ready(None);
                }
                None => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
            }
        }
    }

    /// Goes back to the log after a lag: first a new receiver, then the head. After the hub has ended the old receiver, which has ended too,
    /// is kept.
    fn begin_refill(&mut self) {
        self.hub.0.metrics.refills.inc();
        if let Some(ring) = self.ring.upgrade() {
            self.batches = BroadcastStream::new(ring.subscribe());
        }
        let (hub, room) = (self.hub.clone(), self.room.clone());
        let position = async move { hub.0.log.position(&room).await };
        let position = ready_or_spawned(position, || Err(EngineError::Stopped));
        self.refill = Some(Box::new(Refill::Locating(position)));
    }

    /// Reads the log up to `head`, unless the cursor is there. `page_begins`: a page of the history begins at the cursor.
    fn read_up_to(&mut self, head: u64, page_begins: bool) {
        // First drop the page before with its permit: the rooms of a stream take turns page by page.
        self.refill = None;
        if self.cursor >= head {
            return;
        }
        if let Ok(permit) = Arc::clone(&self.page_permits).try_acquire_owned()
            && let Some(page) = self.hub.0.history.cached(&self.room, self.cursor, page_begins)
        {
            self.refill = Some(Box::new(Refill::Reading { head, page: (page, permit) }));
            return;
        }
        let (hub, room, after) = (self.hub.clone(), self.room.clone(), self.cursor);
        let permit = Arc::clone(&self.page_permits).acquire_owned();
        let fetch = async move {
            let permit = permit.await.map_err(|_| EngineError::Stopped)?;
            Ok((hub.0.history.page(&room, after, page_begins).await?, permit))
        };
        let page = spawned(fetch, || Err(EngineError::Stopped));
        self.refill = Some(Box::new(Refill::Fetching { head, page }));
    }

    /// Ready without frames: the refill has advanced, or is done.
    fn poll_refill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, EngineError>> {
        match self.refill.as_deref_mut() {
            None => {}
            Some(Refill::Locating(position)) => {
                let head = ready!(position.as_mut().poll(cx))?.head;
                self.read_up_to(head, false);
            }
            Some(Refill::Fetching { head, page }) => {
                let (page, head) = (ready!(page.as_mut().poll(cx))?, *head);
                self.refill = Some(Box::new(Refill::Reading { head, page }));
            }
            Some(Refill::Reading { head, page: (page, _) }) => {
                let floor = page.floor();
                if floor > self.cursor {
                    // Retention has overtaken the reader.
                    let mut frame = BytesMut::new();
                    batch::frame(&gap(&self.room, self.cursor + 1, floor), &mut frame);
                    self.cursor = floor;
                    return Poll::Ready(Ok(Some(frame.freeze())));
                }
                if let Some((frames, last)) = page.after(self.cursor) {
                    self.cursor = last;
                    return Poll::Ready(Ok(Some(frames)));
                }
                let (head, through) = (*head, page.through());
                let page_begins = page.next_begins_here() && self.cursor <= through;
                self.cursor = self.cursor.max(through);
                self.read_up_to(head, page_begins);
            }
        }
        Poll::Ready(Ok(None))
    }

    fn poll_listening(&mut self, cx: &mut Context<'_>, stream: &RequestHandle) -> Option<Bytes> {
        loop {
            match self.listening.as_deref_mut()? {
                Listening::Reports(reports) => match Pin::new(reports).poll_next(cx) {
                    Poll::Pending => return None,
                    Poll::Ready(Some(Ok(Report::Presence(frames)))) => return Some(frames),
                    Poll::Ready(Some(Ok(Report::Typing { stream: own, .. }))) if own == stream.id() => {}
                    Poll::Ready(Some(Ok(Report::Typing { frame, .. }))) => return Some(frame),
                    Poll::Ready(Some(Err(BroadcastStreamRecvError::Lagged(_)))) => {
                        let again = spawned(self.hub.clone().listen(self.room.clone()), || Err(Error::Stopped));
                        self.listening = Some(Box::new(Listening::Again(again)));
                    }
                    Poll::Ready(None) => self.listening = None,
                },
                Listening::Again(listener) => match listener.as_mut().poll(cx) {
                    Poll::Pending => return None,
                    Poll::Ready(Ok(Some(mut listener))) => {
                        let snapshot = mem::take(&mut listener.snapshot);
                        self.listening = Some(Box::new(Listening::to(listener)));
                        return Some(snapshot);
                    }
                    // The hub has ended.
                    Poll::Ready(Ok(None) | Err(_)) => self.listening = None,
                },
            }
        }
    }
}

impl Listening {
    fn to(listener: Listener) -> Self {
        Self::Reports(BroadcastStream::new(listener.reports))
    }
}

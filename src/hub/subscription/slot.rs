//! One room of a stream: read from the log up to where it is now, then followed live, and the same again after a lag.
//!
//! Invariants:
//! - What was delivered is everything above where the entry began, up to `cursor`, but for gaps that were told.
//! - The receiver is older than the head that is read up to, so that nothing lies between the two; what both have is cut off.

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
        Error, Handle, JoinedRoom, Membership, at_once_or_unasked,
        budget::{Part, RetainedBatch},
        history::Page,
        join::gap,
        presence::{Listener, Word},
        unasked,
    },
    lifecycle::RequestHandle,
    types::RoomName,
};

/// One room of a stream.
#[derive(Debug)]
pub(super) struct Slot {
    hub: Handle,
    room: RoomName,
    /// Comes before anything else.
    words: Bytes,
    /// Everything up to this `seq` was delivered, or is not asked for.
    cursor: u64,
    /// Everything up to this `seq` must be delivered before the stream may end.
    owed: u64,
    /// Ends with the hub.
    batches: BroadcastStream<Arc<RetainedBatch>>,
    ring: WeakSender<Arc<RetainedBatch>>,
    /// For holding a page.
    turns: Arc<Semaphore>,
    /// Absent: what comes next comes out of `batches`.
    refill: Option<Box<Refill>>,
    listening: Option<Box<Listening>>,
    told: bool,
    ended: bool,
    _membership: Membership,
}

/// On the way from the cursor to the head of the room.
enum Refill {
    Locating(BoxFuture<'static, Result<Position, EngineError>>),
    Fetching { head: u64, page: BoxFuture<'static, Result<Held, EngineError>> },
    Reading { head: u64, page: Held },
}

/// A page, and the turn that allows its room to hold one.
type Held = (Arc<Page>, OwnedSemaphorePermit);

impl std::fmt::Debug for Refill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Locating(_) => "Locating",
            Self::Fetching { .. } => "Fetching",
            Self::Reading { .. } => "Reading",
        })
    }
}

/// Who comes and goes.
enum Listening {
    Words(BroadcastStream<Word>),
    /// Some words were missed: the whole is asked for.
    Again(BoxFuture<'static, Result<Option<Listener>, Error>>),
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Words(_) => "Words",
            Self::Again(_) => "Again",
        })
    }
}

impl Slot {
    pub(super) fn new(hub: Handle, entered: JoinedRoom, turns: Arc<Semaphore>) -> Self {
        let JoinedRoom { room, joined, told, cursor, head, words } = entered;
        let mut slot = Self {
            hub,
            room,
            words: words.freeze(),
            cursor,
            owed: head,
            batches: BroadcastStream::new(joined.ring.batches),
            ring: joined.ring.sender,
            turns,
            refill: None,
            listening: joined.listener.map(|listener| Box::new(Listening::to(listener))),
            told,
            ended: false,
            _membership: joined.membership,
        };
        slot.go_on_to(head, false);
        slot
    }

    pub(super) fn is_told(&self) -> bool {
        self.told
    }

    pub(super) fn into_words(self) -> Bytes {
        self.words
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn owe(&mut self, seq: u64) {
        self.owed = self.owed.max(seq);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.owed <= self.cursor && self.words.is_empty()
    }

    /// The next frames; none: the room has ended, said once.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        stream: &RequestHandle,
    ) -> Poll<Result<Option<Bytes>, EngineError>> {
        if !self.words.is_empty() {
            return Poll::Ready(Ok(Some(mem::take(&mut self.words))));
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

    /// Ready without frames: there is a refill now, or it has ended.
    fn poll_live(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match ready!(Pin::new(&mut self.batches).poll_next(cx)) {
                Some(Ok(batch)) => match batch.after(self.cursor) {
                    Part::Nothing => {}
                    Part::Frames(frames) => {
                        self.cursor = batch.last_seq();
                        return Poll::Ready(Some(frames));
                    }
                    Part::GivenUp => {
                        self.lagged();
                        return Poll::Ready(None);
                    }
                },
                Some(Err(BroadcastStreamRecvError::Lagged(_))) => {
                    self.lagged();
                    return Poll::Ready(None);
                }
                None => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
            }
        }
    }

    /// Begins anew: first a receiver, then the head. After the hub's end the old receiver, which has ended, serves as well.
    fn lagged(&mut self) {
        self.hub.0.metrics.refills.inc();
        if let Some(ring) = self.ring.upgrade() {
            self.batches = BroadcastStream::new(ring.subscribe());
        }
        let (hub, room) = (self.hub.clone(), self.room.clone());
        let position = async move { hub.0.log.position(&room).await };
        let position = at_once_or_unasked(position, || Err(EngineError::Stopped));
        self.refill = Some(Box::new(Refill::Locating(position)));
    }

    fn go_on_to(&mut self, head: u64, page_begins: bool) {
        // The page before, and its turn, go first: the rooms of the stream take turns page by page.
        self.refill = None;
        if self.cursor >= head {
            return;
        }
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned()
            && let Some(page) = self.hub.0.history.kept(&self.room, self.cursor, page_begins)
        {
            self.refill = Some(Box::new(Refill::Reading { head, page: (page, turn) }));
            return;
        }
        let (hub, room, after) = (self.hub.clone(), self.room.clone(), self.cursor);
        let turn = Arc::clone(&self.turns).acquire_owned();
        let fetch = async move {
            let turn = turn.await.map_err(|_| EngineError::Stopped)?;
            Ok((hub.0.history.page(&room, after, page_begins).await?, turn))
        };
        let page = unasked(fetch, || Err(EngineError::Stopped));
        self.refill = Some(Box::new(Refill::Fetching { head, page }));
    }

    /// Ready without frames: the refill has gone a step, or is done.
    fn poll_refill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, EngineError>> {
        match self.refill.as_deref_mut() {
            None => {}
            Some(Refill::Locating(position)) => {
                let head = ready!(position.as_mut().poll(cx))?.head;
                self.go_on_to(head, false);
            }
            Some(Refill::Fetching { head, page }) => {
                let (page, head) = (ready!(page.as_mut().poll(cx))?, *head);
                self.refill = Some(Box::new(Refill::Reading { head, page }));
            }
            Some(Refill::Reading { head, page: (page, _) }) => {
                let floor = page.floor();
                if floor > self.cursor {
                    // Retention was faster than the reader.
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
                let page_begins = page.goes_on() && self.cursor <= through;
                self.cursor = self.cursor.max(through);
                self.go_on_to(head, page_begins);
            }
        }
        Poll::Ready(Ok(None))
    }

    fn poll_listening(&mut self, cx: &mut Context<'_>, stream: &RequestHandle) -> Option<Bytes> {
        loop {
            match self.listening.as_deref_mut()? {
                Listening::Words(words) => match Pin::new(words).poll_next(cx) {
                    Poll::Pending => return None,
                    Poll::Ready(Some(Ok(Word::Presence(frames)))) => return Some(frames),
                    Poll::Ready(Some(Ok(Word::Typing { stream: own, .. }))) if own == stream.number() => {}
                    Poll::Ready(Some(Ok(Word::Typing { frame, .. }))) => return Some(frame),
                    Poll::Ready(Some(Err(BroadcastStreamRecvError::Lagged(_)))) => {
                        let again = unasked(self.hub.clone().listen(self.room.clone()), || Err(Error::Closed));
                        self.listening = Some(Box::new(Listening::Again(again)));
                    }
                    Poll::Ready(None) => self.listening = None,
                },
                Listening::Again(listener) => match listener.as_mut().poll(cx) {
                    Poll::Pending => return None,
                    Poll::Ready(Ok(Some(mut listener))) => {
                        let now = mem::take(&mut listener.now);
                        self.listening = Some(Box::new(Listening::to(listener)));
                        return Some(now);
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
        Self::Words(BroadcastStream::new(listener.words))
    }
}

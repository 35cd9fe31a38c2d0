//! One Chat stream: what it sends goes to the log, what its rooms say comes back.
//!
//! The session is the response body, and the request half is part of it: whatever ends the one ends the other.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};
use prost::DecodeError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Code, Status, Streaming};

use super::{draft, status::Failure};
use crate::{
    batch,
    engine::{Appended, Receipt, Record, Refused, RoomName},
    hub::{self, Subscription},
    proto::user::{ChatMessage, Duplicate, chat_message::Event},
};

/// The chat streams of the server.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    permits: Arc<Semaphore>,
    limit: usize,
}

impl Streams {
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(limit)), limit }
    }

    /// How many there are now.
    pub(crate) fn count(&self) -> usize {
        self.limit - self.permits.available_permits()
    }

    pub(super) fn open(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.permits).try_acquire_owned().map_err(|_| Failure::too_many_streams())
    }
}

/// What a session is made of.
pub(super) struct Start {
    pub(super) hub: hub::Handle,
    pub(super) requests: Requests,
    /// In the rooms that the stream starts in.
    pub(super) subscription: Subscription,
    pub(super) rules: draft::Rules,
    pub(super) inflight: usize,
    pub(super) draining: CancellationToken,
    pub(super) place: OwnedSemaphorePermit,
}

/// A stream while it runs.
pub(super) struct Session {
    hub: hub::Handle,
    incoming: Incoming,
    subscription: Subscription,
    rules: draft::Rules,
    /// Which message of the stream came last, from 1.
    nth: u64,
    /// The draft that waits for its place in the log's queue.
    appending: Option<Appending>,
    /// Drafts in the log's queue, in order.
    inflight: VecDeque<Inflight>,
    max_inflight: usize,
    /// Framed answers to this stream alone.
    answers: BytesMut,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: OwnedSemaphorePermit,
}

/// The sending side of the client.
enum Incoming {
    Open(Box<Requests>),
    /// Nothing more is read; when nothing is owed, the stream ends so.
    Over(Status),
    /// The trailers are out.
    Ended,
}

type Requests = Streaming<Result<ChatMessage, DecodeError>>;

struct Appending {
    nth: u64,
    room: RoomName,
    place: BoxFuture<'static, Result<Receipt, Refused>>,
}

struct Inflight {
    nth: u64,
    room: RoomName,
    receipt: Receipt,
}

impl Session {
    pub(super) fn new(start: Start) -> Self {
        Self {
            hub: start.hub,
            incoming: Incoming::Open(Box::new(start.requests)),
            subscription: start.subscription,
            rules: start.rules,
            nth: 0,
            appending: None,
            inflight: VecDeque::new(),
            max_inflight: start.inflight,
            answers: BytesMut::new(),
            draining: Box::pin(start.draining.cancelled_owned()),
            _place: start.place,
        }
    }

    /// Takes outcomes and messages until it must wait. Fails with what ends the stream at once.
    fn advance(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        if matches!(self.incoming, Incoming::Open(_)) && self.draining.as_mut().poll(cx).is_ready() {
            self.incoming = Incoming::Over(Failure::draining().into());
        }
        // So many and no more, that a fast sender still receives.
        for _ in 0..self.max_inflight {
            self.poll_append(cx)?;
            // After the append, so that its receipt knows whom to wake.
            self.poll_outcomes(cx)?;
            if self.appending.is_some() || self.inflight.len() >= self.max_inflight {
                return Ok(());
            }
            let Incoming::Open(requests) = &mut self.incoming else { return Ok(()) };
            match Pin::new(requests.as_mut()).poll_next(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Ok(message))) => self.take(message),
                Poll::Ready(Some(Err(status))) => return Err(renamed(status)),
                Poll::Ready(None) => self.incoming = Incoming::Over(Status::ok("")),
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn poll_append(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        let Some(appending) = &mut self.appending else { return Ok(()) };
        let Poll::Ready(outcome) = appending.place.as_mut().poll(cx) else { return Ok(()) };
        if let Some(Appending { nth, room, .. }) = self.appending.take() {
            match outcome {
                Ok(receipt) => self.inflight.push_back(Inflight { nth, room, receipt }),
                Err(refused) => self.refuse(nth, refused)?,
            }
        }
        Ok(())
    }

    fn poll_outcomes(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        while let Some(first) = self.inflight.front_mut() {
            let Poll::Ready(outcome) = Pin::new(&mut first.receipt).poll(cx) else { return Ok(()) };
            let Some(Inflight { nth, room, .. }) = self.inflight.pop_front() else { return Ok(()) };
            match outcome {
                Ok(Appended::Accepted { seq, .. }) => self.subscription.owe(&room, seq),
                Ok(Appended::Duplicate(first)) => self.answer(&duplicate(*first)),
                Err(refused) => self.refuse(nth, refused)?,
            }
        }
        Ok(())
    }

    fn take(&mut self, message: Result<ChatMessage, DecodeError>) {
        self.nth += 1;
        let nth = self.nth;
        match self.rules.check(message, &self.subscription) {
            Ok(draft) => {
                let (hub, room) = (self.hub.clone(), draft.room.clone());
                let place = Box::pin(async move { hub.append(draft).await });
                self.appending = Some(Appending { nth, room, place });
            }
            Err(bad) => self.answer(&bad.failure.into_rejected(bad.room, bad.id, nth)),
        }
    }

    /// Tells the sender of a draft that is not in the log. If even that is unknown, the stream ends: the client publishes again with the
    /// same id.
    fn refuse(&mut self, nth: u64, refused: Refused) -> Result<(), Status> {
        let failure = Failure::from(refused.error);
        let Some(draft) = refused.draft else { return Err(failure.into()) };
        self.answer(&failure.into_rejected(draft.room.as_str().to_owned(), draft.id, nth));
        Ok(())
    }

    fn answer(&mut self, message: &ChatMessage) {
        batch::frame(message, &mut self.answers);
    }

    /// Nothing more is read, and everything that was read is answered and delivered.
    fn owes_nothing(&self) -> bool {
        self.appending.is_none() && self.inflight.is_empty() && self.subscription.is_settled()
    }

    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.incoming = Incoming::Ended;
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            // Only a message that is no header value gets here, and none of ours is.
            trailers.insert(Status::GRPC_STATUS, HeaderValue::from(i32::from(Code::Internal)));
        }
        Frame::trailers(trailers)
    }
}

impl Body for Session {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if matches!(self.incoming, Incoming::Ended) {
            return Poll::Ready(None);
        }
        let end = self.advance(cx).err();
        if !self.answers.is_empty() {
            let answers = self.answers.split().freeze();
            if let Some(status) = end {
                self.incoming = Incoming::Over(status);
            }
            return Poll::Ready(Some(Ok(Frame::data(answers))));
        }
        if let Some(status) = end {
            return Poll::Ready(Some(Ok(self.end(&status))));
        }
        if let Incoming::Over(status) = &self.incoming
            && self.owes_nothing()
        {
            let status = status.clone();
            return Poll::Ready(Some(Ok(self.end(&status))));
        }
        match self.subscription.poll_next(cx) {
            Poll::Ready(Ok(batch)) => Poll::Ready(Some(Ok(Frame::data(batch)))),
            Poll::Ready(Err(ended)) => Poll::Ready(Some(Ok(self.end(&Failure::from(ended).into())))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.incoming, Incoming::Ended)
    }
}

/// tonic's word for a frame above the limit, in ours.
fn renamed(status: Status) -> Status {
    if status.code() == Code::OutOfRange { Failure::oversize().into() } else { status }
}

fn duplicate(first: Record) -> ChatMessage {
    let text = String::new();
    ChatMessage { text, event: Some(Event::Duplicate(Duplicate {})), ..hub::message(first) }
}

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
    engine::{Appended, Error as EngineError, Receipt, Record, Refused, RoomName},
    hub::{self, Ended, Subscription},
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
    answered_last: bool,
    /// The hub has ended, and everything that it sent was delivered.
    hub_ended: bool,
    draining: CancellationToken,
    /// For a stream in no room, which hears of a drain from nobody else.
    drained: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
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
        let drained = start.subscription.is_empty().then(|| Box::pin(start.draining.clone().cancelled_owned()));
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
            answered_last: false,
            hub_ended: false,
            draining: start.draining,
            drained,
            _place: start.place,
        }
    }

    /// Takes outcomes and messages until it must wait.
    fn advance(&mut self, cx: &mut Context<'_>) {
        // A stream in rooms hears of a drain by the end of these, after everything that was accepted.
        if self.drained.as_mut().is_some_and(|drained| drained.as_mut().poll(cx).is_ready()) {
            self.take_no_more(Failure::draining().into());
        }
        // So many and no more, that a fast sender still receives.
        for _ in 0..self.max_inflight {
            self.poll_append(cx);
            // After the append, so that its receipt knows whom to wake.
            self.poll_outcomes(cx);
            if self.appending.is_some() || self.inflight.len() >= self.max_inflight {
                return;
            }
            let Incoming::Open(requests) = &mut self.incoming else { return };
            match Pin::new(requests.as_mut()).poll_next(cx) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(message))) => self.take(message),
                Poll::Ready(Some(Err(status))) => self.take_no_more(renamed(status)),
                Poll::Ready(None) => self.take_no_more(Status::ok("")),
            }
        }
        cx.waker().wake_by_ref();
    }

    /// The first reason to end is the one that is told.
    fn take_no_more(&mut self, status: Status) {
        if matches!(self.incoming, Incoming::Open(_)) {
            self.incoming = Incoming::Over(status);
        }
    }

    /// Something that is owed will never come: the end is no OK, even after a half-close.
    fn fail(&mut self, status: Status) {
        if matches!(&self.incoming, Incoming::Over(end) if end.code() == Code::Ok) {
            self.incoming = Incoming::Over(status);
        } else {
            self.take_no_more(status);
        }
    }

    fn poll_append(&mut self, cx: &mut Context<'_>) {
        let Some(appending) = &mut self.appending else { return };
        let Poll::Ready(outcome) = appending.place.as_mut().poll(cx) else { return };
        if let Some(Appending { nth, room, .. }) = self.appending.take() {
            match outcome {
                Ok(receipt) => self.inflight.push_back(Inflight { nth, room, receipt }),
                Err(refused) => self.refuse(nth, refused),
            }
        }
    }

    fn poll_outcomes(&mut self, cx: &mut Context<'_>) {
        while let Some(first) = self.inflight.front_mut() {
            let Poll::Ready(outcome) = Pin::new(&mut first.receipt).poll(cx) else { return };
            let Some(Inflight { nth, room, .. }) = self.inflight.pop_front() else { return };
            match outcome {
                Ok(Appended::Accepted { seq, .. }) => self.subscription.owe(&room, seq),
                Ok(Appended::Duplicate(first)) => self.answer(&duplicate(*first)),
                Err(refused) => self.refuse(nth, refused),
            }
        }
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
    fn refuse(&mut self, nth: u64, refused: Refused) {
        let failure = Failure::from(refused.error);
        match refused.draft {
            Some(draft) => self.answer(&failure.into_rejected(draft.room.as_str().to_owned(), draft.id, nth)),
            None => self.fail(failure.into()),
        }
    }

    fn answer(&mut self, message: &ChatMessage) {
        batch::frame(message, &mut self.answers);
    }

    /// Everything that was read is answered and, as far as there is a hub, delivered.
    fn owes_nothing(&self) -> bool {
        let decided = self.appending.is_none() && self.inflight.is_empty();
        decided && self.answers.is_empty() && (self.hub_ended || self.subscription.is_settled())
    }

    fn answers(&mut self) -> Option<Frame<Bytes>> {
        if self.answers.is_empty() {
            return None;
        }
        self.answered_last = true;
        Some(Frame::data(std::mem::take(&mut self.answers).freeze()))
    }

    /// What the rooms say, unless the stream is about to end anyway.
    fn poll_messages(&mut self, cx: &mut Context<'_>) -> Option<Frame<Bytes>> {
        let ends_here = matches!(self.incoming, Incoming::Over(_)) && self.owes_nothing();
        if self.hub_ended || ends_here {
            return None;
        }
        match self.subscription.poll_next(cx) {
            Poll::Pending => None,
            Poll::Ready(Ok(batch)) => Some(Frame::data(batch)),
            Poll::Ready(Err(lagged @ Ended::Lagged { .. })) => Some(self.end(&Failure::from(lagged).into())),
            Poll::Ready(Err(Ended::Closed)) => {
                self.hub_ended = true;
                self.take_no_more(self.why_the_hub_ended());
                None
            }
        }
    }

    fn why_the_hub_ended(&self) -> Status {
        let failure = if self.draining.is_cancelled() { Failure::draining() } else { EngineError::Stopped.into() };
        failure.into()
    }

    /// The end, if there is a reason and nothing is owed that could still come.
    fn end_if_settled(&mut self) -> Option<Frame<Bytes>> {
        if self.hub_ended && !self.subscription.is_settled() {
            self.fail(self.why_the_hub_ended());
        }
        match &self.incoming {
            Incoming::Over(status) if self.owes_nothing() => {
                let status = status.clone();
                Some(self.end(&status))
            }
            _ => None,
        }
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
        self.advance(cx);
        // Answers and messages take turns: a sender of bad messages still hears the room, and one who hears much its answers.
        let messages_first = std::mem::take(&mut self.answered_last);
        let frame = if messages_first {
            self.poll_messages(cx).or_else(|| self.answers())
        } else {
            self.answers().or_else(|| self.poll_messages(cx))
        };
        match frame.or_else(|| self.end_if_settled()) {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Poll::Pending,
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

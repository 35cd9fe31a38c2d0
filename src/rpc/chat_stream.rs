//! One stream of messages: what it sends goes to the log, what its rooms say comes back.
//!
//! The session is the response body, and the request half is part of it: whatever ends the one ends the other. Chat has both halves;
//! a subscription only listens.

mod waiting;

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http_body::{Body, Frame};
use prost::DecodeError;
use tokio_stream::Stream as _;
use tonic::{Code, Status, Streaming};

use super::{
    chat::StreamPermit,
    chat_request::{Request, Rules},
    status::{self, Failure},
};
use crate::{
    auth::Auth,
    batch,
    caller::Caller,
    engine::{Appended, Error as EngineError, Record, Refused},
    hub::{self, Ended, Removed, Subscription},
    lifecycle::RequestHandle,
    proto::user::{ChatMessage, Draining, Duplicate, Left, chat_message::Event},
    types::RoomName,
};
use waiting::{Inflight, Waiting};

/// What a session is made of.
pub(super) struct ChatStreamParts {
    pub(super) hub: hub::Handle,
    pub(super) auth: Auth,
    pub(super) caller: Caller,
    pub(super) stream: RequestHandle,
    /// Absent: the client only listens.
    pub(super) requests: Option<Requests>,
    /// In the rooms that the stream starts in.
    pub(super) subscription: Subscription,
    pub(super) rules: Rules,
    pub(super) inflight: usize,
    pub(super) place: StreamPermit,
}

/// A stream while it runs.
pub(super) struct ChatStream {
    hub: hub::Handle,
    auth: Auth,
    caller: Caller,
    stream: RequestHandle,
    incoming: Incoming,
    subscription: Subscription,
    rules: Rules,
    /// Which message of the stream came last, from 1.
    nth: u64,
    /// What the last message is waiting for; until then no further one is taken.
    waiting: Option<Waiting>,
    /// Drafts in the log's queue, in order.
    inflight: VecDeque<Inflight>,
    max_inflight: usize,
    /// Framed answers to this stream alone.
    answers: BytesMut,
    answered_last: bool,
    /// The hub has ended, and everything that it sent was delivered.
    hub_ended: bool,
    /// The client was told that the server is shutting down.
    told_draining: bool,
    _place: StreamPermit,
}

/// The sending side of the client.
enum Incoming {
    Open(Box<Requests>),
    /// There is none: nothing comes, and nothing ends.
    Silent,
    /// Nothing more is read; when nothing is owed, the stream ends so.
    Over(Status),
    /// The trailers are out.
    Ended,
}

pub(super) type Requests = Streaming<Result<ChatMessage, DecodeError>>;

impl ChatStream {
    pub(super) fn new(start: ChatStreamParts) -> Self {
        Self {
            hub: start.hub,
            auth: start.auth,
            caller: start.caller,
            stream: start.stream,
            incoming: start.requests.map_or(Incoming::Silent, |requests| Incoming::Open(Box::new(requests))),
            subscription: start.subscription,
            rules: start.rules,
            nth: 0,
            waiting: None,
            inflight: VecDeque::new(),
            max_inflight: start.inflight,
            answers: BytesMut::new(),
            answered_last: false,
            hub_ended: false,
            told_draining: false,
            _place: start.place,
        }
    }

    /// Takes outcomes and messages until it must wait. Does nothing unless the subscription's waker was used since: whatever is looked at here
    /// must be polled with that waker, or nobody looks again.
    fn advance(&mut self) {
        if !self.subscription.was_woken() {
            return;
        }
        let waker = self.subscription.waker();
        let cx = &mut Context::from_waker(&waker);
        // So many and no more, that a fast sender still receives.
        for _ in 0..self.max_inflight {
            _ = self.poll_waiting(cx);
            // Afterwards, so that the receipt of an append knows whom to wake.
            self.poll_outcomes(cx);
            self.leave_if_decided();
            if self.waiting.is_some() || self.inflight.len() >= self.max_inflight {
                return;
            }
            let Incoming::Open(requests) = &mut self.incoming else { return };
            match Pin::new(requests.as_mut()).poll_next(cx) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(message))) => self.take(message),
                Poll::Ready(Some(Err(status))) => self.take_no_more(status::in_our_words(status)),
                Poll::Ready(None) => self.take_no_more(Status::ok("")),
            }
        }
        cx.waker().wake_by_ref();
    }

    fn drain(&mut self) {
        if !std::mem::replace(&mut self.told_draining, true) {
            // Not all at once, or they would come to the next server all at once.
            let reconnect_after = RECONNECT_WITHIN.mul_f32(fastrand::f32());
            let draining = Draining { reconnect_after: prost_types::Duration::try_from(reconnect_after).ok() };
            self.answer(&ChatMessage { event: Some(Event::Draining(draining)), ..ChatMessage::default() });
        }
    }

    /// The first reason to end is the one that is told.
    fn take_no_more(&mut self, status: Status) {
        if matches!(self.incoming, Incoming::Open(_) | Incoming::Silent) {
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

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.waiting {
            None | Some(Waiting::Leave { .. }) => {}
            Some(Waiting::Append { nth, room, place }) => {
                let outcome = ready!(place.as_mut().poll(cx));
                let (nth, room) = (*nth, room.clone());
                self.waiting = None;
                match outcome {
                    Ok(receipt) => self.inflight.push_back(Inflight { nth, room, receipt }),
                    Err(refused) => self.refuse(nth, refused),
                }
            }
            Some(Waiting::Join { nth, room, id, entered }) => {
                let entered = ready!(entered.as_mut().poll(cx));
                let (nth, room, id) = (*nth, room.as_str().to_owned(), std::mem::take(id));
                self.waiting = None;
                match entered {
                    Ok(entered) => self.subscription.add(entered),
                    Err(error) => {
                        let failure = Failure::from(error).in_drain(self.stream.is_draining());
                        self.answer(&failure.into_rejected(room, id, nth));
                    }
                }
            }
            Some(Waiting::GoOn { nth, room, id, expires_at }) => {
                let outcome = ready!(expires_at.as_mut().poll(cx));
                let (nth, room, id) = (*nth, std::mem::take(room), std::mem::take(id));
                self.waiting = None;
                match outcome {
                    Ok(expires_at) => _ = self.stream.pass().map(|pass| pass.renew(expires_at)),
                    Err(error) => self.answer(&Failure::from(error).into_rejected(room, id, nth)),
                }
            }
        }
        Poll::Ready(())
    }

    /// Everything said before must be decided, and its answers come first.
    fn leave_if_decided(&mut self) {
        let Some(Waiting::Leave { room }) = &self.waiting else { return };
        if !self.inflight.is_empty() {
            return;
        }
        let room = room.clone();
        self.waiting = None;
        let Some(Removed { told, words }) = self.subscription.remove(&room) else { return };
        // The join is answered also if it was not meant for long.
        self.answers.extend_from_slice(&words);
        if told {
            let left = Event::Left(Left { reason: LEFT.to_owned() });
            let room = room.as_str().to_owned();
            self.answer(&ChatMessage { room, event: Some(left), ..ChatMessage::default() });
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
        match self.rules.read(message, &self.caller, &self.subscription) {
            Ok(Request::Say(draft)) => {
                let room = draft.room.clone();
                match self.hub.try_append(draft) {
                    Ok(receipt) => self.inflight.push_back(Inflight { nth, room, receipt }),
                    Err(draft) => {
                        let place = self.hub.append_unasked(draft);
                        self.waiting = Some(Waiting::Append { nth, room, place });
                    }
                }
            }
            Ok(Request::Join { room, id, entry }) => match self.may_enter(&room) {
                Ok(()) => {
                    let entered = self.hub.clone().enter_unasked(room.clone(), entry);
                    self.waiting = Some(Waiting::Join { nth, room, id, entered });
                }
                Err(failure) => self.answer(&failure.into_rejected(room.as_str().to_owned(), id, nth)),
            },
            Ok(Request::Leave { room }) => self.waiting = Some(Waiting::Leave { room }),
            Ok(Request::GoOn { token, room, id }) => {
                let expires_at = self.auth.clone().renew(self.caller.clone(), token).boxed();
                self.waiting = Some(Waiting::GoOn { nth, room, id, expires_at });
            }
            Ok(Request::Typing { room, user_id }) => self.hub.typing(room, user_id, &self.stream),
            Err(bad) => self.answer(&bad.failure.into_rejected(bad.room, bad.id, nth)),
        }
    }

    fn may_enter(&self, room: &RoomName) -> Result<(), Failure> {
        if self.told_draining {
            return Err(Failure::draining());
        }
        Ok(self.subscription.may_enter(room)?)
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
        let decided = self.waiting.is_none() && self.inflight.is_empty();
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
            Poll::Ready(Err(Ended::Failed(error))) => Some(self.end(&Failure::from(error).into())),
            Poll::Ready(Err(Ended::Closed)) => {
                self.hub_ended = true;
                self.take_no_more(self.why_the_hub_ended());
                None
            }
        }
    }

    fn why_the_hub_ended(&self) -> Status {
        let failure = if self.stream.is_draining() { Failure::draining() } else { EngineError::Stopped.into() };
        failure.into()
    }

    /// The end, if there is a reason and nothing is owed that could still come.
    fn end_if_settled(&mut self) -> Option<Frame<Bytes>> {
        // In a drain a stream ends behind its rooms, after everything that was accepted; one in none has nobody to wait for.
        if self.told_draining && self.subscription.is_empty() && self.waiting.is_none() {
            self.take_no_more(Failure::draining().into());
        }
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
        Frame::trailers(status::trailers(status))
    }
}

impl Body for ChatStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if matches!(self.incoming, Incoming::Ended) {
            return Poll::Ready(None);
        }
        if self.stream.is_draining() {
            self.drain();
        }
        self.stream.register(cx.waker());
        self.advance();
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

/// Over so long the clients of a server that shuts down spread their reconnects.
const RECONNECT_WITHIN: Duration = Duration::from_secs(5);

/// The reason of every `left`: the client asked.
const LEFT: &str = "LEFT";

fn duplicate(first: Record) -> ChatMessage {
    let text = String::new();
    ChatMessage { text, event: Some(Event::Duplicate(Duplicate {})), ..hub::message(first) }
}

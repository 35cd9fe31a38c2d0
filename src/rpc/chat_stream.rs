//! One stream of messages: publishes what its client sends, and delivers what is published in its rooms.
//!
//! The stream is the response body, and the request half is part of it: when one ends, so does the other. Chat has both halves; a
//! subscription only receives.

mod ending;
mod incoming;
mod inflight;
mod outcomes;
mod requests;
mod waiting;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::task::unconstrained;
use tonic::Status;

use super::{chat_request::Rules, status::Failure, stream_limit::StreamPermit};
use crate::{
    auth::Auth,
    batch,
    caller::Caller,
    hub::{Subscription, SubscriptionError},
    lifecycle::RequestHandle,
    proto::user::ChatMessage,
    rooms::Rooms,
};
pub(super) use incoming::ChatRequests;
use incoming::Incoming;
use inflight::Inflight;
pub(super) use inflight::InflightLimits;
use waiting::Waiting;

/// What a stream is made of.
pub(super) struct ChatStreamParts {
    pub(super) rooms: Rooms,
    pub(super) auth: Auth,
    pub(super) caller: Caller,
    pub(super) stream: RequestHandle,
    /// `None`: the client only listens.
    pub(super) requests: Option<ChatRequests>,
    /// In the rooms that the stream starts in.
    pub(super) subscription: Subscription,
    pub(super) rules: Rules,
    pub(super) inflight: InflightLimits,
    pub(super) permit: StreamPermit,
}

/// A stream while it runs.
pub(super) struct ChatStream {
    rooms: Rooms,
    auth: Auth,
    caller: Caller,
    stream: RequestHandle,
    incoming: Incoming,
    subscription: Subscription,
    rules: Rules,
    /// Messages taken so far: the number of the last one.
    taken: u64,
    /// What the last message waits for; until then no further one is taken.
    waiting: Option<Waiting>,
    inflight: Inflight,
    /// Framed answers to this stream alone.
    answers: BytesMut,
    answered_last: bool,
    /// Set when the hub has ended, and everything that it sent was delivered: why it ended.
    hub_end: Option<Status>,
    /// The client has been sent `draining`.
    reported_draining: bool,
    _permit: StreamPermit,
}

impl ChatStream {
    pub(super) fn new(parts: ChatStreamParts) -> Self {
        Self {
            rooms: parts.rooms,
            auth: parts.auth,
            caller: parts.caller,
            stream: parts.stream,
            incoming: parts.requests.map_or(Incoming::Absent, |requests| Incoming::Open(Box::new(requests))),
            subscription: parts.subscription,
            rules: parts.rules,
            taken: 0,
            waiting: None,
            inflight: Inflight::new(parts.inflight),
            answers: BytesMut::new(),
            answered_last: false,
            hub_end: None,
            reported_draining: false,
            _permit: parts.permit,
        }
    }

    fn answer(&mut self, message: &ChatMessage) {
        batch::frame(message, &mut self.answers);
    }

    /// Answers that the message with this number is rejected.
    fn reject(&mut self, failure: Failure, room: String, id: String, nth: u64) {
        self.answer(&failure.into_rejected(room, id, nth));
    }

    fn take_answers(&mut self) -> Option<Frame<Bytes>> {
        if self.answers.is_empty() {
            return None;
        }
        self.answered_last = true;
        Some(Frame::data(std::mem::take(&mut self.answers).freeze()))
    }

    /// The next messages of the rooms, unless the stream is about to end.
    fn poll_messages(&mut self, cx: &mut Context<'_>) -> Option<Frame<Bytes>> {
        let ends_here = matches!(self.incoming, Incoming::Closed(_)) && self.is_settled();
        if self.hub_end.is_some() || ends_here {
            return None;
        }
        match self.subscription.poll_next(cx) {
            Poll::Pending => None,
            Poll::Ready(Ok(batch)) => Some(Frame::data(batch)),
            Poll::Ready(Err(SubscriptionError::Engine(error))) => Some(self.end(&Failure::from(error).into())),
            Poll::Ready(Err(end @ (SubscriptionError::LogEnded | SubscriptionError::HubStopped))) => {
                let status: Status = Failure::from(end).in_drain(self.stream.is_draining()).into();
                self.hub_end = Some(status.clone());
                self.close(status);
                None
            }
        }
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
            self.report_draining();
        }
        self.stream.register(cx.waker());
        // `advance` has a bound of its own. If it used up the task's budget (tokio's cooperative scheduling), the rooms of a client that sends
        // without end would never be polled.
        _ = pin!(unconstrained(poll_fn(|_| {
            self.advance();
            Poll::Ready(())
        })))
        .poll(cx);
        // Answers and messages take turns: neither a client whose messages are rejected nor one in a busy room misses the other.
        let messages_first = std::mem::take(&mut self.answered_last);
        let frame = if messages_first {
            self.poll_messages(cx).or_else(|| self.take_answers())
        } else {
            self.take_answers().or_else(|| self.poll_messages(cx))
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

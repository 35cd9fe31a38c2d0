//! Taking the messages of a stream.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use prost::DecodeError;
use tokio_stream::Stream as _;
use tonic::Status;

use super::{ChatStream, incoming::Incoming, inflight::SentDraft, waiting::Waiting};
use crate::{
    auth,
    engine::Draft,
    hub::{self, JoinOptions},
    proto::user::ChatMessage,
    rooms::Submission,
    rpc::{
        chat_request::Request,
        status::{self, Failure},
    },
    types::RoomName,
};

impl ChatStream {
    /// Takes outcomes and messages until it must wait. Does nothing unless the subscription's waker was used since the last call: what is
    /// polled here must be polled with that waker, or its wake-up is missed.
    pub(super) fn advance(&mut self) {
        if !self.subscription.was_woken() {
            return;
        }
        let waker = self.subscription.waker();
        let cx = &mut Context::from_waker(&waker);
        // A bounded number, so that a stream that sends without end also receives.
        for _ in 0..self.inflight.max_drafts() {
            _ = self.poll_waiting(cx);
            // Afterwards, so that the receipt of an append is polled, and knows whom to wake.
            self.poll_outcomes(cx);
            self.leave_if_settled();
            if self.waiting.is_some() || self.inflight.is_full() {
                return;
            }
            let Incoming::Open(requests) = &mut self.incoming else { return };
            match Pin::new(requests.as_mut()).poll_next(cx) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(message))) => self.take(message),
                Poll::Ready(Some(Err(status))) => self.close(status::with_details(status)),
                Poll::Ready(None) => self.close(Status::ok("")),
            }
        }
        cx.waker().wake_by_ref();
    }

    fn take(&mut self, message: Result<ChatMessage, DecodeError>) {
        self.taken += 1;
        let nth = self.taken;
        match self.rules.read(message, &self.caller, &self.subscription) {
            Ok(Request::Publish(draft)) => self.publish(nth, draft),
            Ok(Request::Join { room, id, options }) => self.join(nth, room, id, options),
            Ok(Request::Leave { room }) => self.waiting = Some(Waiting::Leave { room }),
            Ok(Request::RefreshToken { token, room, id }) => {
                let renew = self.auth.clone().renew(self.caller.clone(), token);
                let expires_at = hub::spawned(renew, || Err(auth::Error::KeysUnavailable));
                self.waiting = Some(Waiting::RefreshToken { nth, room, id, expires_at });
            }
            Ok(Request::Typing { room, user_id }) => {
                let name = room.as_str().to_owned();
                if let Err(error) = self.rooms.typing(&self.caller, room, user_id, &self.stream) {
                    self.reject(error.into(), name, String::new(), nth);
                }
            }
            Err(rejection) => self.reject(rejection.failure, rejection.room, rejection.id, nth),
        }
    }

    fn publish(&mut self, nth: u64, draft: Draft) {
        let sent = SentDraft { nth, room: draft.room.clone(), bytes: draft.size() };
        match self.rooms.submit(&self.caller, draft) {
            Ok(Submission::Queued(receipt)) => self.inflight.push(sent, receipt),
            Ok(Submission::Waiting(receipt)) => self.waiting = Some(Waiting::Append { sent, receipt }),
            Err((draft, error)) => self.reject(error.into(), draft.room.as_str().to_owned(), draft.id, nth),
        }
    }

    fn join(&mut self, nth: u64, room: RoomName, id: String, options: JoinOptions) {
        let joined = self.check_join(&room).and_then(|()| {
            let joined = self.rooms.spawn_join(&self.caller, room.clone(), options);
            joined.map_err(Failure::from)
        });
        match joined {
            Ok(joined) => self.waiting = Some(Waiting::Join { nth, room, id, joined }),
            Err(failure) => self.reject(failure, room.as_str().to_owned(), id, nth),
        }
    }

    fn check_join(&self, room: &RoomName) -> Result<(), Failure> {
        if self.reported_draining {
            return Err(Failure::draining());
        }
        Ok(self.subscription.check_join(room)?)
    }
}

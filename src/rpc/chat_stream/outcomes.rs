//! Settling the messages of a stream: each is answered, in the order in which they were sent.

use std::task::{Context, Poll, ready};

use super::{ChatStream, waiting::Waiting};
use crate::{
    engine::{Appended, Record, Refused},
    hub::{self, Removed},
    proto::user::{ChatMessage, Duplicate, Left, chat_message::Event},
    rpc::status::Failure,
};

/// The reason of every `left` event: the client asked for it.
const LEFT: &str = "LEFT";

impl ChatStream {
    pub(super) fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.waiting {
            None | Some(Waiting::Leave { .. }) => {}
            Some(Waiting::Append { sent, receipt }) => {
                let outcome = ready!(receipt.as_mut().poll(cx));
                let sent = sent.clone();
                self.waiting = None;
                match outcome {
                    Ok(receipt) => self.inflight.push(sent, receipt),
                    Err(refused) => self.refuse(sent.nth, refused),
                }
            }
            Some(Waiting::Join { nth, room, id, joined }) => {
                let joined = ready!(joined.as_mut().poll(cx));
                let (nth, room, id) = (*nth, room.as_str().to_owned(), std::mem::take(id));
                self.waiting = None;
                match joined {
                    Ok(joined) => self.subscription.add(joined),
                    Err(error) => {
                        let failure = Failure::from(error).in_drain(self.stream.is_draining());
                        self.reject(failure, room, id, nth);
                    }
                }
            }
            Some(Waiting::RefreshToken { nth, room, id, expires_at }) => {
                let outcome = ready!(expires_at.as_mut().poll(cx));
                let (nth, room, id) = (*nth, std::mem::take(room), std::mem::take(id));
                self.waiting = None;
                match outcome {
                    Ok(expires_at) => _ = self.stream.pass().map(|pass| pass.renew(expires_at)),
                    Err(error) => self.reject(Failure::from(error), room, id, nth),
                }
            }
        }
        Poll::Ready(())
    }

    /// Leaves a room once everything sent before is settled, so that those answers come first.
    pub(super) fn leave_if_settled(&mut self) {
        let Some(Waiting::Leave { room }) = &self.waiting else { return };
        if !self.inflight.is_empty() {
            return;
        }
        let room = room.clone();
        self.waiting = None;
        let Some(Removed { reports_joined, initial_frames }) = self.subscription.remove(&room) else { return };
        // A join is answered even if the room is left at once.
        self.answers.extend_from_slice(&initial_frames);
        if reports_joined {
            let left = Event::Left(Left { reason: LEFT.to_owned() });
            let room = room.as_str().to_owned();
            self.answer(&ChatMessage { room, event: Some(left), ..ChatMessage::default() });
        }
    }

    pub(super) fn poll_outcomes(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready((sent, outcome)) = self.inflight.poll_outcome(cx) {
            match outcome {
                Ok(Appended::Accepted { seq, .. }) => self.subscription.require(&sent.room, seq),
                Ok(Appended::Duplicate(first)) => self.answer(&duplicate(*first)),
                Err(refused) => self.refuse(sent.nth, refused),
            }
        }
    }

    /// Rejects a draft that is not in the log. If even that is unknown, the stream ends: the client publishes again with the same id.
    fn refuse(&mut self, nth: u64, refused: Refused) {
        let failure = Failure::from(refused.error);
        match refused.draft {
            Some(draft) => self.reject(failure, draft.room.as_str().to_owned(), draft.id, nth),
            None => self.fail(failure.into()),
        }
    }
}

fn duplicate(first: Record) -> ChatMessage {
    let text = String::new();
    ChatMessage { text, event: Some(Event::Duplicate(Duplicate {})), ..hub::message(first) }
}

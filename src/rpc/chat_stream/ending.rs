//! How a stream ends: after everything that was read is settled and delivered.

use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tonic::{Code, Status};

use super::{ChatStream, incoming::Incoming};
use crate::{
    proto::user::{ChatMessage, Draining, chat_message::Event},
    rpc::status::{self, Failure},
};

/// The clients of a server that shuts down spread their reconnects over this time.
const RECONNECT_WITHIN: Duration = Duration::from_secs(5);

impl ChatStream {
    /// Reports once that the server is shutting down.
    pub(super) fn report_draining(&mut self) {
        if !std::mem::replace(&mut self.reported_draining, true) {
            // Spread, or all clients would reach the next server at once.
            let reconnect_after = RECONNECT_WITHIN.mul_f32(fastrand::f32());
            let draining = Draining { reconnect_after: prost_types::Duration::try_from(reconnect_after).ok() };
            self.answer(&ChatMessage { event: Some(Event::Draining(draining)), ..ChatMessage::default() });
        }
    }

    /// Reads nothing more, and ends with this status. The first call counts.
    pub(super) fn close(&mut self, status: Status) {
        if matches!(self.incoming, Incoming::Open(_) | Incoming::Absent) {
            self.incoming = Incoming::Closed(status);
        }
    }

    /// The same when something that the client waits for will never come: then the end is not OK, even after a half-close.
    pub(super) fn fail(&mut self, status: Status) {
        if matches!(&self.incoming, Incoming::Closed(end) if end.code() == Code::Ok) {
            self.incoming = Incoming::Closed(status);
        } else {
            self.close(status);
        }
    }

    /// Everything that was read is answered and, unless the hub has ended, delivered.
    pub(super) fn is_settled(&self) -> bool {
        let decided = self.waiting.is_none() && self.inflight.is_empty();
        decided && self.answers.is_empty() && (self.hub_end.is_some() || self.subscription.is_settled())
    }

    /// The trailers, if there is a reason to end and nothing is left that could still come.
    pub(super) fn end_if_settled(&mut self) -> Option<Frame<Bytes>> {
        // In a drain a stream ends after its rooms, and so after everything that was accepted; one in no room ends at once.
        if self.reported_draining && self.subscription.is_empty() && self.waiting.is_none() {
            self.close(Failure::draining().into());
        }
        if let Some(end) = &self.hub_end
            && !self.subscription.is_settled()
        {
            self.fail(end.clone());
        }
        match &self.incoming {
            Incoming::Closed(status) if self.is_settled() => {
                let status = status.clone();
                Some(self.end(&status))
            }
            _ => None,
        }
    }

    pub(super) fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.incoming = Incoming::Ended;
        Frame::trailers(status::trailers(status))
    }
}

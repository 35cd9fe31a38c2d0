//! Drafts of one stream on their way to the log.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    engine::{Appended, Receipt, Refused},
    types::RoomName,
};

/// How much of one stream may be on its way to the log.
#[derive(Debug, Clone, Copy)]
pub(in crate::rpc) struct InflightLimits {
    /// Drafts.
    pub(in crate::rpc) drafts: usize,
    /// Bytes of drafts.
    pub(in crate::rpc) bytes: usize,
}

/// Drafts in the log's queue, in the order in which they were sent.
pub(super) struct Inflight {
    drafts: VecDeque<InflightDraft>,
    bytes: usize,
    limits: InflightLimits,
}

struct InflightDraft {
    sent: SentDraft,
    receipt: Receipt,
}

/// What is known of a draft that was handed to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SentDraft {
    /// Which message of the stream it is, from 1.
    pub(super) nth: u64,
    pub(super) room: RoomName,
    pub(super) bytes: usize,
}

impl Inflight {
    pub(super) fn new(limits: InflightLimits) -> Self {
        Self { drafts: VecDeque::new(), bytes: 0, limits }
    }

    pub(super) fn max_drafts(&self) -> usize {
        self.limits.drafts
    }

    pub(super) fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    /// A limit is reached: the stream is not read until a draft is settled. The draft that reaches the limit of bytes may exceed it, so
    /// that a single one of any size passes.
    pub(super) fn is_full(&self) -> bool {
        self.drafts.len() >= self.limits.drafts || self.bytes >= self.limits.bytes
    }

    pub(super) fn push(&mut self, sent: SentDraft, receipt: Receipt) {
        self.bytes += sent.bytes;
        self.drafts.push_back(InflightDraft { sent, receipt });
    }

    /// The outcome of the oldest draft. `Pending` also if there is none.
    pub(super) fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Poll<(SentDraft, Result<Appended, Refused>)> {
        let Some(oldest) = self.drafts.front_mut() else { return Poll::Pending };
        let Poll::Ready(outcome) = Pin::new(&mut oldest.receipt).poll(cx) else { return Poll::Pending };
        match self.drafts.pop_front() {
            Some(InflightDraft { sent, .. }) => {
                self.bytes -= sent.bytes;
                Poll::Ready((sent, outcome))
            }
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::{engine::ReceiptSender, types::Time};

    fn inflight(drafts: usize, bytes: usize) -> Inflight {
        Inflight::new(InflightLimits { drafts, bytes })
    }

    fn push(inflight: &mut Inflight, nth: u64, bytes: usize) -> ReceiptSender {
        let (reply, receipt) = Receipt::channel();
        inflight.push(SentDraft { nth, room: RoomName::default(), bytes }, receipt);
        reply
    }

    fn settled(inflight: &mut Inflight) -> Option<u64> {
        match inflight.poll_outcome(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready((sent, _)) => Some(sent.nth),
            Poll::Pending => None,
        }
    }

    fn accept(reply: ReceiptSender) {
        reply.send(Ok(Appended::Accepted { seq: 1, time: Time::now() })).unwrap();
    }

    #[test]
    fn whichever_limit_is_reached_first_stops_the_stream_until_a_draft_is_settled() {
        for (max_drafts, max_bytes, drafts, bytes) in [(512, 1 << 18, 512, 100), (512, 1 << 18, 64, 4096)] {
            let mut inflight = inflight(max_drafts, max_bytes);
            let mut replies = Vec::new();
            for nth in 1..=drafts {
                assert!(!inflight.is_full(), "{nth} of {drafts}");
                replies.push(push(&mut inflight, nth, bytes));
            }
            assert!(inflight.is_full() && settled(&mut inflight).is_none());
            accept(replies.remove(1));
            assert_eq!(settled(&mut inflight), None, "outcomes come in the order of the drafts");
            accept(replies.remove(0));
            assert_eq!(settled(&mut inflight), Some(1));
            assert!(!inflight.is_full());
            assert_eq!(settled(&mut inflight), Some(2));
        }
    }

    #[test]
    fn a_single_draft_above_the_limit_of_bytes_passes_alone() {
        let mut inflight = inflight(512, 1000);
        assert!(!inflight.is_full());
        accept(push(&mut inflight, 1, 5000));
        assert!(inflight.is_full());
        assert_eq!(settled(&mut inflight), Some(1));
        assert!(!inflight.is_full() && inflight.is_empty() && inflight.bytes == 0);
    }
}

//! Committed messages of one room, framed for gRPC once and shared by every subscriber.
//!
//! The framing is gRPC's `Length-Prefixed-Message`: a byte that says "not compressed", the length as four bytes in network order, the
//! message (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::mem;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::proto::user::ChatMessage;

/// Where a batch is cut.
pub const MAX_BYTES: usize = 64 * 1024;

/// A run of framed messages of one room. Never empty.
#[derive(Debug)]
pub struct Batch {
    bytes: Bytes,
    /// `(seq, offset of its frame)`, ascending.
    index: Vec<(u64, u32)>,
}

impl Batch {
    /// The last `seq` in it.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.index.last().map_or(0, |(seq, _)| *seq)
    }

    /// Its share of a memory, in bytes, about.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.index.len() * size_of::<(u64, u32)>()
    }

    /// The frames above `seq`, if there are any, without a copy.
    #[must_use]
    pub fn after(&self, seq: u64) -> Option<Bytes> {
        let first = self.index.partition_point(|(own, _)| *own <= seq);
        let (_, offset) = self.index.get(first)?;
        Some(self.bytes.slice(*offset as usize..))
    }
}

/// Frames messages into batches.
#[derive(Debug, Default)]
pub struct Framer {
    bytes: BytesMut,
    index: Vec<(u64, u32)>,
}

impl Framer {
    /// Adds a message that has its `seq`. Gives back the batch before it if the message no longer fits.
    #[must_use]
    pub fn push(&mut self, message: &ChatMessage) -> Option<Batch> {
        let full = !self.bytes.is_empty() && self.bytes.len() + FRAME_HEADER + message.encoded_len() > MAX_BYTES;
        let before = if full { self.finish() } else { None };
        // An offset is below MAX_BYTES: only the first frame of a batch may be longer.
        self.index.push((message.seq, u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)));
        frame(message, &mut self.bytes);
        before
    }

    /// What was added since the last batch.
    #[must_use]
    pub fn finish(&mut self) -> Option<Batch> {
        if self.index.is_empty() {
            return None;
        }
        // Taken whole: a part split off would keep the block of the largest batch alive as long as the smallest.
        let (bytes, index) = (mem::take(&mut self.bytes), mem::take(&mut self.index));
        Some(Batch { bytes: bytes.freeze(), index })
    }
}

const FRAME_HEADER: usize = 5;

/// Appends one framed message.
pub fn frame(message: &ChatMessage, to: &mut BytesMut) {
    let len = message.encoded_len();
    to.reserve(FRAME_HEADER + len);
    to.put_u8(0);
    to.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    message.encode_raw(to);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64, text: &str) -> ChatMessage {
        ChatMessage { seq, user_id: "ada".into(), text: text.into(), ..ChatMessage::default() }
    }

    fn unframe(mut bytes: Bytes) -> Vec<ChatMessage> {
        use bytes::Buf;
        let mut messages = Vec::new();
        while bytes.has_remaining() {
            assert_eq!(bytes.get_u8(), 0, "not compressed");
            let len = bytes.get_u32() as usize;
            messages.push(ChatMessage::decode(bytes.split_to(len)).unwrap());
        }
        messages
    }

    #[test]
    fn a_batch_holds_what_was_pushed_and_is_cut_after_any_seq() {
        let mut framer = Framer::default();
        for seq in [3, 4, 9] {
            assert!(framer.push(&message(seq, "hello")).is_none());
        }
        let batch = framer.finish().unwrap();
        assert_eq!(batch.last_seq(), 9);
        for (after, left) in [(0, vec![3, 4, 9]), (3, vec![4, 9]), (4, vec![9]), (8, vec![9])] {
            let seqs: Vec<_> = unframe(batch.after(after).unwrap()).iter().map(|message| message.seq).collect();
            assert_eq!(seqs, left, "after {after}");
        }
        assert!(batch.after(9).is_none());
        assert!(framer.finish().is_none(), "a batch is given once");

        assert_eq!(unframe(batch.after(0).unwrap()).remove(0), message(3, "hello"));
    }

    #[test]
    fn a_batch_is_cut_at_its_limit_and_a_message_never() {
        let mut framer = Framer::default();
        let mut batches = Vec::new();
        let long = "x".repeat(MAX_BYTES / 3);
        for seq in 1..=9 {
            batches.extend(framer.push(&message(seq, &long)));
        }
        batches.extend(framer.push(&message(10, &"y".repeat(2 * MAX_BYTES))));
        batches.extend(framer.push(&message(11, "z")));
        batches.extend(framer.finish());
        let runs: Vec<Vec<u64>> = batches
            .iter()
            .map(|batch| unframe(batch.after(0).unwrap()).iter().map(|message| message.seq).collect())
            .collect();
        assert_eq!(runs, [vec![1, 2], vec![3, 4], vec![5, 6], vec![7, 8], vec![9], vec![10], vec![11]]);
    }
}

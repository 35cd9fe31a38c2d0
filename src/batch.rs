//! Batches of messages of one room, framed for gRPC once and shared by all subscribers.
//!
//! The framing is gRPC's `Length-Prefixed-Message`: a zero byte (not compressed), the length as four bytes in network order, and the
//! message (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::mem;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::proto::user::ChatMessage;

/// Maximum size of a batch, in bytes. A single larger message is still a batch.
pub const MAX_BYTES: usize = 64 * 1024;

/// Consecutive framed messages of one room. Never empty.
#[derive(Debug)]
pub struct Batch {
    bytes: Bytes,
    /// `(seq, offset of the frame in bytes)`, ascending.
    index: Vec<(u64, u32)>,
}

impl Batch {
    /// Returns the last `seq` in the batch.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.index.last().map_or(0, |(seq, _)| *seq)
    }

    /// Returns the approximate size in memory, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.index.len() * size_of::<(u64, u32)>()
    }

    /// Returns the frames above `seq` without copying; `None` if there are none.
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
    /// Adds a message. If it does not fit into the current batch, returns that batch and starts a new one.
    #[must_use]
    pub fn push(&mut self, message: &ChatMessage) -> Option<Batch> {
        let full = !self.bytes.is_empty() && self.bytes.len() + FRAME_HEADER + message.encoded_len() > MAX_BYTES;
        let before = if full { self.finish() } else { None };
        // An offset is below MAX_BYTES: only the first frame of a batch may be longer.
        self.index.push((message.seq, u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)));
        frame(message, &mut self.bytes);
        before
    }

    /// Returns the messages added since the last batch; `None` if there are none.
    #[must_use]
    pub fn finish(&mut self) -> Option<Batch> {
        if self.index.is_empty() {
            return None;
        }
        // Takes the whole buffer: splitting would keep a large buffer alive as long as its smallest part.
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
    fn a_batch_holds_what_was_pushed_and_can_be_sliced_after_any_seq() {
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
        assert!(framer.finish().is_none(), "a batch is returned once");

        assert_eq!(unframe(batch.after(0).unwrap()).remove(0), message(3, "hello"));
    }

    #[test]
    fn batches_are_cut_at_the_limit_but_messages_never() {
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

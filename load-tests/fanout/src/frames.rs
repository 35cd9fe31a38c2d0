//! gRPC's length-prefixed messages, read with as little work as a check needs.

use anyhow::{Context, Result, bail};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

use crate::proto::user::ChatMessage;

/// A byte that says "not compressed", and the length as four bytes in network order.
pub const HEADER: usize = 5;

/// Appends one framed message.
pub fn put(message: &ChatMessage, to: &mut BytesMut) {
    let len = message.encoded_len();
    to.reserve(HEADER + len);
    to.put_u8(0);
    to.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    message.encode_raw(to);
}

/// Bytes of the whole frames at the start of these.
pub fn whole(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(len) = bytes.get(end..).and_then(frame_len) {
        if bytes.len() - end < len {
            break;
        }
        end += len;
    }
    end
}

/// Takes the first frame off, if it is whole.
pub fn split_first(bytes: &mut Bytes) -> Option<Bytes> {
    let len = frame_len(bytes)?;
    (len <= bytes.len()).then(|| bytes.split_to(len))
}

/// Bytes of the frame that begins here, if its header is there.
fn frame_len(bytes: &[u8]) -> Option<usize> {
    let len: [u8; 4] = bytes.get(1..HEADER)?.try_into().ok()?;
    Some(HEADER + u32::from_be_bytes(len) as usize)
}

/// Takes bytes as they come and gives whole messages.
#[derive(Debug, Default)]
pub struct Reader {
    rest: BytesMut,
}

/// What a subscriber looks at in a message.
#[derive(Debug)]
pub struct Seen {
    /// Its place in the room, if it has one.
    pub seq: u64,
    /// Its text.
    pub text: Bytes,
    /// Present, with the whole message, when it says more than a text.
    pub event: Option<Box<ChatMessage>>,
}

impl Reader {
    /// Gives each whole message, as far as there is one; the rest waits for the next bytes.
    pub fn read(&mut self, chunk: Bytes, mut see: impl FnMut(Seen)) -> Result<()> {
        let mut bytes = chunk;
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(&bytes);
            bytes = std::mem::take(&mut self.rest).freeze();
        }
        while let Some(mut frame) = split_first(&mut bytes) {
            if frame.get_u8() != 0 {
                bail!("a compressed message, which nobody asked for");
            }
            frame.advance(HEADER - 1);
            see(parse(frame)?);
        }
        self.rest.extend_from_slice(&bytes);
        Ok(())
    }
}

/// The field numbers of `user.ChatMessage` that matter here.
const TEXT: u32 = 2;
const SEQ: u32 = 5;
const FIRST_EVENT: u32 = 16;

fn parse(message: Bytes) -> Result<Seen> {
    let mut seen = Seen { seq: 0, text: Bytes::new(), event: None };
    let mut rest = message.clone();
    while rest.has_remaining() {
        let (tag, wire_type) = decode_key(&mut rest).context("a message that is none")?;
        match (tag, wire_type) {
            (SEQ, WireType::Varint) => seen.seq = decode_varint(&mut rest)?,
            (TEXT, WireType::LengthDelimited) => {
                let len = usize::try_from(decode_varint(&mut rest)?)?;
                if len > rest.len() {
                    bail!("a text longer than its message");
                }
                seen.text = rest.split_to(len);
            }
            (FIRST_EVENT.., _) => {
                seen.event = Some(Box::new(ChatMessage::decode(message)?));
                return Ok(seen);
            }
            _ => skip_field(wire_type, tag, &mut rest, DecodeContext::default())?,
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::user::{Duplicate, chat_message::Event};

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let mut bytes = BytesMut::new();
        for seq in 1..=3 {
            let text = "x".repeat(usize::try_from(seq).unwrap() * 100);
            put(&ChatMessage { user_id: "ada".into(), seq, text, ..ChatMessage::default() }, &mut bytes);
        }
        put(&ChatMessage { event: Some(Event::Duplicate(Duplicate {})), ..ChatMessage::default() }, &mut bytes);
        let bytes = bytes.freeze();
        assert_eq!(whole(&bytes), bytes.len());
        assert!(whole(&bytes[..bytes.len() - 1]) < bytes.len() - 1);
        for cut in [1, 4, 5, 6, 100, 1_000] {
            let (mut reader, mut seen) = (Reader::default(), Vec::new());
            for chunk in bytes.chunks(cut) {
                reader.read(Bytes::copy_from_slice(chunk), |message| seen.push(message)).unwrap();
            }
            let seqs: Vec<_> = seen.iter().map(|message| (message.seq, message.text.len())).collect();
            assert_eq!(seqs, [(1, 100), (2, 200), (3, 300), (0, 0)], "cut at {cut}");
            assert!(seen[3].event.is_some() && seen[2].event.is_none());
        }
    }

    #[test]
    fn rubbish_is_an_error() {
        for rubbish in [&b"\x01\0\0\0\0"[..], b"\0\0\0\0\x02\x12\x7f", b"\0\0\0\0\x01\xff"] {
            assert!(Reader::default().read(Bytes::from_static(rubbish), |_| {}).is_err(), "{rubbish:?}");
        }
    }
}

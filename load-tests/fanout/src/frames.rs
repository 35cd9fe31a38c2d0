//! gRPC's length-prefixed messages, decoded only as far as the checks need.

use anyhow::{Context, Result, bail};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

use crate::proto::user::ChatMessage;

/// Length of a frame's header: the compression flag, and the message's length as four bytes in network order.
pub const HEADER: usize = 5;

/// Appends one message, framed.
pub fn put(message: &ChatMessage, to: &mut BytesMut) {
    let len = message.encoded_len();
    to.reserve(HEADER + len);
    to.put_u8(0);
    to.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    message.encode_raw(to);
}

/// Length of the whole frames at the start of these bytes.
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

/// Splits off the first frame, if it is whole.
pub fn split_first(bytes: &mut Bytes) -> Option<Bytes> {
    let len = frame_len(bytes)?;
    (len <= bytes.len()).then(|| bytes.split_to(len))
}

/// Length of the frame that begins here, if its header is complete.
fn frame_len(bytes: &[u8]) -> Option<usize> {
    let len: [u8; 4] = bytes.get(1..HEADER)?.try_into().ok()?;
    Some(HEADER + u32::from_be_bytes(len) as usize)
}

/// Reassembles messages from chunks of bytes.
#[derive(Debug, Default)]
pub struct Reader {
    rest: BytesMut,
}

/// The parts of a message that a subscriber checks.
#[derive(Debug)]
pub struct Seen<'a> {
    /// Its number in the room; 0 if it has none.
    pub seq: u64,
    /// Its text.
    pub text: &'a [u8],
    /// The whole message, if it is an event.
    pub event: Option<Box<ChatMessage>>,
}

impl Reader {
    /// Passes each whole message to `see`, and keeps the rest for the next chunk.
    pub fn read(&mut self, chunk: &[u8], mut see: impl FnMut(Seen<'_>)) -> Result<()> {
        if self.rest.is_empty() {
            let rest = read_whole(chunk, &mut see)?;
            self.rest.extend_from_slice(rest);
            return Ok(());
        }
        self.rest.extend_from_slice(chunk);
        let left = read_whole(&self.rest, &mut see)?.len();
        self.rest.advance(self.rest.len() - left);
        Ok(())
    }
}

/// Returns the bytes of the last frame, if it is not whole yet.
fn read_whole<'a>(mut bytes: &'a [u8], see: &mut impl FnMut(Seen<'_>)) -> Result<&'a [u8]> {
    while let Some((frame, rest)) = frame_len(bytes).and_then(|len| bytes.split_at_checked(len)) {
        let (header, message) = frame.split_at(HEADER);
        if header.first() != Some(&0) {
            bail!("a compressed message, although the client accepts none");
        }
        see(parse(message)?);
        bytes = rest;
    }
    Ok(bytes)
}

/// The field numbers of `user.ChatMessage` that are decoded.
const TEXT: u32 = 2;
const SEQ: u32 = 5;
const FIRST_EVENT: u32 = 16;

fn parse(message: &[u8]) -> Result<Seen<'_>> {
    let mut seen = Seen { seq: 0, text: &[], event: None };
    let mut rest = message;
    while rest.has_remaining() {
        let (tag, wire_type) = decode_key(&mut rest).context("malformed message")?;
        match (tag, wire_type) {
            (SEQ, WireType::Varint) => seen.seq = decode_varint(&mut rest)?,
            (TEXT, WireType::LengthDelimited) => {
                let len = usize::try_from(decode_varint(&mut rest)?)?;
                (seen.text, rest) = rest.split_at_checked(len).context("a text longer than its message")?;
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
    fn messages_survive_any_chunking() {
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
                let see = |message: Seen<'_>| seen.push((message.seq, message.text.len(), message.event.is_some()));
                reader.read(chunk, see).unwrap();
            }
            assert_eq!(seen, [(1, 100, false), (2, 200, false), (3, 300, false), (0, 0, true)], "cut at {cut}");
        }
    }

    #[test]
    fn malformed_input_is_an_error() {
        for malformed in [&b"\x01\0\0\0\0"[..], b"\0\0\0\0\x02\x12\x7f", b"\0\0\0\0\x01\xff"] {
            assert!(Reader::default().read(malformed, |_| {}).is_err(), "{malformed:?}");
        }
    }
}

//! What a bare server does wrong on purpose, to show that a load finds it.

use bytes::{Bytes, BytesMut};
use prost::Message;

use crate::{frames, proto::user::ChatMessage, stamp::Stamp};

/// One thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// Leaves a message out.
    Drop,
    /// Sends a message twice.
    Double,
    /// Sends a message after the one behind it.
    Reorder,
    /// Sends a message to a room in which nobody said it.
    Misroute,
    /// Ends, with all connections.
    Die,
    /// Takes everything and delivers nothing.
    Mute,
}

/// Does it to one message of all that pass, or from there on.
#[derive(Debug)]
pub struct Breaker {
    fault: Fault,
    passed: u64,
    kept: Option<Bytes>,
}

/// Which message it is.
const VICTIM: u64 = 50;

impl Breaker {
    /// Nothing has passed yet.
    pub fn new(fault: Fault) -> Self {
        Self { fault, passed: 0, kept: None }
    }

    /// What becomes of these whole frames. None: this is the end.
    pub fn pass(&mut self, mut chunk: Bytes) -> Option<Bytes> {
        let mut passed = BytesMut::new();
        while let Some(frame) = frames::split_first(&mut chunk) {
            self.passed += 1;
            match (self.fault, self.passed == VICTIM) {
                (Fault::Mute, _) | (Fault::Drop, true) => {}
                (_, false) => passed.extend_from_slice(&frame),
                (Fault::Double, true) => passed.extend_from_slice(&[&frame[..], &frame].concat()),
                (Fault::Reorder, true) => {
                    self.kept = Some(frame);
                    continue;
                }
                (Fault::Misroute, true) => passed.extend_from_slice(&misrouted(&frame).unwrap_or_default()),
                (Fault::Die, true) => return None,
            }
            if let Some(kept) = self.kept.take() {
                passed.extend_from_slice(&kept);
            }
        }
        Some(passed.freeze())
    }
}

/// The same message, but from another room.
fn misrouted(frame: &[u8]) -> Option<BytesMut> {
    let mut message = ChatMessage::decode(frame.get(frames::HEADER..)?).ok()?;
    let stamp = Stamp::of(message.text.as_bytes())?;
    message.text = Stamp { room: stamp.room + 1, ..stamp }.text(message.text.len());
    let mut misrouted = BytesMut::new();
    frames::put(&message, &mut misrouted);
    Some(misrouted)
}

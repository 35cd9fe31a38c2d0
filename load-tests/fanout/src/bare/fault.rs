//! Faults that the bare TCP server makes on purpose, to show that a load detects them.

use bytes::{Bytes, BytesMut};
use prost::Message;

use crate::{frames, proto::user::ChatMessage, stamp::Stamp};

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// Drops a message.
    Drop,
    /// Sends a message twice.
    Double,
    /// Swaps two successive messages.
    Reorder,
    /// Delivers a message to a room in which it was not published.
    Misroute,
    /// Ends, and closes all connections.
    Die,
    /// Accepts everything and delivers nothing.
    Mute,
}

/// Applies a fault to one message of those that pass; `Mute` to all of them.
#[derive(Debug)]
pub struct Breaker {
    fault: Fault,
    passed: u64,
    kept: Option<Bytes>,
}

/// The message that the fault is applied to, counted from 1.
const VICTIM: u64 = 50;

impl Breaker {
    /// Creates a breaker that no message has passed yet.
    pub fn new(fault: Fault) -> Self {
        Self { fault, passed: 0, kept: None }
    }

    /// Returns these whole frames with the fault applied. `None`: the server must end.
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

/// Returns the same message as if it came from another room.
fn misrouted(frame: &[u8]) -> Option<BytesMut> {
    let mut message = ChatMessage::decode(frame.get(frames::HEADER..)?).ok()?;
    let stamp = Stamp::of(message.text.as_bytes())?;
    message.text = Stamp { room: stamp.room + 1, ..stamp }.text(message.text.len());
    let mut misrouted = BytesMut::new();
    frames::put(&message, &mut misrouted);
    Some(misrouted)
}

//! What every text begins with: who published it, as which message, and when it was due.

use std::{sync::OnceLock, time::Instant};

/// A room, by number.
pub type Room = u32;

/// Says of a message where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// In which room it was published.
    pub room: Room,
    /// By which publisher.
    pub publisher: u32,
    /// As which of this publisher's messages in this room, from 0.
    pub nth: u64,
    /// When it was due, as [`now`] counts.
    pub due: u64,
}

impl Stamp {
    /// Bytes of a stamp. No text can be shorter.
    pub const LEN: usize = 8 + 8 + 16 + 16;

    /// A text of so many bytes that begins with this stamp.
    pub fn text(&self, size: usize) -> String {
        let Self { room, publisher, nth, due } = self;
        let mut text = format!("{room:08x}{publisher:08x}{nth:016x}{due:016x}");
        text.extend(std::iter::repeat_n('.', size.saturating_sub(Self::LEN)));
        text
    }

    /// The stamp of a text, if it begins with one.
    pub fn of(text: &[u8]) -> Option<Self> {
        let field = |from: usize, to: usize| {
            let digits = std::str::from_utf8(text.get(from..to)?).ok()?;
            u64::from_str_radix(digits, 16).ok()
        };
        Some(Self {
            room: u32::try_from(field(0, 8)?).ok()?,
            publisher: u32::try_from(field(8, 16)?).ok()?,
            nth: field(16, 32)?,
            due: field(32, 48)?,
        })
    }
}

/// Nanoseconds since this process first asked.
pub fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_its_text() {
        let stamp = Stamp { room: 7, publisher: 3, nth: u64::MAX, due: 12_345 };
        for size in [0, Stamp::LEN, 100] {
            let text = stamp.text(size);
            assert_eq!(text.len(), size.max(Stamp::LEN));
            assert_eq!(Stamp::of(text.as_bytes()), Some(stamp));
        }
        assert_eq!(Stamp::of(b"hello"), None);
        assert_eq!(Stamp::of(&[b'z'; 100]), None);
    }
}

//! The stamp at the start of every text: its room, publisher and number, and when it was due.

use std::{sync::OnceLock, time::Instant};

/// A room, by number.
pub type Room = u32;

/// Identifies a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The room in which it was published.
    pub room: Room,
    /// Its publisher.
    pub publisher: u32,
    /// Its number among this publisher's messages in this room, from 0.
    pub nth: u64,
    /// When it was due, in the nanoseconds of [`now`].
    pub due: u64,
}

/// Hexadecimal digits of each part. The time overflows after three days.
const ROOM: usize = 6;
const PUBLISHER: usize = 4;
const NTH: usize = 10;
const DUE: usize = 12;

impl Stamp {
    /// Length of a stamp in bytes. No text is shorter.
    pub const LEN: usize = ROOM + PUBLISHER + NTH + DUE;

    /// Returns a text of `size` bytes, or of [`LEN`](Self::LEN) if that is more, that begins with this stamp.
    pub fn text(&self, size: usize) -> String {
        let Self { room, publisher, nth, due } = self;
        let mut text = format!("{room:0ROOM$x}{publisher:0PUBLISHER$x}{nth:0NTH$x}{due:0DUE$x}");
        text.extend(std::iter::repeat_n('.', size.saturating_sub(Self::LEN)));
        text
    }

    /// Parses the stamp of a text. `None` if the text has none.
    pub fn of(text: &[u8]) -> Option<Self> {
        let (room, rest) = number::<ROOM>(text)?;
        let (publisher, rest) = number::<PUBLISHER>(rest)?;
        let (nth, rest) = number::<NTH>(rest)?;
        let (due, _) = number::<DUE>(rest)?;
        Some(Self { room: u32::try_from(room).ok()?, publisher: u32::try_from(publisher).ok()?, nth, due })
    }
}

/// Parses a number of `DIGITS` digits, and returns it with the rest of the text.
fn number<const DIGITS: usize>(text: &[u8]) -> Option<(u64, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<DIGITS>()?;
    let number = digits.iter().try_fold(0, |number, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(number << 4 | u64::from(digit))
    })?;
    Some((number, rest))
}

/// Nanoseconds since the first call in this process.
pub fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_its_text() {
        let stamp = Stamp { room: 7, publisher: 3, nth: 0xff_ffff_ffff, due: 12_345 };
        for size in [0, Stamp::LEN, 100] {
            let text = stamp.text(size);
            assert_eq!(text.len(), size.max(Stamp::LEN));
            assert_eq!(Stamp::of(text.as_bytes()), Some(stamp));
        }
        assert_eq!(Stamp::of(b"hello"), None);
        assert_eq!(Stamp::of(&[b'z'; 100]), None);
    }
}

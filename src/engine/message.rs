//! Messages on their way into the log, and in it.

use std::{
    borrow::Borrow,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A message that asks for a place in a room's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Where it is said.
    pub room: RoomName,
    /// Who says it.
    pub user_id: String,
    /// Names it within the room and user.
    pub id: String,
    /// The client gave the id: a second draft with it is a duplicate. Other ids cost no index.
    pub keyed: bool,
    /// What is said.
    pub text: String,
}

impl Draft {
    /// Its share of a queue, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.user_id.len() + self.id.len() + self.text.len()
    }
}

impl Draft {
    /// The record that it became.
    #[must_use]
    pub fn into_record(self, seq: u64, time: Time) -> Record {
        Record { room: self.room, seq, time, user_id: self.user_id, id: self.id, text: self.text }
    }
}

/// A message in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it was said.
    pub room: RoomName,
    /// Its place in the room.
    pub seq: u64,
    /// When it was given its place.
    pub time: Time,
    /// Who said it.
    pub user_id: String,
    /// Names it within the room and user.
    pub id: String,
    /// What was said.
    pub text: String,
}

impl Record {
    /// Its share of a page or a batch, in bytes, about.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.user_id.len() + self.id.len() + self.text.len()
    }
}

/// Something that happens in a room, and is forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// A user is typing.
    Typing {
        /// Who.
        user_id: String,
        /// The stream that said so, which is not told.
        stream: u64,
    },
}

/// A moment, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

impl Time {
    const NANOS: i64 = 1_000_000_000;

    /// The time of the system's clock, which may step back.
    #[must_use]
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
    }

    /// How long ago that was; nothing, if it is yet to come.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or_default())
    }

    /// So much later.
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Whole seconds.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(Self::NANOS)
    }

    /// Nanoseconds within the second.
    #[must_use]
    pub fn subsec_nanos(self) -> i32 {
        i32::try_from(self.0.rem_euclid(Self::NANOS)).unwrap_or_default()
    }
}

/// The name of a room: 1 to 64 of `a-z 0-9 . _ -`, starting with a letter or digit. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

/// A name that no room can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a room name is 1 to {} of a-z 0-9 . _ - and starts with a letter or digit", RoomName::MAX_LEN)]
pub struct BadRoomName;

impl RoomName {
    /// Bytes, and characters too.
    pub const MAX_LEN: usize = 64;

    /// Takes a name as it is, or not at all.
    pub fn new(name: &str) -> Result<Self, BadRoomName> {
        let letter_or_digit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let allowed = |byte: u8| letter_or_digit(byte) || matches!(byte, b'.' | b'_' | b'-');
        let starts_well = name.bytes().next().is_some_and(letter_or_digit);
        if starts_well && name.len() <= Self::MAX_LEN && name.bytes().all(allowed) {
            Ok(Self(name.into()))
        } else {
            Err(BadRoomName)
        }
    }

    /// Where everyone is who names no room.
    pub const LOBBY: &str = "lobby";

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for RoomName {
    fn default() -> Self {
        Self(Self::LOBBY.into())
    }
}

impl Borrow<str> for RoomName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_names_are_taken_as_they_are_or_refused() {
        let longest = "a".repeat(64);
        for good in ["lobby", "7", "a.b_c-d", longest.as_str()] {
            assert_eq!(RoomName::new(good).unwrap().as_str(), good);
        }
        let too_long = "a".repeat(65);
        for bad in ["", "Lobby", ".a", "-a", "_a", "a b", "a/b", "a\0", "ä", "a\u{200b}", too_long.as_str()] {
            assert_eq!(RoomName::new(bad), Err(BadRoomName), "{bad:?}");
        }
    }

    #[test]
    fn a_time_before_the_epoch_splits_into_seconds_and_positive_nanoseconds() {
        let time = Time(-1);
        assert_eq!((time.seconds(), time.subsec_nanos()), (-1, 999_999_999));
    }
}

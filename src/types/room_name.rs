//! Room names.

use std::{borrow::Borrow, fmt, sync::Arc};

/// The name of a room: 1 to 64 of `a-z 0-9 . _ -`, starting with a letter or digit. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

/// A string that is not a room name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a room name is 1 to {} of a-z 0-9 . _ - and starts with a letter or digit", RoomName::MAX_LEN)]
pub struct BadRoomName;

impl RoomName {
    /// Maximum length in bytes, which equals that in characters.
    pub const MAX_LEN: usize = 64;

    /// Checks a name; does not normalize it.
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

    /// The room of messages that name none.
    pub const LOBBY: &str = "lobby";

    /// Returns the name as a string.
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
    fn valid_room_names_are_kept_unchanged_and_others_refused() {
        let longest = "a".repeat(64);
        for good in ["lobby", "7", "a.b_c-d", longest.as_str()] {
            assert_eq!(RoomName::new(good).unwrap().as_str(), good);
        }
        let too_long = "a".repeat(65);
        for bad in ["", "Lobby", ".a", "-a", "_a", "a b", "a/b", "a\0", "ä", "a\u{200b}", too_long.as_str()] {
            assert_eq!(RoomName::new(bad), Err(BadRoomName), "{bad:?}");
        }
    }
}

//! Checks what a subscriber receives: every message of its rooms, once, in order.

use std::{
    collections::BTreeSet,
    fmt::{self, Display, Formatter},
};

use rustc_hash::FxHashMap;

use crate::stamp::{Room, Stamp};

/// A way in which a system broke its contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// A message is missing.
    Gap,
    /// A message was delivered twice.
    Duplicate,
    /// A message was delivered after a later one of the same publisher.
    Reordered,
    /// A `seq` was not above the previous one of its room.
    SeqWentBack,
    /// A message was delivered that was not published in this room.
    Foreign,
    /// The server sent an event that this load does not cause, such as `rejected` or `gap`.
    Unexpected,
    /// A stream ended before the load was over.
    Ended,
}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gap => "missing",
            Self::Duplicate => "delivered twice",
            Self::Reordered => "out of order",
            Self::SeqWentBack => "with a seq that does not increase",
            Self::Foreign => "that were not published",
            Self::Unexpected => "unexpected events",
            Self::Ended => "streams ended early",
        })
    }
}

/// What one subscriber has received.
#[derive(Debug)]
pub struct Check {
    rooms: FxHashMap<Room, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    last_seq: u64,
    publishers: FxHashMap<u32, Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    next: u64,
    /// Messages below `next` that have not been received.
    missing: BTreeSet<u64>,
}

/// Missing messages that are tracked one by one. Beyond this the stream is known to be broken, and the rest is only counted as missing.
const MISSING: u64 = 10_000;

impl Check {
    /// Creates the check of a subscriber that is in these rooms only.
    pub fn new(rooms: &[Room]) -> Self {
        Self { rooms: rooms.iter().map(|room| (*room, Seen::default())).collect() }
    }

    /// Checks a delivery. `seq`: `None` if the system has no sequence numbers.
    pub fn see(&mut self, seq: Option<u64>, stamp: &Stamp) -> Result<(), Violation> {
        let seen = self.rooms.get_mut(&stamp.room).ok_or(Violation::Foreign)?;
        let in_order = seq.is_none_or(|seq| seq > seen.last_seq);
        seen.last_seq = seen.last_seq.max(seq.unwrap_or(0));
        let progress = seen.publishers.entry(stamp.publisher).or_default();
        progress.see(stamp.nth)?;
        if in_order { Ok(()) } else { Err(Violation::SeqWentBack) }
    }

    /// Expects this publisher's messages from `first` on.
    pub fn begin(&mut self, room: Room, publisher: u32, first: u64) {
        let seen = self.rooms.entry(room).or_default();
        seen.publishers.insert(publisher, Progress { next: first, missing: BTreeSet::new() });
    }

    /// Number of messages that are missing of the `published` that this publisher sent to the room, in which the subscriber was throughout.
    pub fn missing(&self, room: Room, publisher: u32, published: u64) -> u64 {
        let progress = self.rooms.get(&room).and_then(|seen| seen.publishers.get(&publisher));
        progress.map_or(published, |progress| progress.missing.len() as u64 + published.saturating_sub(progress.next))
    }

    /// Number of messages received in a room that none of these publishers sent; each of them sent `published`.
    pub fn foreign(&self, room: Room, publishers: &[u32], published: u64) -> u64 {
        let came = self.rooms.get(&room).into_iter().flat_map(|seen| &seen.publishers);
        came.map(|(publisher, progress)| {
            let most = if publishers.contains(publisher) { published } else { 0 };
            progress.next.saturating_sub(most)
        })
        .sum()
    }
}

impl Progress {
    fn see(&mut self, nth: u64) -> Result<(), Violation> {
        if nth >= self.next {
            let skipped = (nth - self.next).min(MISSING.saturating_sub(self.missing.len() as u64));
            self.missing.extend(nth - skipped..nth);
            self.next = nth + 1;
            return Ok(());
        }
        if self.missing.remove(&nth) { Err(Violation::Reordered) } else { Err(Violation::Duplicate) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The violations in these messages, `(seq, nth)`, and how many of four are missing.
    fn verdict(messages: &[(u64, u64)]) -> (Vec<Violation>, u64) {
        let mut check = Check::new(&[1]);
        let see =
            |(seq, nth): &(u64, u64)| check.see(Some(*seq), &Stamp { room: 1, publisher: 0, nth: *nth, due: 0 }).err();
        let violations = messages.iter().filter_map(see).collect();
        (violations, check.missing(1, 0, 4))
    }

    #[test]
    fn a_whole_stream_passes() {
        assert_eq!(verdict(&[(1, 0), (2, 1), (5, 2), (9, 3)]), (vec![], 0));
    }

    #[test]
    fn a_dropped_message_is_missing_wherever_it_was() {
        for dropped in 0..4 {
            let left: Vec<_> = (0..4).filter(|n| *n != dropped).map(|n| (n + 1, n)).collect();
            assert_eq!(verdict(&left), (vec![], 1), "without {dropped}");
        }
        assert_eq!(verdict(&[]), (vec![], 4));
    }

    #[test]
    fn a_duplicate_is_detected() {
        assert_eq!(verdict(&[(1, 0), (2, 1), (3, 1), (4, 2), (5, 3)]), (vec![Violation::Duplicate], 0));
        assert_eq!(verdict(&[(1, 0), (2, 1), (3, 2), (4, 3), (4, 3)]), (vec![Violation::Duplicate], 0));
    }

    #[test]
    fn a_reordered_message_is_detected() {
        assert_eq!(verdict(&[(1, 0), (2, 2), (3, 1), (4, 3)]), (vec![Violation::Reordered], 0));
    }

    #[test]
    fn a_seq_that_does_not_increase_is_detected() {
        assert_eq!(verdict(&[(1, 0), (3, 1), (2, 2), (4, 3)]), (vec![Violation::SeqWentBack], 0));
        assert_eq!(verdict(&[(1, 0), (2, 1), (2, 2), (4, 3)]), (vec![Violation::SeqWentBack], 0));
    }

    #[test]
    fn rooms_and_publishers_are_checked_separately() {
        let mut check = Check::new(&[1, 2]);
        for (room, publisher, nth) in [(1, 0, 0), (1, 1, 0), (2, 0, 0), (1, 0, 1), (2, 0, 1), (1, 1, 1)] {
            assert_eq!(check.see(None, &Stamp { room, publisher, nth, due: 0 }), Ok(()));
        }
        assert_eq!(check.missing(2, 1, 1), 1);
        assert_eq!(check.missing(1, 1, 2), 0);
    }

    #[test]
    fn a_message_that_was_not_published_in_a_room_is_detected() {
        let mut check = Check::new(&[1]);
        let stamp = |room, publisher, nth| Stamp { room, publisher, nth, due: 0 };
        assert_eq!(check.see(None, &stamp(2, 0, 0)), Err(Violation::Foreign), "another room");
        for (publisher, nth) in [(0, 0), (0, 1), (5, 0)] {
            assert_eq!(check.see(None, &stamp(1, publisher, nth)), Ok(()));
        }
        assert_eq!(check.foreign(1, &[0, 5], 2), 0);
        assert_eq!(check.foreign(1, &[0], 2), 1, "another publisher");
        assert_eq!(check.foreign(1, &[0, 5], 1), 1, "more than were published");
    }

    #[test]
    fn a_late_subscriber_is_not_missing_earlier_messages() {
        let mut check = Check::new(&[1]);
        check.begin(1, 0, 2);
        assert_eq!(check.see(None, &Stamp { room: 1, publisher: 0, nth: 2, due: 0 }), Ok(()));
        assert_eq!(check.missing(1, 0, 4), 1);
    }
}

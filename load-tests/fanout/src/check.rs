//! What every subscriber holds its system to: each room's messages all there, once, in order.

use std::{
    collections::BTreeSet,
    fmt::{self, Display, Formatter},
};

use rustc_hash::FxHashMap;

use crate::stamp::{Room, Stamp};

/// What a system did that it must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// A message never came.
    Gap,
    /// A message came twice.
    Duplicate,
    /// A message came after a later one of the same publisher.
    Reordered,
    /// A `seq` was not above the one before it in its room.
    SeqWentBack,
    /// A message that nobody published.
    Foreign,
    /// A word of the server that this load does not call for, such as `rejected` or `gap`.
    Unexpected,
    /// A stream ended before it was told to.
    Ended,
}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gap => "missing",
            Self::Duplicate => "delivered twice",
            Self::Reordered => "out of order",
            Self::SeqWentBack => "with a seq that went back",
            Self::Foreign => "that nobody published",
            Self::Unexpected => "unexpected words of the server",
            Self::Ended => "streams ended early",
        })
    }
}

/// What one subscriber has seen.
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
    /// Below `next`, and not seen yet.
    missing: BTreeSet<u64>,
}

/// A stream that misses more has been shown to be broken; what it misses beyond is not told apart any more.
const MISSING: u64 = 10_000;

impl Check {
    /// Of a subscriber that is in these rooms, and in no other.
    pub fn new(rooms: &[Room]) -> Self {
        Self { rooms: rooms.iter().map(|room| (*room, Seen::default())).collect() }
    }

    /// A delivery, with its `seq` where the system has such.
    pub fn see(&mut self, seq: Option<u64>, stamp: &Stamp) -> Result<(), Violation> {
        let seen = self.rooms.get_mut(&stamp.room).ok_or(Violation::Foreign)?;
        let in_order = seq.is_none_or(|seq| seq > seen.last_seq);
        seen.last_seq = seen.last_seq.max(seq.unwrap_or(0));
        let progress = seen.publishers.entry(stamp.publisher).or_default();
        progress.see(stamp.nth)?;
        if in_order { Ok(()) } else { Err(Violation::SeqWentBack) }
    }

    /// The subscriber is told of this publisher's messages from `first` on.
    pub fn begin(&mut self, room: Room, publisher: u32, first: u64) {
        let seen = self.rooms.entry(room).or_default();
        seen.publishers.insert(publisher, Progress { next: first, missing: BTreeSet::new() });
    }

    /// Messages that a publisher published, in a room that the subscriber was in all the time, and that never came.
    pub fn missing(&self, room: Room, publisher: u32, published: u64) -> u64 {
        let progress = self.rooms.get(&room).and_then(|seen| seen.publishers.get(&publisher));
        progress.map_or(published, |progress| progress.missing.len() as u64 + published.saturating_sub(progress.next))
    }

    /// Messages of a room that came although none of these publishers, who published so many each, has published them.
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

    /// What a subscriber says of these messages, `(seq, nth)`, of which there were four.
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
    fn what_was_dropped_is_missed_wherever_it_was() {
        for dropped in 0..4 {
            let left: Vec<_> = (0..4).filter(|n| *n != dropped).map(|n| (n + 1, n)).collect();
            assert_eq!(verdict(&left), (vec![], 1), "without {dropped}");
        }
        assert_eq!(verdict(&[]), (vec![], 4));
    }

    #[test]
    fn what_was_doubled_is_found() {
        assert_eq!(verdict(&[(1, 0), (2, 1), (3, 1), (4, 2), (5, 3)]), (vec![Violation::Duplicate], 0));
        assert_eq!(verdict(&[(1, 0), (2, 1), (3, 2), (4, 3), (4, 3)]), (vec![Violation::Duplicate], 0));
    }

    #[test]
    fn what_was_reordered_is_found() {
        assert_eq!(verdict(&[(1, 0), (2, 2), (3, 1), (4, 3)]), (vec![Violation::Reordered], 0));
    }

    #[test]
    fn a_seq_that_goes_back_or_stands_still_is_found() {
        assert_eq!(verdict(&[(1, 0), (3, 1), (2, 2), (4, 3)]), (vec![Violation::SeqWentBack], 0));
        assert_eq!(verdict(&[(1, 0), (2, 1), (2, 2), (4, 3)]), (vec![Violation::SeqWentBack], 0));
    }

    #[test]
    fn rooms_and_publishers_are_told_apart() {
        let mut check = Check::new(&[1, 2]);
        for (room, publisher, nth) in [(1, 0, 0), (1, 1, 0), (2, 0, 0), (1, 0, 1), (2, 0, 1), (1, 1, 1)] {
            assert_eq!(check.see(None, &Stamp { room, publisher, nth, due: 0 }), Ok(()));
        }
        assert_eq!(check.missing(2, 1, 1), 1);
        assert_eq!(check.missing(1, 1, 2), 0);
    }

    #[test]
    fn what_nobody_published_in_a_room_is_found() {
        let mut check = Check::new(&[1]);
        let stamp = |room, publisher, nth| Stamp { room, publisher, nth, due: 0 };
        assert_eq!(check.see(None, &stamp(2, 0, 0)), Err(Violation::Foreign), "another room");
        for (publisher, nth) in [(0, 0), (0, 1), (5, 0)] {
            assert_eq!(check.see(None, &stamp(1, publisher, nth)), Ok(()));
        }
        assert_eq!(check.foreign(1, &[0, 5], 2), 0);
        assert_eq!(check.foreign(1, &[0], 2), 1, "another publisher");
        assert_eq!(check.foreign(1, &[0, 5], 1), 1, "more than was published");
    }

    #[test]
    fn who_comes_later_misses_nothing_of_before() {
        let mut check = Check::new(&[1]);
        check.begin(1, 0, 2);
        assert_eq!(check.see(None, &Stamp { room: 1, publisher: 0, nth: 2, due: 0 }), Ok(()));
        assert_eq!(check.missing(1, 0, 4), 1);
    }
}

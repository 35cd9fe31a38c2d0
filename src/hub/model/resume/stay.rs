//! What a subscriber must receive during one stay in a room.

use std::mem;

use crate::{
    hub::{JoinStart, model::numbers::Numbers},
    proto::user::{ChatMessage, Joined, chat_message::Event},
};

/// The most that retention may have removed from a room so far. A reader may receive a `gap` for it at any time, and for nothing else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    up_to: u64,
    /// Messages that are always kept; 0: all.
    keep: u64,
    numbers: Numbers,
}

impl Taken {
    /// Of a room to which this many messages were published.
    pub(super) fn of(count: u64, keep: u64, numbers: Numbers) -> Self {
        let up_to = if keep == 0 { 0 } else { numbers.seq(count.saturating_sub(keep)) };
        Self { up_to, keep, numbers }
    }
}

/// One stay of a subscriber in a room, and what it received there.
pub(super) struct Stay {
    start: JoinStart,
    /// The last number acknowledged before the join.
    least_head: u64,
    /// Whether `joined` was received, which must come first.
    joined: bool,
    /// What must come next.
    pub(super) next: Next,
    /// Everything up to this number was delivered, reported as a gap, or not requested.
    pub(super) cursor: u64,
    /// The first message may be a later one, because retention was faster.
    may_skip: bool,
    pub(super) seen: Vec<(u64, String)>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Next {
    Joined,
    Gap { to: GapEnd },
    Records,
}

#[derive(Debug, PartialEq)]
pub(super) enum GapEnd {
    Exactly(u64),
    AtMost(u64),
}

/// Where delivery begins.
enum Begin {
    At(u64),
    /// After a gap.
    Missing {
        from: u64,
        to: GapEnd,
    },
}

impl Stay {
    pub(super) fn new(start: JoinStart, least_head: u64) -> Self {
        Self { start, least_head, joined: false, next: Next::Joined, cursor: 0, may_skip: false, seen: Vec::new() }
    }

    pub(super) fn hear(&mut self, message: ChatMessage, epoch: &str, taken: Taken) {
        let ChatMessage { seq, text, event, .. } = message;
        let numbers = taken.numbers;
        match event {
            Some(Event::Joined(joined)) => {
                assert_eq!(self.next, Next::Joined, "joined comes once, and first");
                assert_eq!(joined.epoch, epoch);
                assert!(
                    joined.head_seq >= self.least_head,
                    "{} is durable, but the head is {joined:?}",
                    self.least_head
                );
                let count = numbers.count(joined.head_seq);
                assert_eq!(numbers.seq(count), joined.head_seq, "the head is the number of a record");
                let taken = Taken::of(count, taken.keep, numbers);
                let begin = begin(&self.start, &joined, epoch, taken);
                self.joined = true;
                (self.cursor, self.next) = match begin {
                    Begin::At(cursor) => (cursor, Next::Records),
                    Begin::Missing { from, to } => (from, Next::Gap { to }),
                };
                // Of the last messages, retention may have removed some.
                self.may_skip = matches!(self.start, JoinStart::Last(_));
            }
            Some(Event::Gap(gap)) => {
                let skipped = mem::take(&mut self.may_skip) && gap.from_seq <= taken.up_to + 1;
                let follows = gap.from_seq > self.cursor && gap.from_seq <= numbers.next(self.cursor);
                assert!(follows || skipped, "{gap:?} does not begin behind {}", self.cursor);
                match self.next {
                    Next::Gap { to: GapEnd::Exactly(to) } => assert_eq!(gap.to_seq, to),
                    Next::Gap { to: GapEnd::AtMost(to) } => assert!(gap.to_seq <= to, "{gap:?} is kept above {to}"),
                    // A gap may also come later, when retention overtakes the reader.
                    _ => assert!(self.joined && gap.to_seq <= taken.up_to, "nothing is missing there: {gap:?}"),
                }
                self.cursor = gap.to_seq;
                self.next = Next::Records;
            }
            None => {
                assert_eq!(self.next, Next::Records, "{seq} comes too early");
                let skipped = mem::take(&mut self.may_skip) && seq <= numbers.next(taken.up_to);
                assert!(
                    seq == numbers.next(self.cursor) || skipped,
                    "{seq} after {}: a record is missing",
                    self.cursor
                );
                self.cursor = seq;
                self.seen.push((seq, text));
            }
            Some(other) => panic!("{other:?}"),
        }
    }
}

/// Where delivery begins, according to `joined`.
fn begin(start: &JoinStart, joined: &Joined, epoch: &str, taken: Taken) -> Begin {
    let head = joined.head_seq;
    let whole = |cursor| {
        assert!(joined.recovered, "{start:?}: {joined:?}");
        Begin::At(cursor)
    };
    match start {
        JoinStart::Live => whole(head),
        JoinStart::Last(count) => {
            let numbers = taken.numbers;
            whole(numbers.seq(numbers.count(head).saturating_sub(*count as u64)))
        }
        JoinStart::After { seq, epoch: named } if (!named.is_empty() && named != epoch) || *seq > head => {
            assert!(!joined.recovered, "{start:?}: {joined:?}");
            if head == 0 { Begin::At(0) } else { Begin::Missing { from: 0, to: GapEnd::Exactly(head) } }
        }
        JoinStart::After { seq, .. } if joined.recovered => Begin::At(*seq),
        JoinStart::After { seq, .. } => {
            assert!(*seq < taken.up_to, "{start:?}: everything is kept: {joined:?}");
            Begin::Missing { from: *seq, to: GapEnd::AtMost(taken.up_to) }
        }
    }
}

//! One stay of a subscriber in a room, as the model follows it.

use crate::{
    hub::Start,
    proto::user::{ChatMessage, chat_message::Event},
};

/// What retention may have taken of a room: a reader is told of it by a `gap` at any time, and it is all that a `gap` may cover. As long
/// as nothing is ever taken, this is nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taken {
    pub(super) up_to: u64,
}

/// One stay of a subscriber in a room, and what it was told there.
pub(super) struct Stay {
    start: Start,
    /// What was surely in the log when it entered.
    least_head: u64,
    /// Nothing, until it was told `joined`.
    joined: bool,
    /// What must come next.
    pub(super) next: Next,
    /// Everything up to here was delivered, told as a gap, or not asked for.
    pub(super) cursor: u64,
    pub(super) seen: Vec<(u64, String)>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Next {
    Joined,
    Gap { to: u64 },
    Records,
}

impl Stay {
    pub(super) fn new(start: Start, least_head: u64) -> Self {
        Self { start, least_head, joined: false, next: Next::Joined, cursor: 0, seen: Vec::new() }
    }

    pub(super) fn hear(&mut self, message: ChatMessage, epoch: &str, taken: Taken) {
        let ChatMessage { seq, text, event, .. } = message;
        match event {
            Some(Event::Joined(joined)) => {
                assert_eq!(self.next, Next::Joined, "told once, and first");
                assert_eq!(joined.epoch, epoch);
                assert!(
                    joined.head_seq >= self.least_head,
                    "{} is durable, but the head is {joined:?}",
                    self.least_head
                );
                let (cursor, gap) = begin(&self.start, joined.head_seq, epoch, taken);
                assert_eq!(joined.recovered, gap.is_none() && cursor.is_some(), "{:?} {joined:?}", self.start);
                self.joined = true;
                self.cursor = cursor.unwrap_or(joined.head_seq);
                self.next = Next::Records;
                if let Some(to) = gap {
                    if let (Start::After { seq, .. }, Some(_)) = (&self.start, cursor) {
                        self.cursor = *seq;
                    } else {
                        self.cursor = 0;
                    }
                    self.next = Next::Gap { to };
                }
            }
            Some(Event::Gap(gap)) => {
                assert_eq!(gap.from_seq, self.cursor + 1, "a gap begins where the reader stands");
                match self.next {
                    Next::Gap { to } => assert_eq!(gap.to_seq, to),
                    // It may come later: retention overtakes a reader.
                    _ => assert!(self.joined && gap.to_seq <= taken.up_to, "nothing is missing there: {gap:?}"),
                }
                self.cursor = gap.to_seq;
                self.next = Next::Records;
            }
            None => {
                assert_eq!(self.next, Next::Records, "{seq} comes too early");
                assert_eq!(seq, self.cursor + 1, "here a room's numbers have no holes");
                self.cursor = seq;
                self.seen.push((seq, text));
            }
            Some(other) => panic!("{other:?}"),
        }
    }
}

/// Where delivery begins, and up to where a gap is told before that. No beginning: another log's numbers.
fn begin(start: &Start, head: u64, epoch: &str, taken: Taken) -> (Option<u64>, Option<u64>) {
    match start {
        Start::Live => (Some(head), None),
        Start::Last(count) => (Some(head.saturating_sub(*count as u64).max(taken.up_to)), None),
        Start::After { seq, epoch: named } if (!named.is_empty() && named != epoch) || *seq > head => {
            (None, (head > 0).then_some(head))
        }
        Start::After { seq, .. } if *seq < taken.up_to => (Some(taken.up_to), Some(taken.up_to)),
        Start::After { seq, .. } => (Some(*seq), None),
    }
}

//! Which rooms of a stream have woken it, so that a wake-up touches no other room.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Wake, Waker},
};

use crate::lifecycle::RequestHandle;

/// What to poll of a stream: a bit for each room. Lock-free, since every delivery sets a bit and clears it.
#[derive(Debug)]
pub(super) struct Ready {
    /// Something other than a room was woken.
    other: AtomicBool,
    stream: RequestHandle,
    /// The room with index 0 is the lowest bit of the first word.
    rooms: Box<[AtomicU64]>,
}

const BITS: usize = u64::BITS as usize;

impl Ready {
    /// For a stream that may be in `rooms` rooms. Everything but the rooms is marked at first.
    pub(super) fn new(stream: RequestHandle, rooms: usize) -> Self {
        let rooms = (0..rooms.div_ceil(BITS)).map(|_| AtomicU64::new(0)).collect();
        Self { other: AtomicBool::new(true), stream, rooms }
    }

    /// A waker that marks this room, and wakes the stream.
    pub(super) fn waker(self: &Arc<Self>, room: usize) -> Waker {
        Waker::from(Arc::new(RoomWaker { room, ready: Arc::clone(self) }))
    }

    /// Marks a room. Returns `false` if it was marked already.
    pub(super) fn add(&self, room: usize) -> bool {
        let bit = 1 << (room % BITS);
        self.rooms.get(room / BITS).is_some_and(|word| word.fetch_or(bit, Ordering::AcqRel) & bit == 0)
    }

    /// Takes the next marked room among the first `rooms`, beginning after `last`.
    pub(super) fn take(&self, last: usize, rooms: usize) -> Option<usize> {
        let room = self.find(last + 1, rooms).or_else(|| self.find(0, rooms))?;
        self.rooms.get(room / BITS)?.fetch_and(!(1 << (room % BITS)), Ordering::AcqRel);
        Some(room)
    }

    fn find(&self, from: usize, to: usize) -> Option<usize> {
        let words = self.rooms.get(..to.div_ceil(BITS))?.iter().enumerate();
        words.skip(from / BITS).find_map(|(index, word)| {
            let mask = if index == from / BITS { !0 << (from % BITS) } else { !0 };
            let marked = word.load(Ordering::Acquire) & mask;
            (marked != 0).then(|| index * BITS + marked.trailing_zeros() as usize)
        })
    }

    /// Whether something other than a room was woken since the last call.
    pub(super) fn take_other(&self) -> bool {
        self.other.load(Ordering::Acquire) && self.other.swap(false, Ordering::AcqRel)
    }
}

/// The waker for everything but the rooms.
impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.other.store(true, Ordering::Release);
        self.stream.wake();
    }
}

#[derive(Debug)]
struct RoomWaker {
    room: usize,
    ready: Arc<Ready>,
}

impl Wake for RoomWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A room that is marked already has woken the stream, which has not taken it yet.
        if self.ready.add(self.room) {
            self.ready.stream.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_take_turns_and_each_is_taken_once() {
        let ready = Arc::new(Ready::new(RequestHandle::default(), 200));
        for room in [70, 2, 199, 0, 2, 63, 64] {
            ready.waker(room).wake();
        }
        let mut before = 62;
        let taken: Vec<_> = std::iter::from_fn(|| {
            before = ready.take(before, 200)?;
            Some(before)
        })
        .collect();
        assert_eq!(taken, [63, 64, 70, 199, 0, 2]);
        ready.waker(2).wake();
        assert_eq!(ready.take(2, 200), Some(2), "a room that was taken can wake again");
        ready.waker(2).wake();
        assert_eq!(ready.take(199, 3), Some(2), "`last` may be beyond the rooms");
    }

    #[test]
    fn wake_ups_of_rooms_and_of_anything_else_are_told_apart() {
        let ready = Arc::new(Ready::new(RequestHandle::default(), 1));
        assert!(ready.take_other(), "a new stream polls everything");
        assert!(!ready.take_other());
        Waker::from(Arc::clone(&ready)).wake();
        assert_eq!(ready.take(0, 1), None);
        assert!(ready.take_other());
    }
}

//! A subscriber: checks and counts its deliveries.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    check::{Check, Violation},
    stamp::{Room, Stamp, now},
    tally::Tally,
};

/// A subscriber, shared by its stream and the run.
#[derive(Debug, Clone)]
pub struct Subscriber(Arc<Mutex<State>>);

/// A locked subscriber, while it processes one chunk.
#[derive(Debug)]
pub struct State {
    number: usize,
    tally: Arc<Tally>,
    check: Check,
    received: u64,
    /// Messages per block; 0 disables blocks.
    block: u64,
    /// When the current chunk arrived.
    arrived_at: u64,
    latencies: Vec<u64>,
    leaving: bool,
}

impl Subscriber {
    /// Creates the subscriber with this number, from 0, in these rooms. `block`: messages per block; 0 disables blocks.
    pub fn new(number: usize, rooms: &[Room], tally: &Arc<Tally>, block: u64) -> Self {
        let (check, latencies) = (Check::new(rooms), Vec::new());
        let state = State {
            number,
            tally: Arc::clone(tally),
            check,
            received: 0,
            block,
            arrived_at: 0,
            latencies,
            leaving: false,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Locks the subscriber to process one chunk. Call [`State::settle`] after the chunk.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.arrived_at = now();
        state
    }

    /// Marks the subscriber as leaving: the end of its stream is no longer a violation.
    pub fn leave(&self) {
        self.lock().leaving = true;
    }

    /// Records the end of the stream, which is a violation unless the subscriber is leaving.
    pub fn ended(&self, why: &str) {
        let state = self.lock();
        if !state.leaving {
            state.tally.violation(Violation::Ended, 1, || format!("subscriber {}: {why}", state.number));
        }
    }

    /// Counts the messages that are missing of the `published` that a publisher sent to a room, in which the subscriber was throughout.
    pub fn count_missing(&self, room: Room, publisher: u32, published: u64) {
        let state = self.lock();
        let missing = state.check.missing(room, publisher, published);
        state.count(Violation::Gap, missing, room);
    }

    /// Counts the messages that none of these publishers sent; each of them sent `published`.
    pub fn count_foreign(&self, room: Room, publishers: &[u32], published: u64) {
        let state = self.lock();
        let foreign = state.check.foreign(room, publishers, published);
        state.count(Violation::Foreign, foreign, room);
    }
}

impl State {
    /// Records a delivery. `seq`: `None` if the system has no sequence numbers.
    pub fn delivery(&mut self, seq: Option<u64>, text: &[u8]) {
        let Some(stamp) = Stamp::of(text) else {
            let example = || format!("subscriber {}: {}", self.number, String::from_utf8_lossy(text));
            return self.tally.violation(Violation::Foreign, 1, example);
        };
        if let Err(violation) = self.check.see(seq, &stamp) {
            self.tally.violation(violation, 1, || format!("subscriber {}, seq {seq:?}, {stamp:?}", self.number));
        }
        self.latencies.push(self.arrived_at.saturating_sub(stamp.due));
    }

    fn count(&self, violation: Violation, count: u64, room: Room) {
        if count > 0 {
            self.tally.violation(violation, count, || format!("subscriber {}, room {room}", self.number));
        }
    }

    /// Records an event of the server that this load does not cause.
    pub fn unexpected(&mut self, what: &str) {
        self.tally.violation(Violation::Unexpected, 1, || format!("subscriber {}: {what}", self.number));
    }

    /// Adds the chunk's deliveries to the tally.
    pub fn settle(&mut self) {
        self.tally.record(self.number, &self.latencies);
        let before = self.received;
        self.received += self.latencies.len() as u64;
        if let (Some(got), Some(gets)) = (before.checked_div(self.block), self.received.checked_div(self.block)) {
            self.tally.got_blocks(got..gets);
        }
        self.latencies.clear();
    }

    /// The check, for loads that need its details.
    pub fn check(&mut self) -> &mut Check {
        &mut self.check
    }
}

//! One subscriber: takes what comes, checks it, and counts it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    check::{Check, Violation},
    stamp::{Room, Stamp, now},
    tally::Tally,
};

/// A subscriber that its stream and the run both hold.
#[derive(Debug, Clone)]
pub struct Subscriber(Arc<Mutex<State>>);

/// One subscriber while it takes what came in one go.
#[derive(Debug)]
pub struct State {
    number: usize,
    tally: Arc<Tally>,
    check: Check,
    received: u64,
    /// Messages of a block; 0: blocks do not count.
    block: u64,
    /// When what is taken now came.
    came: u64,
    latencies: Vec<u64>,
    leaving: bool,
}

impl Subscriber {
    /// The subscriber of this number, from 0, in these rooms, for whom so many messages are a block; 0: nobody waits for blocks.
    pub fn new(number: usize, rooms: &[Room], tally: &Arc<Tally>, block: u64) -> Self {
        let (check, latencies) = (Check::new(rooms), Vec::new());
        let state =
            State { number, tally: Arc::clone(tally), check, received: 0, block, came: 0, latencies, leaving: false };
        Self(Arc::new(Mutex::new(state)))
    }

    /// For what came in one go: [`State::settle`] ends it.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.came = now();
        state
    }

    /// From now on it is no fault if its stream ends.
    pub fn leave(&self) {
        self.lock().leaving = true;
    }

    /// The stream has ended.
    pub fn ended(&self, why: &str) {
        let state = self.lock();
        if !state.leaving {
            state.tally.violation(Violation::Ended, 1, || format!("subscriber {}: {why}", state.number));
        }
    }

    /// Counts what was published, in a room in which it was all the time, and never came.
    pub fn count_missing(&self, room: Room, publisher: u32, published: u64) {
        let state = self.lock();
        let missing = state.check.missing(room, publisher, published);
        state.count(Violation::Gap, missing, room);
    }

    /// Counts what came although none of these, who published so many each, has published it.
    pub fn count_foreign(&self, room: Room, publishers: &[u32], published: u64) {
        let state = self.lock();
        let foreign = state.check.foreign(room, publishers, published);
        state.count(Violation::Foreign, foreign, room);
    }
}

impl State {
    /// A delivery, with its `seq` where the system has such.
    pub fn delivery(&mut self, seq: Option<u64>, text: &[u8]) {
        let Some(stamp) = Stamp::of(text) else {
            let example = || format!("subscriber {}: {}", self.number, String::from_utf8_lossy(text));
            return self.tally.violation(Violation::Foreign, 1, example);
        };
        if let Err(violation) = self.check.see(seq, &stamp) {
            self.tally.violation(violation, 1, || format!("subscriber {}, seq {seq:?}, {stamp:?}", self.number));
        }
        self.latencies.push(self.came.saturating_sub(stamp.due));
    }

    fn count(&self, violation: Violation, count: u64, room: Room) {
        if count > 0 {
            self.tally.violation(violation, count, || format!("subscriber {}, room {room}", self.number));
        }
    }

    /// The server said something that this load does not call for.
    pub fn unexpected(&mut self, what: &str) {
        self.tally.violation(Violation::Unexpected, 1, || format!("subscriber {}: {what}", self.number));
    }

    /// Counts what came.
    pub fn settle(&mut self) {
        self.tally.record(self.number, &self.latencies);
        let before = self.received;
        self.received += self.latencies.len() as u64;
        if let (Some(got), Some(gets)) = (before.checked_div(self.block), self.received.checked_div(self.block)) {
            self.tally.got_blocks(got..gets);
        }
        self.latencies.clear();
    }

    /// The checks, for loads that look further.
    pub fn check(&mut self) -> &mut Check {
        &mut self.check
    }
}

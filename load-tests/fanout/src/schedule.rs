//! The schedule of an open loop: each message is due at a fixed time, whether or not earlier ones were delivered.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::stamp::now;

/// A message that is due.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    /// Its number, from 0.
    pub nth: u64,
    /// When it was due, in the nanoseconds of [`now`].
    pub at: u64,
}

/// Rounds up to whole messages; at least one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is never negative")]
pub fn messages(number: f64) -> u64 {
    number.ceil().max(1.0) as u64
}

/// Yields this number of messages at an even rate. A dedicated thread keeps the time: the runtime's timers have a resolution of a
/// millisecond, which would count as latency. A message waits for a receiver that is late, and keeps the time at which it was due.
pub fn evenly(messages: u64, per_second: f64) -> mpsc::UnboundedReceiver<Due> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the schedule must not wait for a late receiver; its length is bounded by the load"
    )]
    let (sender, receiver) = mpsc::unbounded_channel();
    let (start, began) = (now(), Instant::now());
    thread::spawn(move || {
        for nth in 0..messages {
            let after = Duration::from_secs_f64(nth as f64 / per_second);
            #[expect(clippy::disallowed_methods, reason = "a dedicated thread whose work is to wait")]
            thread::sleep(after.saturating_sub(began.elapsed()));
            let at = start.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
            if sender.send(Due { nth, at }).is_err() {
                return;
            }
        }
    });
    receiver
}

//! When messages are due in an open loop: at their times, whatever became of those before.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::stamp::now;

/// What is due: which message, and since when, as [`now`] counts.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    /// From 0.
    pub nth: u64,
    /// When it was due.
    pub at: u64,
}

/// Whole messages, at least one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as many as fit, and none below zero")]
pub fn messages(number: f64) -> u64 {
    number.ceil().max(1.0) as u64
}

/// So many messages, so many a second, evenly. A thread of its own tells the time: the timers of the runtime are exact to a millisecond,
/// which would count as latency. What is due waits for whoever is late, and counts from when it was due.
pub fn evenly(messages: u64, per_second: f64) -> mpsc::UnboundedReceiver<Due> {
    #[expect(clippy::disallowed_methods, reason = "what is due does not wait for who is late; it ends with the load")]
    let (sender, receiver) = mpsc::unbounded_channel();
    let (start, began) = (now(), Instant::now());
    thread::spawn(move || {
        for nth in 0..messages {
            let after = Duration::from_secs_f64(nth as f64 / per_second);
            #[expect(clippy::disallowed_methods, reason = "a thread of its own, and this is its work")]
            thread::sleep(after.saturating_sub(began.elapsed()));
            let at = start.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
            if sender.send(Due { nth, at }).is_err() {
                return;
            }
        }
    });
    receiver
}

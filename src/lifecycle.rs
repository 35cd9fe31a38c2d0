//! The streams of the server as seen from outside: how they are told to end, and made to.
//!
//! Whatever ends a stream from outside goes through its [`RequestHandle`]: it asks the body to end with a status, and after a moment of grace the
//! stream's whole task is dropped, which resets it. A body whose client does not read is not asked any more by hyper, so it cannot
//! answer: that is how a client is found that has read nothing for too long.

mod pass;

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
pub use pass::Pass;

/// How long a body may take to end with a status of its own.
const GRACE: Duration = Duration::from_secs(1);

/// How often is looked at the streams.
const ROUND: Duration = Duration::from_secs(1);

tokio::task_local! {
    static CURRENT: RequestHandle;
}

/// Why a stream is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Its client has read nothing for too long.
    SlowReader,
    /// The token that it came with, or went on with, has expired.
    TokenExpired,
    /// The user whose token it came with is gone.
    UserDeleted,
    /// The user managed users when it began, and does so no more.
    RightsLost,
}

/// One stream, or a connection, which is told and dropped alike. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct RequestHandle(Arc<State>);

#[derive(Debug)]
struct State {
    began: Instant,
    /// When the body gave something that nobody has asked behind yet, in milliseconds since `began`, from 1; 0: it was asked since.
    given: AtomicU64,
    end: OnceLock<(EndReason, Instant)>,
    pass: OnceLock<Pass>,
    /// It was answered, and has only to be read: no pass is needed for that.
    answered: AtomicBool,
    draining: AtomicBool,
    /// The body has ended by itself; its trailers may still wait for the client.
    ended: AtomicBool,
    body: AtomicWaker,
    task: OnceLock<AbortHandle>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            given: AtomicU64::new(0),
            end: OnceLock::new(),
            pass: OnceLock::new(),
            answered: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            body: AtomicWaker::new(),
            task: OnceLock::new(),
        }
    }
}

impl RequestHandle {
    /// The stream whose task this is; outside of one, a stream that nobody knows.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or_default()
    }

    /// A number that no other stream has meanwhile.
    #[must_use]
    pub fn number(&self) -> u64 {
        Arc::as_ptr(&self.0).addr() as u64
    }

    /// The body was asked for more: whoever reads it has taken what it gave before.
    pub fn asked(&self, waker: &Waker) {
        self.0.given.store(0, Ordering::Relaxed);
        self.register(waker);
    }

    /// Sets whom [`wake`](Self::wake) wakes.
    pub fn register(&self, waker: &Waker) {
        self.0.body.register(waker);
    }

    /// Wakes the body: it has something, or should end.
    pub fn wake(&self) {
        self.0.body.wake();
    }

    /// The body gave something.
    pub fn gave(&self) {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.given.store(now.saturating_add(1), Ordering::Relaxed);
    }

    /// The body has ended.
    pub fn ended(&self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }

    /// It goes on as long as this is good. The first counts.
    pub fn admit(&self, pass: Pass) {
        _ = self.0.pass.set(pass);
    }

    /// What it came with, as long as that is needed.
    #[must_use]
    pub fn pass(&self) -> Option<&Pass> {
        self.0.pass.get().filter(|_| !self.0.answered.load(Ordering::Relaxed))
    }

    /// The answer is there, and ends by itself.
    pub fn answered(&self) {
        self.0.answered.store(true, Ordering::Relaxed);
    }

    /// Why the body should end, if it should.
    #[must_use]
    pub fn should_end(&self) -> Option<EndReason> {
        self.0.end.get().map(|(reason, _)| *reason).filter(|reason| self.matters(*reason))
    }

    /// What was answered is told, whatever has become of the pass; but it must be read.
    fn matters(&self, reason: EndReason) -> bool {
        reason == EndReason::SlowReader || !self.0.answered.load(Ordering::Relaxed)
    }

    /// The server is shutting down.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    /// Asks the body to end. The first reason counts.
    pub fn end(&self, reason: EndReason) {
        _ = self.0.end.set((reason, Instant::now()));
        self.wake();
    }

    fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
        self.wake();
    }

    fn abort(&self) {
        if let Some(task) = self.0.task.get() {
            task.abort();
        }
    }

    /// Nobody has taken what the body gave so long ago.
    fn is_stuck(&self, patience: Duration) -> bool {
        let given = self.0.given.load(Ordering::Relaxed);
        given > 0 && self.0.began.elapsed().saturating_sub(Duration::from_millis(given)) >= patience
    }

    /// It was asked to end, and has not in time. A slow reader that reads again meanwhile may go on, and so may who reads its answer.
    fn is_overdue(&self, patience: Duration) -> bool {
        let Some((reason, since)) = self.0.end.get() else { return false };
        let has_ended = self.0.ended.load(Ordering::Relaxed);
        let is_void = *reason != EndReason::SlowReader && self.matters(*reason);
        !has_ended && since.elapsed() >= GRACE && (is_void || self.is_stuck(patience))
    }
}

/// All streams. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Requests(Arc<All>);

#[derive(Debug, Default)]
struct All {
    tasks: TaskTracker,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    streams: Vec<Weak<State>>,
    draining: bool,
    aborted: bool,
    tidy_at: usize,
}

impl Requests {
    /// Runs a stream, known from inside by [`RequestHandle::current`], until it ends or is [aborted](Self::abort).
    pub fn spawn<F>(&self, stream: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let handle = RequestHandle::default();
        let task = self.0.tasks.spawn(CURRENT.scope(handle.clone(), stream));
        _ = handle.0.task.set(task.abort_handle());
        self.know(&handle);
    }

    /// With its task, so that whatever all streams are told, it is told now or later.
    fn know(&self, stream: &RequestHandle) {
        let mut known = self.known();
        if known.draining {
            stream.drain();
        }
        if known.aborted {
            stream.abort();
        }
        if known.streams.len() >= known.tidy_at {
            known.tidy();
        }
        known.streams.push(Arc::downgrade(&stream.0));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.tasks.len()
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.tasks.is_empty()
    }

    /// Tells every stream, and those that begin later, that the server is shutting down.
    pub fn drain(&self) {
        let mut known = self.known();
        known.draining = true;
        known.streams.iter().filter_map(Weak::upgrade).for_each(|state| RequestHandle(state).drain());
    }

    /// Drops every stream, and those that begin later.
    pub fn abort(&self) {
        let mut known = self.known();
        known.aborted = true;
        known.streams.iter().filter_map(Weak::upgrade).for_each(|state| RequestHandle(state).abort());
    }

    /// Resolves when all have ended, after [`close`](Self::close).
    pub async fn wait(&self) {
        self.0.tasks.wait().await;
    }

    /// Lets [`wait`](Self::wait) resolve.
    pub fn close(&self) {
        self.0.tasks.close();
    }

    /// Ends the streams whose clients read nothing for so long, and those whose pass is judged to be over; drops those that were asked to end
    /// and do not. Never returns.
    pub async fn watch(&self, patience: Duration, judge: impl Fn(&Pass) -> Option<EndReason>, metrics: &Metrics) {
        let mut rounds = tokio::time::interval(ROUND.min(patience));
        loop {
            rounds.tick().await;
            // One look at each, and the lock for none of them.
            let streams: Vec<_> = {
                let mut known = self.known();
                known.tidy();
                known.streams.clone()
            };
            for stream in streams.iter().filter_map(Weak::upgrade).map(RequestHandle) {
                if stream.should_end().is_none() {
                    if let Some(reason) = stream.pass().and_then(&judge) {
                        stream.end(reason);
                    } else if stream.is_stuck(patience) {
                        metrics.slow_readers.inc();
                        stream.end(EndReason::SlowReader);
                    }
                }
                if stream.is_overdue(patience) {
                    stream.abort();
                }
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Below so many it is not worth looking for those that are gone.
    const TIDY: usize = 1024;

    fn tidy(&mut self) {
        self.streams.retain(|stream| stream.strong_count() > 0);
        self.tidy_at = (2 * self.streams.len()).max(Self::TIDY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_just_in_time_is_not_ended_for_its_pass_but_for_not_being_read() {
        let stream = RequestHandle::default();
        stream.end(EndReason::TokenExpired);
        assert_eq!(stream.should_end(), Some(EndReason::TokenExpired));
        stream.answered();
        assert_eq!(stream.should_end(), None);

        let unread = RequestHandle::default();
        unread.end(EndReason::SlowReader);
        unread.answered();
        assert_eq!(unread.should_end(), Some(EndReason::SlowReader));
    }
}

//! The handle of one request.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;

use super::{
    end_reason::EndReason,
    pass::Pass,
    registry::{Entry, Registration},
    task::{AbortSlot, TaskHandle},
};
use crate::types::StreamId;

/// How long a request that was asked to end may take to end with a status, before its task is aborted.
const GRACE: Duration = Duration::from_secs(1);

/// One request, from its headers to the end of its response. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RequestHandle(pub(super) Arc<RequestState>);

/// What the clones of a handle share.
#[derive(Debug)]
pub(super) struct RequestState {
    registration: Registration<Self>,
    began: Instant,
    /// When the body yielded data after which it has not been polled again, in milliseconds since `began`, plus one. 0 if it has been polled.
    unread_since: AtomicU64,
    end: OnceLock<(EndReason, Instant)>,
    pass: OnceLock<Pass>,
    deadline: OnceLock<Instant>,
    /// The response is complete and only has to be read.
    is_answered: AtomicBool,
    /// The body has ended by itself; its trailers may still wait for the client.
    has_ended: AtomicBool,
    task: AbortSlot<TaskHandle>,
    waker: AtomicWaker,
}

impl Entry for RequestState {
    fn wake(&self) {
        self.waker.wake();
    }

    fn abort(&self) {
        self.task.abort();
    }
}

impl RequestState {
    pub(super) fn new(registration: Registration<Self>) -> Self {
        Self {
            registration,
            began: Instant::now(),
            unread_since: AtomicU64::new(0),
            end: OnceLock::new(),
            pass: OnceLock::new(),
            deadline: OnceLock::new(),
            is_answered: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            task: AbortSlot::default(),
            waker: AtomicWaker::new(),
        }
    }
}

/// Identity and wake-ups.
impl RequestHandle {
    /// An id that no other request has, on this server or another.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.0.registration.id()
    }

    /// Sets the waker that [`wake`](Self::wake) wakes: that of the task that polls the response.
    pub fn register(&self, waker: &Waker) {
        self.0.waker.register(waker);
    }

    /// Wakes the task that polls the response.
    pub fn wake(&self) {
        self.0.waker.wake();
    }

    /// Whether the server is shutting down. Cheap enough for every poll.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.registration.is_draining()
    }
}

/// What the transport reports.
impl RequestHandle {
    /// Binds the request to the current task, which is aborted if the request does not end in time.
    pub fn bind_task(&self) {
        if let Some(task) = TaskHandle::current() {
            self.0.task.bind(task);
        }
    }

    /// The body is polled for more: the client has taken what it yielded before.
    pub fn body_polled(&self) {
        self.0.unread_since.store(0, Ordering::Relaxed);
    }

    /// The body yielded data.
    pub fn body_yielded(&self) {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.unread_since.store(now.saturating_add(1), Ordering::Relaxed);
    }

    /// The body has ended.
    pub fn body_ended(&self) {
        self.0.has_ended.store(true, Ordering::Relaxed);
    }
}

/// What the request depends on, and its end.
impl RequestHandle {
    /// Makes the request depend on a pass. Only the first one is used.
    pub fn set_pass(&self, pass: Pass) {
        _ = self.0.pass.set(pass);
    }

    /// The pass that the request depends on. `None` if it needs none, or needs none any longer because it is answered.
    #[must_use]
    pub fn pass(&self) -> Option<&Pass> {
        self.0.pass.get().filter(|_| !self.is_answered())
    }

    /// Sets when the request must have ended. Only the first deadline is used.
    pub fn set_deadline(&self, deadline: Instant) {
        _ = self.0.deadline.set(deadline);
    }

    /// Reports that the response is complete. It is delivered whatever becomes of the pass and the deadline, as long as the client reads it.
    pub fn mark_answered(&self) {
        self.0.is_answered.store(true, Ordering::Relaxed);
    }

    /// Asks the request to end. Only the first reason is used.
    pub fn end(&self, reason: EndReason) {
        _ = self.0.end.set((reason, Instant::now()));
        self.wake();
    }

    /// Why the request must end. `None` if it may continue.
    #[must_use]
    pub fn end_reason(&self) -> Option<EndReason> {
        self.0.end.get().map(|(reason, _)| *reason).filter(|reason| self.applies(*reason))
    }

    /// An answer is ended only if it is not read.
    fn applies(&self, reason: EndReason) -> bool {
        reason == EndReason::SlowReader || !self.is_answered()
    }

    fn is_answered(&self) -> bool {
        self.0.is_answered.load(Ordering::Relaxed)
    }
}

/// What the scan for requests that must end looks at.
impl RequestHandle {
    pub(super) fn is_past_deadline(&self, now: Instant) -> bool {
        !self.is_answered() && self.0.deadline.get().is_some_and(|deadline| *deadline <= now)
    }

    /// Whether the client has not taken what the body yielded at least `patience` ago.
    pub(super) fn is_unread(&self, patience: Duration) -> bool {
        let since = self.0.unread_since.load(Ordering::Relaxed);
        since > 0 && self.0.began.elapsed().saturating_sub(Duration::from_millis(since)) >= patience
    }

    /// Whether the request was asked to end and has not within [`GRACE`]. A slow reader that has read meanwhile may continue, and so may a
    /// client that reads its answer.
    pub(super) fn is_overdue(&self, patience: Duration) -> bool {
        let Some((reason, asked_at)) = self.0.end.get() else { return false };
        let has_ended = self.0.has_ended.load(Ordering::Relaxed);
        let must_end = *reason != EndReason::SlowReader && self.applies(*reason);
        !has_ended && asked_at.elapsed() >= GRACE && (must_end || self.is_unread(patience))
    }

    pub(super) fn abort(&self) {
        self.0.abort();
    }
}

//! Tasks that can be counted, awaited, and aborted from within what they run.

use std::{
    future::Future,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

tokio::task_local! {
    static CURRENT: TaskHandle;
}

/// Something that can be aborted.
pub trait Abort {
    /// Aborts it. Has no effect if it has ended.
    fn abort(&self);
}

impl Abort for AbortHandle {
    fn abort(&self) {
        AbortHandle::abort(self);
    }
}

/// Holds what can be aborted from the moment at which that is known. An abort before that moment takes effect at it.
#[derive(Debug)]
pub struct AbortSlot<A>(Mutex<State<A>>);

#[derive(Debug)]
enum State<A> {
    Empty,
    Bound(A),
    Aborted,
}

impl<A> Default for AbortSlot<A> {
    fn default() -> Self {
        Self(Mutex::new(State::Empty))
    }
}

impl<A: Abort> AbortSlot<A> {
    /// Sets what [`abort`](Self::abort) aborts, or aborts it now if that was called before.
    pub fn bind(&self, target: A) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Aborted = *state {
            drop(state);
            target.abort();
        } else {
            *state = State::Bound(target);
        }
    }

    /// Aborts what is bound, now or when it is bound.
    pub fn abort(&self) {
        let before = mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), State::Aborted);
        if let State::Bound(target) = before {
            target.abort();
        }
    }
}

/// Aborts a task of a [`TaskGroup`]. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct TaskHandle(Arc<AbortSlot<AbortHandle>>);

impl TaskHandle {
    /// The handle of the task in which this is called. `None` outside a task of a [`TaskGroup`].
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }
}

impl Abort for TaskHandle {
    fn abort(&self) {
        self.0.abort();
    }
}

/// A set of tasks that is counted and can be awaited. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct TaskGroup(TaskTracker);

impl TaskGroup {
    /// Spawns a task, within which [`TaskHandle::current`] returns its handle.
    pub fn spawn<F>(&self, future: F) -> TaskHandle
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let handle = TaskHandle::default();
        // The task may run before its abort handle is here: what it binds is the slot, not the handle.
        let task = self.0.spawn(CURRENT.scope(handle.clone(), future));
        handle.0.bind(task.abort_handle());
        handle
    }

    /// Number of running tasks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no task is running.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets [`wait`](Self::wait) return. Tasks can still be spawned.
    pub fn close(&self) {
        self.0.close();
    }

    /// Waits until the group is [closed](Self::close) and no task is running.
    pub async fn wait(&self) {
        self.0.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_task_can_be_aborted_by_the_handle_that_it_finds_within() {
        let tasks = TaskGroup::default();
        let slot = Arc::<AbortSlot<TaskHandle>>::default();
        let bound = Arc::clone(&slot);
        tasks.spawn(async move {
            bound.bind(TaskHandle::current().unwrap());
            pending::<()>().await;
        });
        while matches!(*slot.0.lock().unwrap(), State::Empty) {
            tokio::task::yield_now().await;
        }
        slot.abort();
        tasks.close();
        tasks.wait().await;
        assert!(TaskHandle::current().is_none());
    }

    #[tokio::test]
    async fn an_abort_before_the_task_is_known_takes_effect_when_it_is() {
        let tasks = TaskGroup::default();
        let slot = AbortSlot::default();
        slot.abort();
        slot.bind(tasks.spawn(pending::<()>()));
        tasks.close();
        tasks.wait().await;
    }
}

//! The open connections of a server.

use std::{future::Future, sync::Arc, task::Waker};

use futures_util::task::AtomicWaker;

use crate::lifecycle::{AbortSlot, Entry, Registration, Registry, TaskGroup, TaskHandle};

/// All open connections. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections {
    registry: Registry<State>,
    tasks: TaskGroup,
}

/// One connection, as its task sees it.
#[derive(Debug)]
pub(super) struct ConnectionHandle(Arc<State>);

#[derive(Debug)]
struct State {
    registration: Registration<Self>,
    task: AbortSlot<TaskHandle>,
    waker: AtomicWaker,
}

impl Entry for State {
    fn wake(&self) {
        self.waker.wake();
    }

    fn abort(&self) {
        self.task.abort();
    }
}

impl ConnectionHandle {
    /// Sets the waker that a drain wakes.
    pub(super) fn register(&self, waker: &Waker) {
        self.0.waker.register(waker);
    }

    /// Whether the server is shutting down. Cheap enough for every poll, as a cancellation token is not: it takes a lock that all its clones
    /// share.
    pub(super) fn is_draining(&self) -> bool {
        self.0.registration.is_draining()
    }
}

impl Connections {
    /// Spawns the task of a connection, which `run` makes.
    pub(super) fn spawn<F>(&self, run: impl FnOnce(ConnectionHandle) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let state = self.registry.register(|registration| State {
            registration,
            task: AbortSlot::default(),
            waker: AtomicWaker::new(),
        });
        let task = self.tasks.spawn(run(ConnectionHandle(Arc::clone(&state))));
        state.task.bind(task);
    }

    /// Number of open connections.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether no connection is open.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Lets every connection end gracefully: it takes no new requests and closes when the running ones have ended.
    pub(crate) fn drain(&self) {
        self.registry.drain();
    }

    /// Aborts every connection, also those that are accepted later.
    pub(crate) fn abort(&self) {
        self.registry.abort();
    }

    /// Lets [`wait`](Self::wait) return.
    pub(crate) fn close(&self) {
        self.tasks.close();
    }

    /// Waits until all connections have ended, after [`close`](Self::close).
    pub(crate) async fn wait(&self) {
        self.tasks.wait().await;
    }
}

//! Watches the actors of the server: the tasks that must run for as long as it does.
//!
//! An actor that panics, or ends before its [`Phase`], is a failure. The server cannot go on without it, and does not restart it: an actor
//! that panicked may have left its state half changed. The process drains and ends, and its service manager starts a fresh one.

use std::{any::Any, future::pending, sync::Arc};

use tokio::{
    sync::watch,
    task::{AbortHandle, JoinHandle, JoinSet},
};

use crate::engine::Engine;

/// An actor of the server failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActorFailure {
    /// It panicked.
    #[error("the {actor} panicked: {message}")]
    Panicked {
        /// The actor's name.
        actor: &'static str,
        /// The message of the panic.
        message: String,
    },
    /// It ended while the server still needed it.
    #[error("the {actor} ended before the server was shut down")]
    EndedEarly {
        /// The actor's name.
        actor: &'static str,
    },
}

/// What the server is doing. An actor names the phase from which on it may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// It serves.
    Serving,
    /// It takes nothing new, and delivers what it accepted.
    Draining,
    /// It closes the engine.
    Closing,
}

/// The running actors. Aborts them when it is dropped.
#[derive(Debug)]
pub(super) struct Supervisor {
    phase: watch::Sender<Phase>,
    /// One task for each actor: it waits for the actor's end, and judges it.
    watchers: JoinSet<Option<ActorFailure>>,
    actors: Vec<(&'static str, AbortHandle)>,
    /// The failure to report. One actor's panic often ends others early: then the panic is the cause.
    failure: Option<ActorFailure>,
}

impl Supervisor {
    pub(super) fn new() -> Self {
        Self { phase: watch::Sender::new(Phase::Serving), watchers: JoinSet::new(), actors: Vec::new(), failure: None }
    }

    /// Watches a task that runs until `phase` begins, or longer.
    pub(super) fn watch(&mut self, actor: &'static str, phase: Phase, task: JoinHandle<()>) {
        self.actors.push((actor, task.abort_handle()));
        let current = self.phase.subscribe();
        self.watchers.spawn(async move {
            match task.await {
                Err(error) if error.is_panic() => {
                    Some(ActorFailure::Panicked { actor, message: panic_message(&*error.into_panic()) })
                }
                Ok(()) | Err(_) => (*current.borrow() < phase).then_some(ActorFailure::EndedEarly { actor }),
            }
        });
    }

    /// Watches the threads and tasks that the engine runs by itself, until it is closed.
    pub(super) fn watch_engine(&mut self, engine: Arc<dyn Engine>) {
        let current = self.phase.subscribe();
        self.watchers.spawn(async move {
            match engine.ended().await {
                Some(actor) => Some(ActorFailure::Panicked { actor, message: "see the log".to_owned() }),
                None => (*current.borrow() < Phase::Closing).then_some(ActorFailure::EndedEarly { actor: "engine" }),
            }
        });
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Waits for the next failure. Pending when all actors have ended. Cancel safe.
    pub(super) async fn failed(&mut self) -> ActorFailure {
        loop {
            match self.watchers.join_next().await {
                Some(Ok(Some(failure))) => {
                    self.record(failure.clone());
                    return failure;
                }
                Some(_) => {}
                None => pending().await,
            }
        }
    }

    /// Waits until all actors have ended. Cancel safe.
    pub(super) async fn wait(&mut self) {
        while let Some(ended) = self.watchers.join_next().await {
            if let Ok(Some(failure)) = ended {
                self.record(failure);
            }
        }
    }

    /// The failure that explains the others, if there was one.
    pub(super) fn outcome(&self) -> Result<(), ActorFailure> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn record(&mut self, failure: ActorFailure) {
        tracing::error!(%failure, "an actor failed");
        let explains =
            matches!((&self.failure, &failure), (Some(ActorFailure::EndedEarly { .. }), ActorFailure::Panicked { .. }));
        if self.failure.is_none() || explains {
            self.failure = Some(failure);
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.actors.iter().for_each(|(_, task)| task.abort());
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests;

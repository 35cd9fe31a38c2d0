//! The shutdown: drain, close the log, and drop what the deadline does not wait for.

use tokio::time::timeout;

use super::{ActorFailure, Server, health, supervisor::Phase};

impl Server {
    /// Waits until an actor panics or ends early. The server then has to be [shut down](Self::shutdown): it does not recover. Never
    /// resolves otherwise. Cancel safe.
    pub async fn failed(&mut self) -> ActorFailure {
        self.supervisor.failed().await
    }

    /// Shuts the server down: it takes no new connections or streams, commits and delivers what it accepted, and then ends the streams. At
    /// three quarters of the drain deadline, it drops what still runs.
    ///
    /// # Errors
    ///
    /// An actor failed, before or during the shutdown.
    pub async fn shutdown(mut self) -> Result<(), ActorFailure> {
        tracing::info!(within = ?self.drain_within, "draining");
        self.supervisor.enter(Phase::Draining);
        health::set_not_serving(&self.health).await;
        health::end_watches(&mut self.health).await;
        self.tasks.connections.close();
        self.tasks.streams.close();
        self.tasks.drain.cancel();
        self.tasks.connections.drain();
        self.tasks.requests.drain();

        let (drain_within, drop_within) = (self.drain_within.mul_f32(0.75), self.drain_within.mul_f32(0.125));
        let drained = async {
            // What was accepted is committed, passes through the hub, which ends behind it, and then through the streams, which end with it.
            self.engine.seal().await;
            self.streams_ended().await;
        };
        if timeout(drain_within, drained).await.is_err() {
            tracing::warn!(
                streams = self.tasks.streams.len(),
                "drain deadline passed: resetting the remaining streams"
            );
            self.tasks.requests.abort();
            if timeout(drop_within, self.streams_ended()).await.is_err() {
                self.tasks.connections.abort();
            }
        }
        self.supervisor.enter(Phase::Closing);
        let closed = async {
            self.engine.close().await;
            self.supervisor.wait().await;
        };
        match timeout(drop_within, closed).await {
            Ok(()) => tracing::info!("shutdown complete"),
            Err(_) => tracing::error!("shutdown deadline passed before the log closed"),
        }
        self.supervisor.outcome()
    }

    /// Ends an actor as if it had returned.
    #[cfg(test)]
    pub(crate) fn end_actor(&self, actor: &str) {
        self.supervisor.abort(actor);
    }

    /// Waits until all connections and streams have ended.
    async fn streams_ended(&self) {
        self.tasks.connections.wait().await;
        self.tasks.streams.wait().await;
    }
}

impl Drop for Server {
    /// A server that is dropped without a shutdown leaves nothing running.
    fn drop(&mut self) {
        self.tasks.drain.cancel();
        self.tasks.requests.abort();
        self.tasks.connections.abort();
    }
}

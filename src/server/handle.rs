//! The handle of a running server.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tempfile::TempDir;
use tonic_health::server::HealthReporter;

use super::supervisor::Supervisor;
#[cfg(test)]
use crate::engine::embedded;
use crate::{engine::Engine, hub, metrics::Metrics, net, rpc::StreamLimit};

/// A running server.
#[derive(Debug)]
pub struct Server {
    pub(super) address: SocketAddr,
    pub(super) drain_within: Duration,
    pub(super) health: HealthReporter,
    pub(super) hub: hub::Handle,
    pub(super) streams: StreamLimit,
    pub(super) tasks: net::Tasks,
    pub(super) tls: Option<net::Tls>,
    pub(super) engine: Arc<dyn Engine>,
    #[cfg(test)]
    pub(super) embedded: Arc<embedded::Embedded>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) supervisor: Supervisor,
    pub(super) _temporary: Option<TempDir>,
}

/// What a server holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open connections.
    pub connections: usize,
    /// Running HTTP/2 streams, of every method.
    pub streams: usize,
    /// Open Chat streams.
    pub chats: usize,
    /// Rooms with at least one member.
    pub rooms: usize,
    /// Memberships: each member counts once for each of its rooms.
    pub members: usize,
    /// Bytes kept by the rings of all rooms.
    pub ring_bytes: usize,
}

impl Server {
    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Counts what it holds now. All zero once the hub has ended.
    pub async fn counts(&self) -> Counts {
        let hub::Counts { rooms, members, ring_bytes } = self.hub.counts().await.unwrap_or_default();
        Counts {
            connections: self.tasks.connections.len(),
            streams: self.tasks.streams.len(),
            chats: self.streams.open_streams(),
            rooms,
            members,
            ring_bytes,
        }
    }

    /// Reads the certificate files again, for new connections. The log reports the outcome. Does nothing without TLS.
    pub fn reload(&self) {
        if let Some(tls) = &self.tls {
            tls.reload();
        }
    }
}

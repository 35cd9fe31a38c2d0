//! Clients of the measured systems: one interface over each system's own protocol.

pub mod jetstream;
pub mod nats;
pub mod rialto;
pub mod sqlite;
pub mod tcp;

use anyhow::Result;
use async_trait::async_trait;

use crate::{stamp::Room, subscriber::Subscriber};

/// A system that fans out messages.
#[async_trait]
pub trait System: Send + Sync {
    /// Opens a connection.
    async fn connect(&self) -> Result<Box<dyn Connection>>;
}

/// A connection. It is closed when it and its members are dropped.
#[async_trait]
pub trait Connection: Send + Sync {
    /// Enters rooms as one member. The subscriber receives everything that is published after this returns.
    async fn join(&self, rooms: &[Room], subscriber: Subscriber) -> Result<Box<dyn Member>>;
}

/// A member of some rooms, which receives and may publish there. Dropping it leaves the rooms.
#[async_trait]
pub trait Member: Send + Sync {
    /// Publishes texts in this order. Waits only while the system exerts backpressure.
    async fn publish(&mut self, texts: Vec<(Room, String)>) -> Result<()>;
}

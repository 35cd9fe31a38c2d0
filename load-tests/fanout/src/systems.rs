//! What is measured: each system speaks its own protocol, and looks the same to a load.

pub mod jetstream;
pub mod nats;
pub mod rialto;
pub mod sqlite;
pub mod tcp;

use anyhow::Result;
use async_trait::async_trait;

use crate::{stamp::Room, subscriber::Subscriber};

/// A system that fans messages out.
#[async_trait]
pub trait System: Send + Sync {
    /// Opens a connection.
    async fn connect(&self) -> Result<Box<dyn Connection>>;
}

/// A connection. It ends when it and its members are dropped.
#[async_trait]
pub trait Connection: Send + Sync {
    /// Enters rooms as one member. Whatever is published after this returned, the subscriber gets.
    async fn join(&self, rooms: &[Room], subscriber: Subscriber) -> Result<Box<dyn Member>>;
}

/// Who is in some rooms, and may speak there. It leaves when it is dropped.
#[async_trait]
pub trait Member: Send + Sync {
    /// Publishes texts, in this order. Waits only for as long as the system takes no more.
    async fn say(&mut self, texts: Vec<(Room, String)>) -> Result<()>;
}

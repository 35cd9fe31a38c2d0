//! The engine inside this process: one SQLite file in the data folder, in WAL mode, with an fsync per commit.
//!
//! A single [`writer`] thread owns the only writing connection and commits all waiting writes as one group. A few [`readers`] read
//! consistent snapshots of the messages. The state of the [`rooms`] is kept in memory. [`schema`] defines the file.

mod alarm;
mod creators;
mod error;
mod folder;
mod handle;
mod log;
mod pages;
mod queue;
mod readers;
mod rooms;
mod schema;
mod sessions;
mod settings;
mod sweep;
#[cfg(test)]
mod tests;
mod user_count;
mod users;
mod writer;

pub use error::OpenError;
pub use handle::{Embedded, open};
pub use settings::Settings;

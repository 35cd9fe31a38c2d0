//! Durable storage: the log of every room, the users, their sessions, and the signals that are not stored.
//!
//! Four traits form the contract: [`Log`], [`Users`], [`Sessions`] and [`Signals`]. [`Engine`] is all four, together with the end of an
//! engine's life. Callers take only the traits that they need. [`embedded`] (SQLite, the default) implements them; `conformance` is
//! the one test suite that every implementation passes.

#[cfg(test)]
pub(crate) mod conformance;
mod contract;
pub mod embedded;
mod error;
mod feed;
mod log;
mod page;
mod receipt;
mod record;
mod retention;
mod sessions;
mod signals;
#[cfg(test)]
pub(crate) mod sparse;
mod users;

pub use contract::Engine;
pub use error::{Conflict, Error, WriteError};
pub use feed::{FeedItem, Feeds};
pub use log::Log;
pub use page::{Page, Position, RoomInfo};
pub use receipt::{Appended, Receipt, ReceiptSender, Refused};
pub use record::{Draft, Record, RecordKind, UnknownKind};
pub use retention::{Retention, RetentionLimits};
pub use sessions::{Rotated, SecretHash, Session, Sessions};
pub use signals::{Signal, Signals};
pub use users::{PasswordHash, User, UserChange, UserChanges, UserWrite, Users};

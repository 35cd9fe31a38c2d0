//! The contract of the message log.

use std::fmt;

use async_trait::async_trait;

use super::{
    error::Error,
    page::{Page, Position, RoomInfo},
    receipt::{Receipt, Refused},
    record::Draft,
};
use crate::types::RoomName;

/// A durable, ordered log per room.
///
/// - **Order.** Within a room `seq` strictly increases from 1 or more; it never repeats and never goes back. It may skip values: no
///   caller may assume that the numbers between two records are used. Drafts that [`append`](Log::append) accepted one after the
///   other get their `seq` in that order.
/// - **Durability.** A [`Receipt`] resolves with [`Appended`](super::Appended) only when the record would survive a crash of the process
///   and a power failure: after fsync in the embedded engine, after a quorum in a distributed one.
/// - **Idempotency.** A keyed draft whose `(room, user_id, id)` is already in the log appends nothing and resolves with
///   [`Appended::Duplicate`](super::Appended::Duplicate), which carries the first record. Contents are not compared.
/// - **Feed.** Every record, appended by any node, comes out of [`Feeds::rooms`](super::Feeds::rooms) exactly once, in `seq` order within
///   its room, after it became durable. A full feed slows the engine down, and through it the callers of `append`.
/// - **Retention.** The oldest records of a room are removed some time after its [`RetentionLimits`](super::RetentionLimits) are
///   exceeded, and their keys with them. The room keeps its head; its floor is the highest `seq` that was removed.
/// - **Rooms.** The first record of a room creates it, and the record's `user_id` is the room's creator permanently. A draft that would
///   exceed the limit on rooms, or on rooms of one creator, is refused without affecting others. Rooms created with an empty `user_id`
///   count for no creator.
#[async_trait]
pub trait Log: fmt::Debug + Send + Sync + 'static {
    /// Waits until the bounded queue has room and enqueues the draft; the receipt reports the outcome. Dropping this future before it
    /// resolves appends nothing. Dropping the receipt does not withdraw the draft.
    async fn append(&self, draft: Draft) -> Result<Receipt, Refused>;

    /// Enqueues the draft only if the queue has room now; otherwise returns it, and appends nothing. Never overtakes callers that
    /// wait in [`append`](Log::append).
    fn try_append(&self, draft: Draft) -> Result<Receipt, Draft>;

    /// Reads the records of a room with `seq > after`, in ascending order: at most `max`, and at most one page of bytes, but at least one
    /// record if there is one and `max` is not 0. A consistent snapshot. `after` need not be the `seq` of a record.
    async fn read(&self, room: &RoomName, after: u64, max: usize) -> Result<Page, Error>;

    /// Reads the last records of a room with `seq < before`, in ascending order, within the same limits as [`read`](Log::read). A
    /// consistent snapshot. `before` need not be the `seq` of a record.
    async fn read_before(&self, room: &RoomName, before: u64, max: usize) -> Result<Page, Error>;

    /// Returns a `seq` such that exactly the last `count` records up to `head` lie above it, or all of them if there are fewer. Never
    /// more than `head`.
    async fn cursor_before(&self, room: &RoomName, head: u64, count: usize) -> Result<u64, Error>;

    /// Returns the epoch, floor and head of a room. The head is at least the `seq` of every record whose receipt had resolved, or
    /// that had come out of the feed, when this was called. A room without records has floor 0 and head 0.
    async fn position(&self, room: &RoomName) -> Result<Position, Error>;

    /// Returns a room, or `None` if it does not exist.
    async fn room(&self, room: &RoomName) -> Result<Option<RoomInfo>, Error>;

    /// Lists at most `max` rooms in the order of their names, beginning after `after`; `None` begins at the first room.
    async fn rooms(&self, after: Option<&RoomName>, max: usize) -> Result<Vec<RoomInfo>, Error>;
}

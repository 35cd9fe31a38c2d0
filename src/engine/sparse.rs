//! A test engine whose numbers skip values: an embedded engine behind a mapping of every `seq`.
//!
//! The `n`th record of a room gets the number [`seq`]`(n)`: pairs of neighbours, small gaps between them, and large gaps that span several
//! pages of the hub's history.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    contract::Engine,
    error::{Error, WriteError},
    feed::{FeedItem, Feeds},
    log::Log,
    page::{Page, Position, RoomInfo},
    receipt::{Appended, Receipt, Refused},
    record::{Draft, Record},
    sessions::{Rotated, SecretHash, Session, Sessions},
    signals::{Signal, Signals},
    users::{PasswordHash, User, UserWrite, Users},
};
use crate::types::{RoomName, Time};

/// The number of the `n`th record of a room; 0 for 0. Strictly increasing until it saturates.
pub(crate) fn seq(n: u64) -> u64 {
    if n == 0 { 0 } else { n.saturating_add(4).saturating_add(n / 2).saturating_add((n / 50).saturating_mul(600)) }
}

/// How many records of a room have at most this number: the inverse of [`seq`], rounded down.
pub(crate) fn count(number: u64) -> u64 {
    let (mut known, mut beyond) = (0, number.min(u64::MAX / 4) + 1);
    while known + 1 < beyond {
        let middle = known.midpoint(beyond);
        if seq(middle) <= number { known = middle } else { beyond = middle }
    }
    known
}

/// An engine with sparse numbers.
#[derive(Debug)]
pub(crate) struct Sparse(Arc<dyn Engine>);

impl Sparse {
    /// Puts the mapping in front of a dense engine and its feeds. Spawns a task that maps the rooms' feed.
    pub(crate) fn wrap(engine: Arc<dyn Engine>, feeds: Feeds) -> (Arc<dyn Engine>, Feeds) {
        let Feeds { rooms: mut dense, users } = feeds;
        let (sparse, rooms) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(item) = dense.recv().await {
                let item = match item {
                    FeedItem::Records(records) => FeedItem::Records(records.into_iter().map(renumber).collect()),
                    signal @ FeedItem::Signal { .. } => signal,
                };
                if sparse.send(item).await.is_err() {
                    return;
                }
            }
        });
        (Arc::new(Self(engine)), Feeds { rooms, users })
    }
}

fn renumber(record: Record) -> Record {
    Record { seq: seq(record.seq), ..record }
}

fn renumber_receipt(dense: Receipt) -> Receipt {
    let (sender, receipt) = Receipt::channel();
    tokio::spawn(async move {
        let outcome = dense.await.map(|appended| match appended {
            Appended::Accepted { seq: n, time } => Appended::Accepted { seq: seq(n), time },
            Appended::Duplicate(first) => Appended::Duplicate(Box::new(renumber(*first))),
        });
        _ = sender.send(outcome);
    });
    receipt
}

fn renumber_room(room: RoomInfo) -> RoomInfo {
    RoomInfo { head: seq(room.head), ..room }
}

#[async_trait]
impl Log for Sparse {
    async fn append(&self, draft: Draft) -> Result<Receipt, Refused> {
        self.0.append(draft).await.map(renumber_receipt)
    }

    fn try_append(&self, draft: Draft) -> Result<Receipt, Draft> {
        self.0.try_append(draft).map(renumber_receipt)
    }

    async fn read(&self, room: &RoomName, after: u64, max: usize) -> Result<Page, Error> {
        let page = self.0.read(room, count(after), max).await?;
        let Page { records, through, reached_floor, floor, head } = page;
        // Up to the number before the next record, which is a number that no record has.
        let through = if through < head { seq(through + 1) - 1 } else { seq(head) };
        let through = if max == 0 { after.min(seq(head)) } else { through };
        let records = records.into_iter().map(renumber).collect();
        Ok(Page { records, through, reached_floor, floor: seq(floor), head: seq(head) })
    }

    async fn read_before(&self, room: &RoomName, before: u64, max: usize) -> Result<Page, Error> {
        let dense = if before == 0 { 0 } else { count(before - 1) + 1 };
        let Page { records, reached_floor, floor, head, .. } = self.0.read_before(room, dense, max).await?;
        let (floor, head) = (seq(floor), seq(head));
        let records = records.into_iter().map(renumber).collect();
        let through = head.min(before.saturating_sub(1));
        Ok(Page { records, through, reached_floor, floor, head })
    }

    async fn cursor_before(&self, room: &RoomName, head: u64, limit: usize) -> Result<u64, Error> {
        self.0.cursor_before(room, count(head), limit).await.map(seq)
    }

    async fn position(&self, room: &RoomName) -> Result<Position, Error> {
        let Position { epoch, floor, head } = self.0.position(room).await?;
        Ok(Position { epoch, floor: seq(floor), head: seq(head) })
    }

    async fn room(&self, room: &RoomName) -> Result<Option<RoomInfo>, Error> {
        Ok(self.0.room(room).await?.map(renumber_room))
    }

    async fn rooms(&self, after: Option<&RoomName>, max: usize) -> Result<Vec<RoomInfo>, Error> {
        Ok(self.0.rooms(after, max).await?.into_iter().map(renumber_room).collect())
    }
}

impl Signals for Sparse {
    fn signal(&self, room: RoomName, signal: Signal) {
        self.0.signal(room, signal);
    }
}

#[async_trait]
impl Users for Sparse {
    async fn load_users(&self, after: Option<Uuid>, max: usize) -> Result<Vec<User>, Error> {
        self.0.load_users(after, max).await
    }

    async fn write_users(&self, writes: Vec<UserWrite>) -> Result<u64, WriteError> {
        self.0.write_users(writes).await
    }
}

#[async_trait]
impl Sessions for Sparse {
    async fn create_session(&self, session: Session, password: &PasswordHash, keep: usize) -> Result<bool, Error> {
        self.0.create_session(session, password, keep).await
    }

    async fn rotate_session(
        &self,
        id: Uuid,
        from: SecretHash,
        to: SecretHash,
        expires_at: Time,
    ) -> Result<Rotated, Error> {
        self.0.rotate_session(id, from, to, expires_at).await
    }

    async fn revoke_session(&self, id: Uuid) -> Result<Option<Uuid>, Error> {
        self.0.revoke_session(id).await
    }

    async fn purge_sessions(&self, expired_before: Time) -> Result<usize, Error> {
        self.0.purge_sessions(expired_before).await
    }
}

#[async_trait]
impl Engine for Sparse {
    async fn stopped(&self) {
        self.0.stopped().await;
    }

    async fn ended(&self) -> Option<&'static str> {
        self.0.ended().await
    }

    async fn seal(&self) {
        self.0.seal().await;
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

#[test]
fn counting_inverts_numbering() {
    for n in (0..3000).chain([u64::MAX / 64]) {
        assert_eq!(count(seq(n)), n);
        assert_eq!(count(seq(n + 1) - 1), n);
        assert!(seq(n + 1) > seq(n));
    }
    assert!(count(u64::MAX) > u64::MAX / 32);
}

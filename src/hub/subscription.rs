//! What one stream receives: the batches of every room that it is in.

mod ready;

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tokio_stream::{Stream, wrappers::BroadcastStream};

use super::{
    Error, Handle, Membership,
    budget::{Kept, Part},
};
use crate::engine::{Position, RoomName};
use ready::Ready;

/// The rooms of one stream.
#[derive(Debug)]
pub struct Subscription {
    hub: Handle,
    slots: Vec<Slot>,
    /// Rooms whose ring has ended, and was read to its end.
    ended: usize,
    by_room: HashMap<RoomName, usize>,
    ready: Arc<Ready>,
}

#[derive(Debug)]
struct Slot {
    batches: BroadcastStream<Arc<Kept>>,
    /// Everything up to this `seq` was delivered, or was there before the join.
    cursor: u64,
    /// Everything up to this `seq` must be delivered before the stream may end.
    owed: u64,
    /// Tells `ready` that it was this room.
    waker: Waker,
    membership: Membership,
}

impl Slot {
    fn lagged(&self) -> Ended {
        Ended::Lagged { room: self.membership.room.clone(), last_seq: self.cursor }
    }
}

/// Why a subscription cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The subscriber fell out of a room's ring.
    Lagged {
        /// Which room.
        room: RoomName,
        /// The last `seq` delivered there.
        last_seq: u64,
    },
    /// The hub has ended, and everything that it sent was delivered.
    Closed,
}

impl Subscription {
    pub(super) fn new(hub: Handle) -> Self {
        Self { hub, slots: Vec::new(), ended: 0, by_room: HashMap::new(), ready: Arc::default() }
    }

    /// Enters a room that the subscription is not in, and says where: everything above that head is delivered.
    pub async fn join(&mut self, room: RoomName) -> Result<Position, Error> {
        if self.by_room.contains_key(&room) {
            return Err(Error::AlreadyJoined(room));
        }
        let limit = self.hub.0.rooms_per_stream;
        if self.slots.len() >= limit {
            return Err(Error::TooManyRooms { limit });
        }
        // First the receiver, then the head: a record committed between the two comes out of the receiver and is cut off below.
        let joined = self.hub.join(room.clone()).await?;
        let position = self.hub.0.engine.position(&room).await?;
        let index = self.slots.len();
        self.slots.push(Slot {
            batches: BroadcastStream::new(joined.batches),
            cursor: position.head,
            owed: 0,
            waker: self.ready.waker(index),
            membership: joined.membership,
        });
        self.by_room.insert(room, index);
        self.ready.add(index);
        Ok(position)
    }

    /// It is in no room.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The name of a room that the subscription is in.
    #[must_use]
    pub fn room(&self, name: &str) -> Option<&RoomName> {
        self.by_room.get_key_value(name).map(|(room, _)| room)
    }

    /// Everything of the room up to `seq` is owed to the stream.
    pub fn owe(&mut self, room: &RoomName, seq: u64) {
        let slot = self.by_room.get(room).and_then(|index| self.slots.get_mut(*index));
        if let Some(slot) = slot {
            slot.owed = slot.owed.max(seq);
        }
    }

    /// Nothing is owed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.slots.iter().all(|slot| slot.owed <= slot.cursor)
    }

    /// The next frames, of one room; the rooms that have something take turns. Only rooms that were woken are looked at.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Ended>> {
        self.ready.register(cx.waker());
        while let Some(index) = self.ready.take() {
            let Some(slot) = self.slots.get_mut(index) else { continue };
            match Pin::new(&mut slot.batches).poll_next(&mut Context::from_waker(&slot.waker)) {
                Poll::Pending => {}
                Poll::Ready(Some(Ok(batch))) => match batch.after(slot.cursor) {
                    Part::Nothing => self.ready.add(index),
                    Part::Frames(frames) => {
                        self.ready.add(index);
                        slot.cursor = batch.last_seq();
                        return Poll::Ready(Ok(frames));
                    }
                    Part::GivenUp => return Poll::Ready(Err(slot.lagged())),
                },
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(slot.lagged())),
                Poll::Ready(None) => self.ended += 1,
            }
        }
        let all_ended = self.ended > 0 && self.ended == self.slots.len();
        if all_ended { Poll::Ready(Err(Ended::Closed)) } else { Poll::Pending }
    }
}

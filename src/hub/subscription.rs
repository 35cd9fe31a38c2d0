//! What one stream receives: everything of every room that it is in.

mod ready;
mod slot;

use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::{Error, Handle, JoinedRoom};
use crate::engine::Error as EngineError;
use crate::lifecycle::RequestHandle;
use crate::types::RoomName;
use ready::Ready;
use slot::Slot;

/// Pages of the log that a stream holds at once. It may be in a thousand rooms and read nothing.
const PAGES: usize = 4;

/// The rooms of one stream.
#[derive(Debug)]
pub struct Subscription {
    hub: Handle,
    /// Which stream it is.
    stream: RequestHandle,
    /// A place that was left is taken by the next room.
    slots: Vec<Option<Occupied>>,
    by_room: HashMap<RoomName, usize>,
    /// For rooms that read the log.
    turns: Arc<Semaphore>,
    /// Rooms that owe nothing more, because the hub has ended.
    ended: usize,
    ready: Arc<Ready>,
    /// The room that had the last turn.
    turn: usize,
}

#[derive(Debug)]
struct Occupied {
    slot: Slot,
    /// Tells `ready` that it was this room.
    waker: Waker,
}

/// What a room that was left still has to say.
#[derive(Debug)]
pub struct Removed {
    /// The subscriber was [told](super::JoinOptions::told) of the entry.
    pub told: bool,
    /// The answer to the entry, if it was not delivered yet.
    pub words: Bytes,
}

/// Why a subscription cannot go on.
#[derive(Debug, Clone)]
pub enum Ended {
    /// The hub has ended, and everything that it sent was delivered.
    Closed,
    /// The log cannot be read.
    Failed(EngineError),
}

impl Subscription {
    pub(super) fn new(hub: Handle, stream: RequestHandle) -> Self {
        let turns = Arc::new(Semaphore::new(PAGES));
        let ready = Arc::new(Ready::new(stream.clone(), hub.0.rooms_per_stream));
        Self { hub, stream, slots: Vec::new(), by_room: HashMap::new(), turns, ended: 0, ready, turn: 0 }
    }

    /// The room may be entered by this stream, as far as the stream knows.
    pub fn may_enter(&self, room: &RoomName) -> Result<(), Error> {
        let limit = self.hub.0.rooms_per_stream;
        if self.by_room.contains_key(room) {
            return Err(Error::AlreadyJoined(room.clone()));
        }
        if self.by_room.len() >= limit { Err(Error::TooManyRooms { limit }) } else { Ok(()) }
    }

    /// Follows a room that was entered, and that it [may enter](Self::may_enter).
    pub fn add(&mut self, entered: JoinedRoom) {
        let is_full = self.by_room.len() == self.slots.len();
        let free = if is_full { None } else { self.slots.iter().position(Option::is_none) };
        let free = free.unwrap_or(self.slots.len());
        if free == self.slots.len() {
            if self.slots.is_empty() {
                // Most streams are in one room: room for four would be the next thing to have.
                self.slots.reserve_exact(1);
            }
            self.slots.push(None);
        }
        let room = entered.room.clone();
        if let Some(place) = self.slots.get_mut(free) {
            let slot = Slot::new(self.hub.clone(), entered, Arc::clone(&self.turns));
            *place = Some(Occupied { slot, waker: self.ready.waker(free) });
        }
        self.by_room.insert(room, free);
        self.ready.add(free);
    }

    /// Leaves a room: nothing of it follows but what is given back here.
    pub fn remove(&mut self, room: &RoomName) -> Option<Removed> {
        let index = self.by_room.remove(room)?;
        let Occupied { slot, .. } = self.slots.get_mut(index)?.take()?;
        self.ended -= usize::from(slot.has_ended());
        Some(Removed { told: slot.is_told(), words: slot.into_words() })
    }

    /// It is in no room.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_room.is_empty()
    }

    /// The name of a room that the subscription is in.
    #[must_use]
    pub fn room(&self, name: &str) -> Option<&RoomName> {
        self.by_room.get_key_value(name).map(|(room, _)| room)
    }

    /// Everything of the room up to `seq` is owed to the stream, if it is still in it.
    pub fn owe(&mut self, room: &RoomName, seq: u64) {
        let place = self.by_room.get(room).and_then(|index| self.slots.get_mut(*index));
        if let Some(Some(place)) = place {
            place.slot.owe(seq);
        }
    }

    /// Nothing is owed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.slots.iter().flatten().all(|place| place.slot.is_settled())
    }

    /// A waker for what its stream waits for besides the rooms.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.ready))
    }

    /// That waker was used since this was asked last. Most wakes are of rooms, and need no look at anything else.
    #[must_use]
    pub fn was_woken(&self) -> bool {
        self.ready.take_other()
    }

    /// The next frames, of one room; the rooms that have something take turns. Only rooms that were woken are looked at.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Ended>> {
        self.stream.register(cx.waker());
        while let Some(index) = self.ready.take(self.turn, self.slots.len()) {
            self.turn = index;
            let Some(Some(Occupied { slot, waker })) = self.slots.get_mut(index) else { continue };
            match slot.poll_next(&mut Context::from_waker(waker), &self.stream) {
                Poll::Pending => {}
                Poll::Ready(Ok(Some(frames))) => {
                    self.ready.add(index);
                    return Poll::Ready(Ok(frames));
                }
                Poll::Ready(Ok(None)) => self.ended += 1,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Ended::Failed(error))),
            }
        }
        let all_ended = self.ended > 0 && self.ended == self.by_room.len();
        if all_ended { Poll::Ready(Err(Ended::Closed)) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{JoinOptions, model::hub_in};

    #[tokio::test]
    async fn a_place_that_was_left_is_taken_by_the_next_room() {
        let folder = tempfile::tempdir().unwrap();
        let (_engine, hub, _task) = hub_in(folder.path());
        let mut subscription = hub.subscribe(RequestHandle::default());
        let room = |n: usize| RoomName::new(["a", "b", "c"][n % 3]).unwrap();
        for n in 0..2 {
            subscription.add(hub.clone().enter(room(n), JoinOptions::default()).await.unwrap());
        }
        for n in 2..1_000 {
            subscription.remove(&room(n - 2)).unwrap();
            subscription.add(hub.clone().enter(room(n), JoinOptions::default()).await.unwrap());
            assert_eq!((subscription.slots.len(), subscription.by_room.len()), (2, 2));
        }
        assert_eq!(hub.counts().await.unwrap().members, 2);
    }
}

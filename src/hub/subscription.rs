//! What one stream receives: every message of each of its rooms.

mod ready;
mod slot;

use std::{
    cell::Cell,
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::{error::Error, handle::Handle, join::JoinedRoom};
use crate::{engine, lifecycle::RequestHandle, types::RoomName};
use ready::Ready;
use slot::Slot;

/// Pages of the log that a stream may hold at once. It may be in a thousand rooms and not read.
const PAGES: usize = 4;

/// The rooms of one stream.
#[derive(Debug)]
pub struct Subscription {
    hub: Handle,
    stream: RequestHandle,
    /// `None` where a room was left; the next room takes the place.
    slots: Vec<Option<RoomSlot>>,
    /// The places that are `None`.
    free: Vec<usize>,
    by_room: HashMap<RoomName, usize>,
    /// Permits for holding a page of the log.
    page_permits: Arc<Semaphore>,
    /// Rooms that have delivered everything, because the hub has ended.
    ended: usize,
    ready: Arc<Ready>,
    /// The place of the room that was polled last.
    last_polled: usize,
    /// The place of a room that was not settled when [`is_settled`](Self::is_settled) was called last.
    unsettled: Cell<usize>,
}

#[derive(Debug)]
struct RoomSlot {
    slot: Slot,
    /// Marks this room in `ready`.
    waker: Waker,
}

/// What is left of a room that was left.
#[derive(Debug)]
pub struct Removed {
    /// The subscriber [asked](super::JoinOptions::report_joined) for `joined` and `left` events.
    pub reports_joined: bool,
    /// The answer to the join, if it was not delivered yet.
    pub initial_frames: Bytes,
}

/// Why a subscription cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubscriptionError {
    /// The log has ended, and everything before its end was delivered.
    #[error("the log has ended")]
    LogEnded,
    /// The hub has failed. What it had not sent is not delivered.
    #[error("the hub has failed")]
    HubStopped,
    /// The log cannot be read.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

impl Handle {
    /// A subscription of this stream, to no room yet.
    #[must_use]
    pub fn subscribe(&self, stream: RequestHandle) -> Subscription {
        Subscription::new(self.clone(), stream)
    }
}

impl Subscription {
    fn new(hub: Handle, stream: RequestHandle) -> Self {
        let ready = Arc::new(Ready::new(stream.clone(), hub.0.rooms_per_stream));
        Self {
            hub,
            stream,
            slots: Vec::new(),
            free: Vec::new(),
            by_room: HashMap::new(),
            page_permits: Arc::new(Semaphore::new(PAGES)),
            ended: 0,
            ready,
            last_polled: 0,
            unsettled: Cell::new(0),
        }
    }

    /// Checks that the stream is not in the room yet, and in fewer rooms than it may be.
    pub fn check_join(&self, room: &RoomName) -> Result<(), Error> {
        let limit = self.hub.0.rooms_per_stream;
        if self.by_room.contains_key(room) {
            return Err(Error::AlreadyJoined(room.clone()));
        }
        if self.by_room.len() >= limit { Err(Error::TooManyRooms { limit }) } else { Ok(()) }
    }

    /// Follows a room that was joined after [`check_join`](Self::check_join).
    pub fn add(&mut self, joined: JoinedRoom) {
        let index = self.free.pop().unwrap_or_else(|| {
            if self.slots.is_empty() {
                // Most streams are in one room; an ordinary push would allocate four places.
                self.slots.reserve_exact(1);
            }
            self.slots.push(None);
            self.slots.len() - 1
        });
        let room = joined.room.clone();
        if let Some(place) = self.slots.get_mut(index) {
            let slot = Slot::new(self.hub.clone(), joined, Arc::clone(&self.page_permits));
            *place = Some(RoomSlot { slot, waker: self.ready.waker(index) });
        }
        self.by_room.insert(room, index);
        self.ready.add(index);
    }

    /// Leaves a room. Nothing more of it is delivered but what is returned. `None` if the stream is not in the room.
    pub fn remove(&mut self, room: &RoomName) -> Option<Removed> {
        let index = self.by_room.remove(room)?;
        let RoomSlot { slot, .. } = self.slots.get_mut(index)?.take()?;
        self.free.push(index);
        self.ended -= usize::from(slot.has_ended());
        Some(Removed { reports_joined: slot.reports_joined(), initial_frames: slot.into_initial_frames() })
    }

    /// Whether the stream is in no room.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_room.is_empty()
    }

    /// The room of this name, if the stream is in it.
    #[must_use]
    pub fn room(&self, name: &str) -> Option<&RoomName> {
        self.by_room.get_key_value(name).map(|(room, _)| room)
    }

    /// Requires that the room is delivered up to `seq` before the subscription [is settled](Self::is_settled). Does nothing if the room was
    /// left.
    pub fn require(&mut self, room: &RoomName, seq: u64) {
        let place = self.by_room.get(room).and_then(|index| self.slots.get_mut(*index));
        if let Some(Some(place)) = place {
            place.slot.require(seq);
        }
    }

    /// Whether everything that is [required](Self::require) was delivered.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        // Begin with the room that was unsettled the last time: mostly it still is.
        let first = self.unsettled.get();
        let indexes = (first..self.slots.len()).chain(0..first);
        let is_unsettled = |place: &Option<RoomSlot>| place.as_ref().is_some_and(|room| !room.slot.is_settled());
        let unsettled = indexes.into_iter().find(|index| self.slots.get(*index).is_some_and(is_unsettled));
        self.unsettled.set(unsettled.unwrap_or_default());
        unsettled.is_none()
    }

    /// A waker for everything but the rooms that the stream waits for.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.ready))
    }

    /// Whether that waker was used since the last call. Most wake-ups are of rooms, and need no look at anything else.
    #[must_use]
    pub fn was_woken(&self) -> bool {
        self.ready.take_other()
    }

    /// The next frames, all of one room. Rooms take turns; only those that were woken are polled.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, SubscriptionError>> {
        self.stream.register(cx.waker());
        while let Some(index) = self.ready.take(self.last_polled, self.slots.len()) {
            self.last_polled = index;
            let Some(Some(RoomSlot { slot, waker })) = self.slots.get_mut(index) else { continue };
            match slot.poll_next(&mut Context::from_waker(waker), &self.stream) {
                Poll::Pending => {}
                Poll::Ready(Ok(Some(frames))) => {
                    self.ready.add(index);
                    return Poll::Ready(Ok(frames));
                }
                Poll::Ready(Ok(None)) => self.ended += 1,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
            }
        }
        let all_ended = self.ended > 0 && self.ended == self.by_room.len();
        if all_ended { Poll::Ready(Err(self.why_ended())) } else { Poll::Pending }
    }

    fn why_ended(&self) -> SubscriptionError {
        match self.hub.why_ended() {
            Error::Engine(_) => SubscriptionError::LogEnded,
            _ => SubscriptionError::HubStopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::hub::{JoinOptions, model::hub_in};

    #[tokio::test]
    async fn the_next_room_takes_the_place_of_one_that_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let (_engine, hub, _task) = hub_in(folder.path());
        let mut subscription = hub.subscribe(RequestHandle::default());
        let room = |n: usize| RoomName::new(["a", "b", "c"][n % 3]).unwrap();
        for n in 0..2 {
            subscription.add(hub.clone().join(room(n), JoinOptions::default()).await.unwrap());
        }
        for n in 2..1_000 {
            subscription.remove(&room(n - 2)).unwrap();
            subscription.add(hub.clone().join(room(n), JoinOptions::default()).await.unwrap());
            assert_eq!((subscription.slots.len(), subscription.by_room.len()), (2, 2));
        }
        assert_eq!(hub.counts().await.unwrap().members, 2);
    }

    #[tokio::test]
    async fn a_hub_that_failed_is_told_apart_from_a_log_that_ended() {
        let folder = tempfile::tempdir().unwrap();
        for fails in [true, false] {
            let (engine, hub, task) = hub_in(&folder.path().join(fails.to_string()));
            let mut subscription = hub.subscribe(RequestHandle::default());
            subscription.add(hub.clone().join(RoomName::default(), JoinOptions::default()).await.unwrap());
            if fails {
                // What a panic does: the actor is gone before its feed has ended.
                task.abort();
            } else {
                engine.close().await;
            }
            let end = poll_fn(|cx| subscription.poll_next(cx)).await.unwrap_err();
            assert_eq!(matches!(end, SubscriptionError::HubStopped), fails, "{end:?}");
            assert_eq!(matches!(end, SubscriptionError::LogEnded), !fails, "{end:?}");
            let refused = hub.clone().join(RoomName::default(), JoinOptions::default()).await.unwrap_err();
            assert_eq!(matches!(refused, Error::Stopped), fails, "{refused:?}");
            assert_eq!(matches!(refused, Error::Engine(engine::Error::Stopped)), !fails, "{refused:?}");
        }
    }
}

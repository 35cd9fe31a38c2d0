//! Which rooms of a stream have woken it, so that a wake touches no other.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Wake, Waker},
};

/// The rooms of a stream to look at, in the order in which they woke.
#[derive(Debug, Default)]
pub(super) struct Ready(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<usize>,
    /// By room: it stands in the queue, where it stands only once.
    queued: Vec<bool>,
    stream: Option<Waker>,
}

impl Ready {
    /// A waker that adds this room, and wakes the stream.
    pub(super) fn waker(self: &Arc<Self>, room: usize) -> Waker {
        Waker::from(Arc::new(RoomWaker { room, ready: Arc::clone(self) }))
    }

    /// Sets whom to wake.
    pub(super) fn register(&self, stream: &Waker) {
        let mut state = self.lock();
        match &mut state.stream {
            Some(known) => known.clone_from(stream),
            none => *none = Some(stream.clone()),
        }
    }

    /// Adds a room, unless it waits already.
    pub(super) fn add(&self, room: usize) {
        self.lock().add(room);
    }

    /// Takes the room that has waited longest.
    pub(super) fn take(&self) -> Option<usize> {
        let mut state = self.lock();
        let room = state.queue.pop_front()?;
        if let Some(queued) = state.queued.get_mut(room) {
            *queued = false;
        }
        Some(room)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, room: usize) {
        if self.queued.len() <= room {
            self.queued.resize(room + 1, false);
        }
        if let Some(queued @ false) = self.queued.get_mut(room) {
            *queued = true;
            self.queue.push_back(room);
        }
    }
}

#[derive(Debug)]
struct RoomWaker {
    room: usize,
    ready: Arc<Ready>,
}

impl Wake for RoomWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let stream = {
            let mut state = self.ready.lock();
            state.add(self.room);
            state.stream.clone()
        };
        // Outside the lock: the stream may run at once, and take.
        if let Some(stream) = stream {
            stream.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_taken_in_the_order_in_which_they_woke_and_once() {
        let ready = Arc::<Ready>::default();
        for room in [2, 0, 2, 1, 0] {
            ready.waker(room).wake();
        }
        let taken: Vec<_> = std::iter::from_fn(|| ready.take()).collect();
        assert_eq!(taken, [2, 0, 1]);
        ready.waker(2).wake();
        assert_eq!(ready.take(), Some(2), "a room that was taken can wake again");
    }
}

//! The one task that owns all rooms, and fans committed records out.
//!
//! Invariants:
//! - A record is delivered only after the engine emitted it, which it does only when the record is durable.
//! - A receiver is created between two batches of its room: it sees each batch whole, or not at all.
//! - The actor awaits its inbox, its feed and its timers; never the engine, never a subscriber.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior},
};
use tokio_stream::StreamExt;
use tokio_util::time::DelayQueue;

use super::{
    budget::Budget,
    command::{Command, Counts, JoinReply, Leave, Membership},
    directory::Directory,
    error::Error,
    presence::Presence,
    room::Room,
    settings::Settings,
};
use crate::{
    batch,
    engine::{FeedItem, Signal},
    types::RoomName,
};

/// Interval at which watchers of rooms and users are notified of changes.
const DIRECTORY_EVERY: Duration = Duration::from_secs(1);

/// What a signal counts for in a turn, in bytes, so that a stream of signals does not delay the batches before it.
const SIGNAL_BYTES: usize = 1024;

pub(super) struct Actor {
    rooms: HashMap<RoomName, Room>,
    commands: mpsc::Receiver<Command>,
    /// Where new memberships reserve a place for their leave.
    leave_permits: mpsc::Sender<Leave>,
    leaves: mpsc::Receiver<Leave>,
    feed: mpsc::Receiver<FeedItem>,
    settings: Settings,
    budget: Budget,
    /// Rooms with framed records that are not in their ring yet. Empty between two turns.
    unsent: Vec<RoomName>,
    /// Rooms with delayed presence reports.
    checks: DelayQueue<RoomName>,
    directory: Arc<Directory>,
    /// Changed rooms that are not in the directory's change log yet.
    changed: HashSet<RoomName>,
    /// When watchers are notified.
    notify: Interval,
}

impl Actor {
    pub(super) fn new(
        settings: Settings,
        commands: mpsc::Receiver<Command>,
        feed: mpsc::Receiver<FeedItem>,
        directory: Arc<Directory>,
    ) -> Self {
        let (leave_permits, leaves) = mpsc::channel(settings.memberships);
        let mut notify = tokio::time::interval(DIRECTORY_EVERY);
        notify.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            rooms: HashMap::new(),
            commands,
            leave_permits,
            leaves,
            feed,
            budget: Budget::new(settings.ring_bytes),
            settings,
            unsent: Vec::new(),
            checks: DelayQueue::new(),
            directory,
            changed: HashSet::new(),
            notify,
        }
    }

    /// Runs until the feed ends, and then sets `feed_ended` before the channels close.
    pub(super) async fn run(mut self, feed_ended: Arc<AtomicBool>) {
        loop {
            tokio::select! {
                item = self.feed.recv() => match item {
                    Some(item) => {
                        self.deliver(item);
                        // Let subscribers on this thread run before the ring moves on.
                        tokio::task::yield_now().await;
                    }
                    None => {
                        feed_ended.store(true, Ordering::Release);
                        return tracing::debug!("the hub ends: its feed has ended");
                    }
                },
                Some(command) = self.commands.recv() => self.execute(command),
                Some(leave) = self.leaves.recv() => self.leave(&leave),
                Some(due) = self.checks.next(), if !self.checks.is_empty() => {
                    let name = due.into_inner();
                    if let Some(room) = self.rooms.get_mut(&name) {
                        room.check = None;
                    }
                    self.change_presence(&name, Presence::check);
                }
                _ = self.notify.tick(), if self.is_watched() => self.notify_watchers(),
            }
        }
    }

    /// Frames everything that is ready into one batch per room, and sends the batches. A turn ends at a quarter of a ring: one that filled a
    /// whole ring would make even subscribers lag that keep up.
    fn deliver(&mut self, first: FeedItem) {
        let turn = self.settings.ring_batches * batch::MAX_BYTES / 4;
        let mut framed = self.take(first);
        while framed < turn {
            match self.feed.try_recv() {
                Ok(item) => framed += self.take(item),
                Err(_) => break,
            }
        }
        for name in self.unsent.drain(..) {
            if let Some(room) = self.rooms.get_mut(&name) {
                room.send(&mut self.budget);
            }
        }
    }

    /// Frames an item of the feed. Returns the bytes that it counts for in the turn.
    fn take(&mut self, item: FeedItem) -> usize {
        let records = match item {
            FeedItem::Records(records) => records,
            FeedItem::Signal { room, signal: Signal::Typing { user_id, stream } } => {
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.presence.typing(user_id, stream, Instant::now());
                }
                return SIGNAL_BYTES;
            }
        };
        let watched = self.directory.rooms.is_watched();
        let mut bytes = 0;
        for record in records {
            bytes += record.size();
            if watched && !self.changed.contains(&record.room) {
                self.changed.insert(record.room.clone());
            }
            // A room without subscribers has no ring: its messages are in the log.
            if let Some(room) = self.rooms.get_mut(&record.room) {
                if !room.has_unsent() {
                    self.unsent.push(record.room.clone());
                }
                room.frame(record, &mut self.budget);
            }
        }
        bytes
    }

    fn execute(&mut self, command: Command) {
        // A stream that left before the command was sent must not count for it.
        while let Ok(leave) = self.leaves.try_recv() {
            self.leave(&leave);
        }
        // The receiver of a reply may be gone; a membership that is dropped with the reply leaves by itself.
        match command {
            Command::Join { room, user_id, presence, reply } => {
                drop(reply.send(self.join(room, user_id, presence)));
            }
            Command::Listen { room, reply } => {
                let listener = self.rooms.get_mut(&room).map(|room| room.presence.listen_again());
                _ = reply.send(listener);
            }
            Command::Count { reply } => {
                let members = self.rooms.values().map(Room::members).sum();
                _ = reply.send(Counts { rooms: self.rooms.len(), members, ring_bytes: self.budget.held() });
            }
        }
    }

    fn join(&mut self, name: RoomName, user_id: Option<Arc<str>>, presence: bool) -> Result<JoinReply, Error> {
        if let (Some(id), Some(limit)) = (&user_id, self.settings.memberships_per_user)
            && self.directory.memberships(id) >= limit
        {
            return Err(Error::TooManyMembershipsOfCaller { limit });
        }
        let limit = self.settings.memberships;
        let permit = self.leave_permits.clone().try_reserve_owned();
        let permit = permit.map_err(|_| Error::TooManyMemberships { limit })?;
        let limit = self.settings.open_rooms;
        if self.rooms.len() >= limit && !self.rooms.contains_key(&name) {
            return Err(Error::TooManyOpenRooms { limit });
        }
        let limit = self.settings.members_per_room;
        if self.rooms.get(&name).is_some_and(|room| room.members() >= limit) {
            return Err(Error::RoomFull { limit });
        }
        let (ring_batches, presence_max) = (self.settings.ring_batches, self.settings.presence_max);
        let room =
            self.rooms.entry(name.clone()).or_insert_with(|| Room::new(name.clone(), ring_batches, presence_max));
        let ring = room.join();
        if let Some(id) = &user_id {
            self.directory.enter(id);
        }
        self.change_presence(&name, |presence, now| presence.enter(user_id.as_ref(), now));
        // Listen after entering, so that the snapshot includes the new member.
        let listener = self.rooms.get_mut(&name).filter(|_| presence).map(|room| room.presence.listen());
        let online = self.rooms.get(&name).map_or(0, |room| room.presence.online());
        let membership = Membership::new(permit, Leave { room: name, user_id });
        Ok(JoinReply { ring, membership, online, listener })
    }

    fn leave(&mut self, leave: &Leave) {
        let Leave { room: name, user_id } = leave;
        if let Some(id) = user_id {
            self.directory.leave(id);
        }
        self.change_presence(name, |presence, now| presence.leave(user_id.as_ref(), now));
        if self.rooms.get_mut(name).is_some_and(Room::leave)
            && let Some(Room { check: Some((_, key)), .. }) = self.rooms.remove(name)
        {
            self.checks.remove(&key);
        }
    }

    /// Changes the presence of a room, and updates what depends on it: the directory, and the timer of its delayed reports.
    fn change_presence(&mut self, name: &RoomName, change: impl FnOnce(&mut Presence, Instant)) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        change(&mut room.presence, Instant::now());
        self.directory.set_members(name, room.presence.online());
        let due_at = room.presence.due_at();
        if due_at != room.check.as_ref().map(|(at, _)| *at) {
            if let Some((_, key)) = room.check.take() {
                self.checks.remove(&key);
            }
            room.check = due_at.map(|at| (at, self.checks.insert_at(name.clone(), at)));
        }
        if self.directory.rooms.is_watched() {
            self.changed.insert(name.clone());
        }
    }

    fn is_watched(&self) -> bool {
        self.directory.rooms.is_watched() || self.directory.users.is_watched()
    }

    fn notify_watchers(&mut self) {
        self.changed.drain().for_each(|room| self.directory.rooms.record(&room));
        self.directory.rooms.notify();
        self.directory.users.notify();
    }
}

//! The one task that owns all rooms, and fans committed records out.
//!
//! Invariants:
//! - Nobody is shown a record before the engine emitted it, which it does only when the record is durable.
//! - A receiver is handed out between two batches of its room: it sees each batch whole, or not at all.
//! - The actor awaits its inbox, its feed and its clocks; never the engine, never a subscriber.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior},
};
use tokio_stream::StreamExt;
use tokio_util::time::DelayQueue;

use super::{
    Command, Counts, Error, Joined, Leave, Membership, Settings, budget::Budget, directory::Directory,
    presence::Presence, room::Room,
};
use crate::{
    batch,
    engine::{FeedItem, Signal},
    types::RoomName,
};

/// Watchers of rooms are told of a room at most once in so long.
const DIRECTORY_EVERY: Duration = Duration::from_secs(1);

/// What a signal counts for in a turn: those who type without end must not hold up what was said before.
const SIGNAL_BYTES: usize = 1024;

pub(super) struct Actor {
    rooms: HashMap<RoomName, Room>,
    commands: mpsc::Receiver<Command>,
    leaves: mpsc::Sender<Leave>,
    left: mpsc::Receiver<Leave>,
    feed: mpsc::Receiver<FeedItem>,
    settings: Settings,
    budget: Budget,
    /// Rooms with framed records that were not sent yet. Empty between two turns.
    unsent: Vec<RoomName>,
    /// Rooms whose presence wants to be looked at again.
    checks: DelayQueue<RoomName>,
    directory: Arc<Directory>,
    /// Rooms that are not on the directory's board yet.
    changed: HashSet<RoomName>,
    /// When watchers are told.
    telling: Interval,
}

impl Actor {
    pub(super) fn new(
        settings: Settings,
        commands: mpsc::Receiver<Command>,
        feed: mpsc::Receiver<FeedItem>,
        directory: Arc<Directory>,
    ) -> Self {
        let (leaves, left) = mpsc::channel(settings.memberships);
        let mut telling = tokio::time::interval(DIRECTORY_EVERY);
        telling.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            rooms: HashMap::new(),
            commands,
            leaves,
            left,
            feed,
            budget: Budget::new(settings.ring_bytes),
            settings,
            unsent: Vec::new(),
            checks: DelayQueue::new(),
            directory,
            changed: HashSet::new(),
            telling,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                fed = self.feed.recv() => match fed {
                    Some(fed) => {
                        self.deliver(fed);
                        // Subscribers on this thread get their turn before the ring moves on.
                        tokio::task::yield_now().await;
                    }
                    None => return tracing::debug!("the hub ends: its feed has ended"),
                },
                Some(command) = self.commands.recv() => self.obey(command),
                Some(leave) = self.left.recv() => self.leave(&leave),
                Some(due) = self.checks.next(), if !self.checks.is_empty() => {
                    let name = due.into_inner();
                    if let Some(room) = self.rooms.get_mut(&name) {
                        room.check = None;
                    }
                    self.in_presence(&name, Presence::check);
                }
                _ = self.telling.tick(), if self.is_watched() => self.tell(),
            }
        }
    }

    /// Frames what is ready, once a room, and sends it. One turn must not fill a ring by itself, or it would throw out also those who keep
    /// up: it ends at a quarter of one.
    fn deliver(&mut self, first: FeedItem) {
        let turn = self.settings.ring_batches * batch::MAX_BYTES / 4;
        let mut framed = self.take(first);
        while framed < turn {
            match self.feed.try_recv() {
                Ok(fed) => framed += self.take(fed),
                Err(_) => break,
            }
        }
        for name in self.unsent.drain(..) {
            if let Some(room) = self.rooms.get_mut(&name) {
                room.send(&mut self.budget);
            }
        }
    }

    /// Says how many bytes of messages there were, or what counts as such: a turn ends, whatever comes.
    fn take(&mut self, fed: FeedItem) -> usize {
        let records = match fed {
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
            // A room that nobody is in has no ring: its messages are in the log.
            if let Some(room) = self.rooms.get_mut(&record.room) {
                if !room.has_unsent() {
                    self.unsent.push(record.room.clone());
                }
                room.frame(record, &mut self.budget);
            }
        }
        bytes
    }

    fn obey(&mut self, command: Command) {
        // Who left before the question was asked is not there any more.
        while let Ok(leave) = self.left.try_recv() {
            self.leave(&leave);
        }
        // Whoever asked may be gone before the answer; a membership dropped on the way leaves by itself.
        match command {
            Command::Join { room, user_id, presence, joined } => {
                drop(joined.send(self.join(room, user_id, presence)));
            }
            Command::Listen { room, listener } => {
                let again = self.rooms.get_mut(&room).map(|room| room.presence.listen_again());
                _ = listener.send(again);
            }
            Command::Count { counts } => {
                let members = self.rooms.values().map(Room::members).sum();
                _ = counts.send(Counts { rooms: self.rooms.len(), members, ring_bytes: self.budget.held() });
            }
        }
    }

    fn join(&mut self, name: RoomName, user_id: Option<Arc<str>>, presence: bool) -> Result<Joined, Error> {
        if let (Some(id), Some(limit)) = (&user_id, self.settings.memberships_per_user)
            && self.directory.places(id) >= limit
        {
            return Err(Error::TooManyMembershipsOfCaller { limit });
        }
        let permit = self.leaves.clone().try_reserve_owned().map_err(|_| Error::TooManyMemberships)?;
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
            self.directory.come(id);
        }
        self.in_presence(&name, |presence, now| presence.enter(user_id.as_ref(), now));
        // After its own coming, which it is so told of as of everyone's before.
        let listener = self.rooms.get_mut(&name).filter(|_| presence).map(|room| room.presence.listen());
        let online = self.rooms.get(&name).map_or(0, |room| room.presence.online());
        let membership = Membership { leave: Some((permit, Leave { room: name, user_id })) };
        Ok(Joined { ring, membership, online, listener })
    }

    fn leave(&mut self, leave: &Leave) {
        let Leave { room: name, user_id } = leave;
        if let Some(id) = user_id {
            self.directory.go(id);
        }
        self.in_presence(name, |presence, now| presence.leave(user_id.as_ref(), now));
        if self.rooms.get_mut(name).is_some_and(Room::leave)
            && let Some(Room { check: Some((_, key)), .. }) = self.rooms.remove(name)
        {
            self.checks.remove(&key);
        }
    }

    fn in_presence(&mut self, name: &RoomName, change: impl FnOnce(&mut Presence, Instant)) {
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

    fn tell(&mut self) {
        self.changed.drain().for_each(|room| self.directory.rooms.changed(&room));
        self.directory.rooms.tell();
        self.directory.users.tell();
    }
}

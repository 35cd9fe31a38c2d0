//! The actor that owns every room's ring and fans committed records out.
//!
//! Invariants:
//! - Nobody is shown a record before the engine emitted it, which it does only when the record is durable.
//! - A receiver is handed out between two batches of its room: it sees each batch whole, or not at all.
//! - The actor awaits its inbox, its feed and nothing else; never the engine, never a subscriber.

mod budget;
#[cfg(test)]
mod model;
mod room;
mod subscription;

use std::{collections::HashMap, sync::Arc};

use tokio::{
    sync::{broadcast, mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    batch,
    engine::{Draft, Engine, Error as EngineError, Fed, Receipt, Refused, RoomName},
};
use budget::{Budget, Kept};
use room::Room;
pub use room::message;
pub use subscription::{Ended, Subscription};

/// How large the hub may grow.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Batches that a room's ring keeps for its slowest subscriber.
    pub ring_batches: usize,
    /// Bytes that the rings of all rooms keep; beyond, the oldest batches are given up.
    pub ring_bytes: usize,
    /// Joins that may wait for the actor.
    pub inbox: usize,
    /// Rooms that somebody is in.
    pub open_rooms: usize,
    /// Places in rooms: a stream takes one for each room that it is in.
    pub memberships: usize,
    /// Rooms that one stream may be in.
    pub rooms_per_stream: usize,
}

/// Why a room was not joined.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream is in the room already.
    #[error("the stream is in the room {0} already")]
    AlreadyJoined(RoomName),
    /// The stream is in as many rooms as it may be.
    #[error("a stream can be in at most {limit} rooms")]
    TooManyRooms {
        /// The configured limit.
        limit: usize,
    },
    /// Somebody is in as many rooms as there may be with a ring.
    #[error("somebody is in as many as {limit} rooms, which is the limit")]
    TooManyOpenRooms {
        /// The configured limit.
        limit: usize,
    },
    /// All streams together are in as many rooms as they may be.
    #[error("the server holds as many memberships as it may")]
    TooManyMemberships,
    /// The hub has ended.
    #[error("the hub has ended")]
    Closed,
    /// The log could not say where the room stands.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// The way to the hub. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    engine: Arc<dyn Engine>,
    inbox: mpsc::Sender<Command>,
    rooms_per_stream: usize,
}

#[derive(Debug)]
enum Command {
    Join { room: RoomName, joined: oneshot::Sender<Result<Joined, Error>> },
    Count { counts: oneshot::Sender<Counts> },
}

/// A place in a room.
#[derive(Debug)]
struct Joined {
    batches: broadcast::Receiver<Arc<Kept>>,
    membership: Membership,
}

/// Counts as a member of the room until it is dropped.
#[derive(Debug)]
struct Membership {
    room: RoomName,
    /// A reserved place for the word that tells the actor, so that a leave never waits and never gets lost.
    leave: Option<mpsc::OwnedPermit<RoomName>>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        if let Some(permit) = self.leave.take() {
            permit.send(self.room.clone());
        }
    }
}

/// What the hub holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rooms that somebody is in: each has a ring.
    pub rooms: usize,
    /// Subscribers, each counted once for each room that it is in.
    pub members: usize,
    /// Bytes that all rings keep.
    pub ring_bytes: usize,
}

/// Starts the actor. It ends when its feed does: when the engine is sealed, or has closed.
#[must_use]
pub fn start(settings: &Settings, engine: Arc<dyn Engine>, feed: mpsc::Receiver<Fed>) -> (Handle, JoinHandle<()>) {
    let (inbox, commands) = mpsc::channel(settings.inbox);
    let (leaves, left) = mpsc::channel(settings.memberships);
    let actor = Actor {
        rooms: HashMap::new(),
        commands,
        leaves,
        left,
        feed,
        settings: settings.clone(),
        budget: Budget::new(settings.ring_bytes),
        unsent: Vec::new(),
    };
    let shared = Shared { engine, inbox, rooms_per_stream: settings.rooms_per_stream };
    (Handle(Arc::new(shared)), tokio::spawn(actor.run()))
}

impl Handle {
    /// Waits for a place in the log's queue and leaves the draft there.
    pub async fn append(&self, draft: Draft) -> Result<Receipt, Refused> {
        self.0.engine.append(draft).await
    }

    /// A subscription to no room yet.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(self.clone())
    }

    /// What the hub holds now.
    pub async fn counts(&self) -> Result<Counts, Error> {
        let (counts, answer) = oneshot::channel();
        self.ask(Command::Count { counts }).await?;
        answer.await.map_err(|_| Error::Closed)
    }

    async fn join(&self, room: RoomName) -> Result<Joined, Error> {
        let (joined, answer) = oneshot::channel();
        self.ask(Command::Join { room, joined }).await?;
        answer.await.map_err(|_| Error::Closed)?
    }

    async fn ask(&self, command: Command) -> Result<(), Error> {
        self.0.inbox.send(command).await.map_err(|_| Error::Closed)
    }
}

struct Actor {
    rooms: HashMap<RoomName, Room>,
    commands: mpsc::Receiver<Command>,
    leaves: mpsc::Sender<RoomName>,
    left: mpsc::Receiver<RoomName>,
    feed: mpsc::Receiver<Fed>,
    settings: Settings,
    budget: Budget,
    /// Rooms with framed records that were not sent yet. Empty between two turns.
    unsent: Vec<RoomName>,
}

impl Actor {
    async fn run(mut self) {
        loop {
            tokio::select! {
                group = self.feed.recv() => match group {
                    Some(group) => {
                        self.deliver(group);
                        // Subscribers on this thread get their turn before the ring moves on.
                        tokio::task::yield_now().await;
                    }
                    None => return tracing::debug!("the hub ends: its feed has ended"),
                },
                Some(command) = self.commands.recv() => self.obey(command),
                Some(room) = self.left.recv() => self.leave(&room),
            }
        }
    }

    /// Frames what is ready, once a room, and sends it. One turn must not fill a ring by itself, or it would throw out also those who keep
    /// up: it ends at a quarter of one.
    fn deliver(&mut self, group: Fed) {
        let turn = self.settings.ring_batches * batch::MAX_BYTES / 4;
        let mut framed = self.frame(group);
        while framed < turn {
            match self.feed.try_recv() {
                Ok(group) => framed += self.frame(group),
                Err(_) => break,
            }
        }
        for name in self.unsent.drain(..) {
            if let Some(room) = self.rooms.get_mut(&name) {
                room.send(&mut self.budget);
            }
        }
    }

    /// Says how many bytes of messages there were.
    fn frame(&mut self, group: Fed) -> usize {
        let Fed::Records(group) = group else { return 0 };
        let mut bytes = 0;
        for record in group {
            bytes += record.size();
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
        // Whoever asked may be gone before the answer; a membership dropped on the way leaves by itself.
        match command {
            Command::Join { room, joined } => drop(joined.send(self.join(room))),
            Command::Count { counts } => {
                let members = self.rooms.values().map(Room::members).sum();
                _ = counts.send(Counts { rooms: self.rooms.len(), members, ring_bytes: self.budget.held() });
            }
        }
    }

    fn join(&mut self, name: RoomName) -> Result<Joined, Error> {
        let permit = self.leaves.clone().try_reserve_owned().map_err(|_| Error::TooManyMemberships)?;
        let limit = self.settings.open_rooms;
        if self.rooms.len() >= limit && !self.rooms.contains_key(&name) {
            return Err(Error::TooManyOpenRooms { limit });
        }
        let room = self.rooms.entry(name.clone()).or_insert_with(|| Room::new(self.settings.ring_batches));
        Ok(Joined { batches: room.join(), membership: Membership { room: name, leave: Some(permit) } })
    }

    fn leave(&mut self, name: &RoomName) {
        if self.rooms.get_mut(name).is_some_and(Room::leave) {
            self.rooms.remove(name);
        }
    }
}

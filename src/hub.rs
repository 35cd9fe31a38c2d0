//! The rooms: whoever is in one gets everything that is said there, in order, and nobody waits for anybody.
//!
//! One actor owns them all; a [`Handle`] is the way to it, a [`Subscription`] what one stream receives.

mod actor;
mod budget;
mod directory;
mod history;
mod join;
#[cfg(test)]
mod model;
mod presence;
mod room;
mod subscription;

use std::{future::Future, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    engine::{Draft, Error as EngineError, FeedItem, Log, Receipt, Refused, Signal, Signals},
    lifecycle::RequestHandle,
    metrics::Metrics,
    types::RoomName,
};
use actor::Actor;
pub use directory::Changes;
use directory::Directory;
use history::History;
pub use join::{JoinOptions, JoinStart, JoinedRoom};
use presence::Listener;
use room::Ring;
pub use room::message;
pub use subscription::{Ended, Removed, Subscription};

/// How large the hub may grow.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Batches that a room's ring keeps for its slowest subscriber.
    pub ring_batches: usize,
    /// Bytes that the rings of all rooms keep; beyond, the oldest batches are given up.
    pub ring_bytes: usize,
    /// Questions, most of them joins, that may wait for the actor.
    pub inbox: usize,
    /// Rooms that somebody is in.
    pub open_rooms: usize,
    /// Places in rooms: a stream takes one for each room that it is in.
    pub memberships: usize,
    /// Places in rooms of one user. Absent: as many as there are.
    pub memberships_per_user: Option<usize>,
    /// Rooms that one stream may be in.
    pub rooms_per_stream: usize,
    /// Places in one room.
    pub members_per_room: usize,
    /// Members of a room up to which presence names each; above, it is a count.
    pub presence_max: usize,
    /// Bytes of pages of the log that are kept for those who resume.
    pub history_bytes: usize,
    /// Changes that may wait for a slow watcher of rooms, or of who is online.
    pub waiting_changes: usize,
    /// Watchers of rooms, and of who is online.
    pub watchers: usize,
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
    /// The room has as many members as it may.
    #[error("the room holds as many as it may, which is {limit}")]
    RoomFull {
        /// The configured limit.
        limit: usize,
    },
    /// The streams of this user together are in as many rooms as they may be.
    #[error("the streams of this caller are in as many as {limit} rooms, which is the limit")]
    TooManyMembershipsOfCaller {
        /// The configured limit.
        limit: usize,
    },
    /// All streams together are in as many rooms as they may be.
    #[error("the server holds as many memberships as it may")]
    TooManyMemberships,
    /// As many watch as may.
    #[error("as many as {limit} streams watch already, which is the limit")]
    TooManyWatchers {
        /// The configured limit.
        limit: usize,
    },
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
    log: Arc<dyn Log>,
    signals: Arc<dyn Signals>,
    inbox: mpsc::Sender<Command>,
    history: History,
    directory: Arc<Directory>,
    metrics: Arc<Metrics>,
    rooms_per_stream: usize,
}

#[derive(Debug)]
enum Command {
    Join { room: RoomName, user_id: Option<Arc<str>>, presence: bool, joined: oneshot::Sender<Result<Joined, Error>> },
    Listen { room: RoomName, listener: oneshot::Sender<Option<Listener>> },
    Count { counts: oneshot::Sender<Counts> },
}

/// A place in a room.
#[derive(Debug)]
struct Joined {
    ring: Ring,
    membership: Membership,
    /// Distinct members.
    online: usize,
    /// For those who want to know who comes and goes.
    listener: Option<Listener>,
}

/// Counts as a member of the room until it is dropped.
#[derive(Debug)]
struct Membership {
    /// The word that tells the actor, with a place reserved for it, so that a leave never waits and never gets lost.
    leave: Option<(mpsc::OwnedPermit<Leave>, Leave)>,
}

/// A place in a room is given back.
#[derive(Debug)]
struct Leave {
    room: RoomName,
    user_id: Option<Arc<str>>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        if let Some((permit, leave)) = self.leave.take() {
            permit.send(leave);
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
pub fn start(
    settings: &Settings,
    log: Arc<dyn Log>,
    signals: Arc<dyn Signals>,
    feed: mpsc::Receiver<FeedItem>,
    metrics: Arc<Metrics>,
) -> (Handle, JoinHandle<()>) {
    let (inbox, commands) = mpsc::channel(settings.inbox);
    let directory = Arc::new(Directory::new(settings.waiting_changes, settings.watchers));
    let history = History::new(Arc::clone(&log), settings.history_bytes);
    let actor = Actor::new(settings.clone(), commands, feed, Arc::clone(&directory));
    let rooms_per_stream = settings.rooms_per_stream;
    let shared = Shared { log, signals, inbox, history, directory, metrics, rooms_per_stream };
    (Handle(Arc::new(shared)), tokio::spawn(actor.run()))
}

impl Handle {
    /// Waits for a place in the log's queue and leaves the draft there.
    pub async fn append(&self, draft: Draft) -> Result<Receipt, Refused> {
        self.0.log.append(draft).await
    }

    /// The same if there is a place at once; otherwise the draft comes back.
    pub fn try_append(&self, draft: Draft) -> Result<Receipt, Draft> {
        self.0.log.try_append(draft)
    }

    /// Waits for a place as a task of its own, for a stream, which may not be asked for long.
    #[must_use]
    pub fn append_unasked(&self, draft: Draft) -> BoxFuture<'static, Result<Receipt, Refused>> {
        let hub = self.clone();
        unasked(async move { hub.append(draft).await }, || Err(Refused::new(None, EngineError::Stopped)))
    }

    /// The log itself, for those who look without being there.
    #[must_use]
    pub fn log(&self) -> &dyn Log {
        &*self.0.log
    }

    /// A subscription to no room yet, of this stream.
    #[must_use]
    pub fn subscribe(&self, stream: RequestHandle) -> Subscription {
        Subscription::new(self.clone(), stream)
    }

    /// Tells those in a room who asked for it that a user types there, but not this stream. Best effort.
    pub fn typing(&self, room: RoomName, user_id: String, stream: &RequestHandle) {
        self.0.signals.signal(room, Signal::Typing { user_id, stream: stream.number() });
    }

    /// Some stream is in a room as this user.
    #[must_use]
    pub fn is_online(&self, user_id: &str) -> bool {
        self.0.directory.is_online(user_id)
    }

    /// The ids of users who come online or go, from now on.
    pub fn online_changes(&self) -> Result<Changes<Arc<str>>, Error> {
        Changes::new(Arc::clone(&self.0.directory), |directory| &directory.users)
    }

    /// The names of rooms in which something changes, from now on; also of such that do not exist yet.
    pub fn room_changes(&self) -> Result<Changes<RoomName>, Error> {
        Changes::new(Arc::clone(&self.0.directory), |directory| &directory.rooms)
    }

    /// How many distinct members a room has.
    #[must_use]
    pub fn members(&self, room: &RoomName) -> usize {
        self.0.directory.members(room)
    }

    /// What the hub holds now.
    pub async fn counts(&self) -> Result<Counts, Error> {
        let (counts, answer) = oneshot::channel();
        self.ask(Command::Count { counts }).await?;
        answer.await.map_err(|_| Error::Closed)
    }

    async fn join(&self, room: RoomName, user_id: Option<Arc<str>>, presence: bool) -> Result<Joined, Error> {
        let (joined, answer) = oneshot::channel();
        self.ask(Command::Join { room, user_id, presence, joined }).await?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// A new place among the listeners of a room, if it is still there.
    async fn listen(self, room: RoomName) -> Result<Option<Listener>, Error> {
        let (listener, answer) = oneshot::channel();
        self.ask(Command::Listen { room, listener }).await?;
        answer.await.map_err(|_| Error::Closed)
    }

    async fn ask(&self, command: Command) -> Result<(), Error> {
        self.0.inbox.send(command).await.map_err(|_| Error::Closed)
    }
}

/// Goes on by itself until it is dropped. A body whose client does not read is not asked any more: what it was waiting for would be given
/// to it all the same (a place in a queue, a connection that reads, a page that others wait for too), and nobody else would get it.
fn unasked<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
    vanished: impl FnOnce() -> T + Send + 'static,
) -> BoxFuture<'static, T> {
    let work = AbortOnDropHandle::new(tokio::spawn(work));
    // Only a runtime that ends, or a panic, takes it away.
    async move { work.await.unwrap_or_else(|_| vanished()) }.boxed()
}

/// The same for what mostly need not wait at all, and then costs no task.
fn at_once_or_unasked<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
    vanished: impl FnOnce() -> T + Send + 'static,
) -> BoxFuture<'static, T> {
    let mut work = work.boxed();
    match work.as_mut().now_or_never() {
        Some(outcome) => std::future::ready(outcome).boxed(),
        None => unasked(work, vanished),
    }
}

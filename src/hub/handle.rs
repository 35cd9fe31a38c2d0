//! The handle to the hub.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{
    actor::Actor,
    command::{Command, Counts, JoinReply},
    directory::{Changes, Directory},
    error::Error,
    history::History,
    presence::Listener,
    settings::Settings,
};
use crate::{
    engine::{self, FeedItem, Log},
    metrics::Metrics,
    types::RoomName,
};

/// The way to the hub. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) log: Arc<dyn Log>,
    inbox: mpsc::Sender<Command>,
    pub(super) history: History,
    directory: Arc<Directory>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) rooms_per_stream: usize,
    /// The actor has ended after its feed. An actor that ends otherwise has failed.
    feed_ended: Arc<AtomicBool>,
}

/// Starts the actor. It ends when its feed does: when the engine is sealed or closed.
#[must_use]
pub fn start(
    settings: &Settings,
    log: Arc<dyn Log>,
    feed: mpsc::Receiver<FeedItem>,
    metrics: Arc<Metrics>,
) -> (Handle, JoinHandle<()>) {
    let (inbox, commands) = mpsc::channel(settings.inbox);
    let directory = Arc::new(Directory::new(settings.waiting_changes, settings.watchers));
    let history = History::new(Arc::clone(&log), settings.history_bytes);
    let feed_ended = Arc::<AtomicBool>::default();
    let actor = Actor::new(settings.clone(), commands, feed, Arc::clone(&directory));
    let ended = Arc::clone(&feed_ended);
    let task = tokio::spawn(actor.run(ended));
    let rooms_per_stream = settings.rooms_per_stream;
    let shared = Shared { log, inbox, history, directory, metrics, rooms_per_stream, feed_ended };
    (Handle(Arc::new(shared)), task)
}

impl Handle {
    /// Whether some stream is in a room as this user.
    #[must_use]
    pub fn is_online(&self, user_id: &str) -> bool {
        self.0.directory.is_online(user_id)
    }

    /// The ids of users who come online or go offline, from now on.
    pub fn online_changes(&self) -> Result<Changes<Arc<str>>, Error> {
        Changes::new(Arc::clone(&self.0.directory), |directory| &directory.users)
    }

    /// The names of rooms in which something changes, from now on; also of rooms that do not exist yet.
    pub fn room_changes(&self) -> Result<Changes<RoomName>, Error> {
        Changes::new(Arc::clone(&self.0.directory), |directory| &directory.rooms)
    }

    /// Distinct members of a room.
    #[must_use]
    pub fn members(&self, room: &RoomName) -> usize {
        self.0.directory.members(room)
    }

    /// What the hub holds now.
    pub async fn counts(&self) -> Result<Counts, Error> {
        self.ask(|reply| Command::Count { reply }).await
    }

    /// Asks the actor for a membership.
    pub(super) async fn enter(
        &self,
        room: RoomName,
        user_id: Option<Arc<str>>,
        presence: bool,
    ) -> Result<JoinReply, Error> {
        self.ask(|reply| Command::Join { room, user_id, presence, reply }).await?
    }

    /// Asks the actor for a new listener of a room, if the room is still open.
    pub(super) async fn listen(self, room: RoomName) -> Result<Option<Listener>, Error> {
        self.ask(|reply| Command::Listen { room, reply }).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.0.inbox.send(command(reply)).await.map_err(|_| self.why_ended())?;
        answer.await.map_err(|_| self.why_ended())
    }

    /// Why an actor that is gone has ended.
    pub(super) fn why_ended(&self) -> Error {
        // Set by the actor before its channels close.
        if self.0.feed_ended.load(Ordering::Acquire) { Error::Engine(engine::Error::Stopped) } else { Error::Stopped }
    }
}

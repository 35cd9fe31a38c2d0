//! An open data folder: the implementation of the engine's traits on its parts.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{Mutex, mpsc, watch};
use uuid::Uuid;

use super::{
    alarm::Alarm,
    creators::Creators,
    error::OpenError,
    folder,
    log::RoomLog,
    pages,
    queue::{Queue, Write},
    readers::Readers,
    rooms::Rooms,
    schema,
    sessions::{self, Change},
    settings::Settings,
    sweep::{Sweep, Sweeper},
    user_count::UserCount,
    users,
    writer::{self, WriterThread},
};
use crate::{
    engine::{
        Draft, Engine, Error, FeedItem, Feeds, Log, Page, PasswordHash, Position, Receipt, Refused, RoomInfo, Rotated,
        SecretHash, Session, Sessions, Signal, Signals, User, UserWrite, Users, WriteError,
    },
    metrics::Metrics,
    types::{RoomName, Time},
};

/// An open data folder.
#[derive(Debug)]
pub struct Embedded {
    epoch: String,
    queue: Queue,
    readers: Readers,
    rooms: Arc<Rooms>,
    /// Becomes `true` when the writer can no longer guarantee durability; closed when the writer has ended.
    stopped: watch::Receiver<bool>,
    /// Names the thread or task that panicked; closed when all have ended.
    panicked: watch::Receiver<Option<&'static str>>,
    page_bytes: usize,
    /// Weak, so that the feed ends when the writer does.
    signals: mpsc::WeakSender<FeedItem>,
    metrics: Arc<Metrics>,
    running: Mutex<Option<Running>>,
}

/// What runs until the engine is closed.
#[derive(Debug)]
struct Running {
    sweep: Option<Sweep>,
    writer: WriterThread,
}

/// Opens the data folder, which no other process may have open. Blocks on the disk. Must be called within a Tokio runtime, on which it
/// starts tasks.
pub fn open(settings: &Settings, metrics: Arc<Metrics>) -> Result<(Arc<Embedded>, Feeds), OpenError> {
    if rusqlite::version_number() < 3_051_003 {
        return Err(OpenError::OldSqlite(rusqlite::version()));
    }
    let lock = folder::lock(&settings.folder)?;
    let file = settings.folder.join("rialto.db");
    let database = |cause| OpenError::Database { file: file.clone(), cause };
    let failed = |cause| OpenError::Folder { folder: settings.folder.clone(), cause };
    folder::create_private_file(&file).map_err(failed)?;

    let mut connection = Connection::open(&file).map_err(database)?;
    schema::prepare(&mut connection, &file)?;
    schema::limit(&connection, settings.file_bytes).map_err(database)?;
    let epoch = schema::epoch(&connection).map_err(database)?;
    let readers = Readers::open(&file, settings.readers).map_err(database)?;

    let (rooms_feed, fed_rooms) = mpsc::channel(settings.feed_groups);
    let (users_feed, fed_users) = mpsc::channel(settings.feed_groups);
    let signals = rooms_feed.downgrade();
    let rooms = Arc::new(Rooms::load(&connection).map_err(database)?);
    let creators = Creators::load(&connection, settings.rooms_per_user).map_err(database)?;
    let user_count = UserCount::load(&connection, settings.users).map_err(database)?;
    let log = RoomLog::new(Arc::clone(&rooms), settings.rooms, creators);
    let (stop, stopped) = watch::channel(false);
    let (queue, inbox) = Queue::new(settings.queue_drafts, settings.queue_bytes);
    let (alarm, panicked) = Alarm::new("log writer");
    let sweeper_alarm = alarm.named("retention sweeper");
    let parts =
        writer::Parts { connection, log, user_count, inbox, lock, rooms_feed, users_feed, stopped: stop, alarm };
    let writer = writer::start(parts).map_err(failed)?;

    let sweep = Sweep::start(Sweeper {
        retention: settings.retention.clone(),
        rooms: Arc::clone(&rooms),
        readers: readers.clone(),
        queue: queue.clone(),
        metrics: Arc::clone(&metrics),
        oldest: HashMap::new(),
        _alarm: sweeper_alarm,
    });
    let running = Mutex::new(Some(Running { sweep, writer }));
    let page_bytes = settings.page_bytes;
    let engine = Embedded { epoch, queue, readers, rooms, stopped, panicked, page_bytes, signals, metrics, running };
    Ok((Arc::new(engine), Feeds { rooms: fed_rooms, users: fed_users }))
}

impl Embedded {
    /// Makes the writer panic.
    #[cfg(test)]
    pub(crate) async fn panic_writer(&self) {
        self.queue.panic().await;
    }

    fn floor_and_head(&self, room: &RoomName) -> Result<(u64, u64), Error> {
        self.readers.check()?;
        Ok(self.rooms.get(room).map_or((0, 0), |room| (room.floor, room.head)))
    }
}

#[async_trait]
impl Log for Embedded {
    async fn append(&self, draft: Draft) -> Result<Receipt, Refused> {
        self.queue.append(draft).await
    }

    fn try_append(&self, draft: Draft) -> Result<Receipt, Draft> {
        self.queue.try_append(draft)
    }

    async fn read(&self, room: &RoomName, after: u64, max: usize) -> Result<Page, Error> {
        self.metrics.log_reads.inc();
        let (room, page_bytes) = (room.clone(), self.page_bytes);
        self.readers.read(move |connection| pages::read(connection, &room, after, max, page_bytes)).await
    }

    async fn read_before(&self, room: &RoomName, before: u64, max: usize) -> Result<Page, Error> {
        self.metrics.log_reads.inc();
        let (room, page_bytes) = (room.clone(), self.page_bytes);
        self.readers.read(move |connection| pages::read_before(connection, &room, before, max, page_bytes)).await
    }

    async fn cursor_before(&self, room: &RoomName, head: u64, count: usize) -> Result<u64, Error> {
        let (floor, last) = self.floor_and_head(room)?;
        // This engine assigns every number, so counting down is exact.
        Ok(head.min(last).saturating_sub(count as u64).max(floor).min(head))
    }

    async fn position(&self, room: &RoomName) -> Result<Position, Error> {
        let (floor, head) = self.floor_and_head(room)?;
        Ok(Position { epoch: self.epoch.clone(), floor, head })
    }

    async fn room(&self, room: &RoomName) -> Result<Option<RoomInfo>, Error> {
        self.readers.check()?;
        Ok(self.rooms.get(room).map(|found| found.info(room.clone())))
    }

    async fn rooms(&self, after: Option<&RoomName>, max: usize) -> Result<Vec<RoomInfo>, Error> {
        self.readers.check()?;
        Ok(self.rooms.after(after, max).into_iter().map(|(name, room)| room.info(name)).collect())
    }
}

impl Signals for Embedded {
    fn signal(&self, room: RoomName, signal: Signal) {
        if let Some(feed) = self.signals.upgrade()
            && feed.try_send(FeedItem::Signal { room, signal }).is_err()
        {
            self.metrics.dropped_signals.inc();
        }
    }
}

#[async_trait]
impl Users for Embedded {
    async fn load_users(&self, after: Option<Uuid>, max: usize) -> Result<Vec<User>, Error> {
        self.readers.read(move |connection| users::load(connection, after, max)).await
    }

    async fn write_users(&self, writes: Vec<UserWrite>) -> Result<u64, WriteError> {
        self.queue.write_users(writes).await
    }
}

#[async_trait]
impl Sessions for Embedded {
    async fn create_session(&self, session: Session, password: &PasswordHash, keep: usize) -> Result<bool, Error> {
        let password = password.clone();
        self.queue.ask(|reply| Write::Session(Change::Create { session, password, keep, reply })).await
    }

    async fn rotate_session(
        &self,
        id: Uuid,
        from: SecretHash,
        to: SecretHash,
        expires_at: Time,
    ) -> Result<Rotated, Error> {
        self.queue.ask(|reply| Write::Session(Change::Rotate { id, from, to, expires_at, reply })).await
    }

    async fn revoke_session(&self, id: Uuid) -> Result<Option<Uuid>, Error> {
        self.queue.ask(|reply| Write::Session(Change::Revoke { id, reply })).await
    }

    async fn purge_sessions(&self, expired_before: Time) -> Result<usize, Error> {
        let mut removed = 0;
        loop {
            let chunk = self.queue.ask(|reply| Write::Session(Change::Purge { expired_before, reply })).await?;
            removed += chunk;
            if chunk < sessions::CHUNK {
                return Ok(removed);
            }
        }
    }
}

#[async_trait]
impl Engine for Embedded {
    async fn stopped(&self) {
        _ = self.stopped.clone().wait_for(|stopped| *stopped).await;
    }

    async fn ended(&self) -> Option<&'static str> {
        self.panicked.clone().wait_for(Option::is_some).await.ok().and_then(|actor| *actor)
    }

    async fn seal(&self) {
        self.queue.seal().await;
    }

    async fn close(&self) {
        if let Some(Running { sweep, writer }) = self.running.lock().await.take() {
            if let Some(sweep) = sweep {
                sweep.stop().await;
            }
            self.queue.close().await;
            writer.join().await;
        }
        self.readers.close();
    }
}

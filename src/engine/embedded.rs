//! The engine in this process: one SQLite file in the data folder, WAL, fsync at every commit.
//!
//! One [`writer`] thread owns the only writing connection and commits everything that waits as one group; a few [`readers`] look at
//! consistent views of the messages; where the [`rooms`] stand is in memory. The file is laid out in [`schema`].

mod creators;
mod log;
mod pages;
mod queue;
mod readers;
mod rooms;
mod schema;
mod sessions;
mod sweep;
#[cfg(test)]
mod tests;
mod users;
mod writer;

use std::{
    collections::HashMap,
    fs::{self, File, TryLockError},
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{Mutex, mpsc, watch};
use uuid::Uuid;

use super::{
    Draft, Engine, Error, Fed, Feeds, Page, PasswordHash, Position, Receipt, Refused, Retention, RoomInfo, Rotated,
    SecretHash, Session, Signal, User, UserWrite, WriteError,
};
use crate::metrics::Metrics;
use crate::types::{RoomName, Time};
use creators::Creators;
use queue::{Queue, Write};
use readers::Readers;
use rooms::Rooms;
use sessions::Change;
use sweep::{Sweep, Sweeper};
use writer::WriterThread;

/// What an embedded engine is opened with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of the file; made if it is missing.
    pub folder: PathBuf,
    /// Drafts that may wait for the writer.
    pub queue_drafts: usize,
    /// Bytes of drafts that may wait for the writer.
    pub queue_bytes: usize,
    /// Groups of records that may wait for the hub, and of changes for the users.
    pub feed_groups: usize,
    /// Bytes of a page of records.
    pub page_bytes: usize,
    /// Bytes that the data file may grow to; 0: as the disk allows.
    pub file_bytes: u64,
    /// Rooms that may exist.
    pub rooms: usize,
    /// Rooms that one user may have brought into being by a first message; 0: any number.
    pub rooms_per_user: usize,
    /// Reading connections.
    pub readers: NonZeroUsize,
    /// How much of the rooms is kept.
    pub retention: Retention,
}

/// Why the data folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the data folder {0} is in use by another server; stop that one, or give another folder with --data")]
    InUse(PathBuf),
    /// The folder or its lock could not be made.
    #[error("the data folder {folder} cannot be used: {cause}")]
    Folder {
        /// Which folder.
        folder: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file was written by a newer Rialto.
    #[error("{0} was written by a newer version of Rialto; use that version, or a newer one")]
    TooNew(PathBuf),
    /// The bundled SQLite is older than 3.51.3.
    #[error("SQLite {0} is too old: 3.51.3 or later is needed")]
    OldSqlite(&'static str),
    /// The file system does not carry a write-ahead log.
    #[error("{0} cannot have a write-ahead log here; put the data folder on a local disk")]
    NoWriteAheadLog(PathBuf),
    /// What a crash left behind could not be made durable.
    #[error("the write-ahead log of {0} could not be written back; is another program reading the file?")]
    Checkpoint(PathBuf),
    /// SQLite could not open or migrate the file.
    #[error("{file} cannot be opened: {cause}")]
    Database {
        /// Which file.
        file: PathBuf,
        /// What SQLite said.
        cause: rusqlite::Error,
    },
}

/// An open data folder.
#[derive(Debug)]
pub struct Embedded {
    epoch: String,
    queue: Queue,
    readers: Readers,
    rooms: Arc<Rooms>,
    /// Set when the writer can no longer promise durability, closed when it has ended.
    stopped: watch::Receiver<bool>,
    page_bytes: usize,
    /// Weak, so that the feed ends with its writer.
    signals: mpsc::WeakSender<Fed>,
    metrics: Arc<Metrics>,
    running: Mutex<Option<Running>>,
}

/// What runs until the engine is closed.
#[derive(Debug)]
struct Running {
    sweep: Option<Sweep>,
    writer: WriterThread,
}

/// Opens the data folder, which nobody else may have open. Blocks; within a runtime, for its tasks.
pub fn open(settings: &Settings, metrics: Arc<Metrics>) -> Result<(Arc<Embedded>, Feeds), OpenError> {
    if rusqlite::version_number() < 3_051_003 {
        return Err(OpenError::OldSqlite(rusqlite::version()));
    }
    let lock = lock_folder(&settings.folder)?;
    let file = settings.folder.join("rialto.db");
    let database = |cause| OpenError::Database { file: file.clone(), cause };
    create_private_file(&file).map_err(|cause| OpenError::Folder { folder: settings.folder.clone(), cause })?;

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
    let log = log::Log::new(Arc::clone(&rooms), settings.rooms, creators);
    let (stop, stopped) = watch::channel(false);
    let (queue, inbox) = Queue::new(settings.queue_drafts, settings.queue_bytes);
    let writer = writer::start(connection, log, inbox, lock, rooms_feed, users_feed, stop)
        .map_err(|cause| OpenError::Folder { folder: settings.folder.clone(), cause })?;

    let sweep = Sweep::start(Sweeper {
        retention: settings.retention.clone(),
        rooms: Arc::clone(&rooms),
        readers: readers.clone(),
        queue: queue.clone(),
        metrics: Arc::clone(&metrics),
        oldest: HashMap::new(),
    });
    let running = Mutex::new(Some(Running { sweep, writer }));
    let page_bytes = settings.page_bytes;
    let engine = Embedded { epoch, queue, readers, rooms, stopped, page_bytes, signals, metrics, running };
    Ok((Arc::new(engine), Feeds { rooms: fed_rooms, users: fed_users }))
}

impl Embedded {
    fn floor_and_head(&self, room: &RoomName) -> Result<(u64, u64), Error> {
        self.readers.check()?;
        Ok(self.rooms.get(room).map_or((0, 0), |room| (room.floor, room.head)))
    }
}

fn lock_folder(folder: &Path) -> Result<File, OpenError> {
    let failed = |cause| OpenError::Folder { folder: folder.to_owned(), cause };
    if !folder.is_dir() {
        create_private(folder).map_err(failed)?;
        // SQLite makes its files durable in the folder, but not the folder in the one above.
        let path = folder.canonicalize().map_err(failed)?;
        path.parent().map_or(Ok(()), |above| File::open(above)?.sync_all()).map_err(failed)?;
    }
    let lock = File::create(folder.join("rialto.lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.to_owned())),
        Err(TryLockError::Error(cause)) => Err(failed(cause)),
    }
}

/// Makes a folder for its owner alone: hashes of passwords lie in it, and keys. Those above it are made as folders usually are.
fn create_private(folder: &Path) -> io::Result<()> {
    if let Some(above) = folder.parent() {
        fs::create_dir_all(above)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    // Recursive is also whoever is content when somebody else was faster.
    builder.recursive(true).create(folder)
}

/// Makes the file, if it is not there, for its owner alone, also in a folder that others can read. SQLite's other files get its rights.
fn create_private_file(file: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file_there = options.open(file)?;
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&file_there.metadata()?.permissions()) & 0o007 != 0 {
        tracing::warn!(file = %file.display(), "everybody on this machine can read the data: `chmod o-rwx` it");
    }
    Ok(())
}

#[async_trait]
impl Engine for Embedded {
    async fn append(&self, draft: Draft) -> Result<Receipt, Refused> {
        self.queue.append(draft).await
    }

    fn try_append(&self, draft: Draft) -> Result<Receipt, Draft> {
        self.queue.try_append(draft)
    }

    fn signal(&self, room: RoomName, signal: Signal) {
        if let Some(feed) = self.signals.upgrade()
            && feed.try_send(Fed::Signal { room, signal }).is_err()
        {
            self.metrics.dropped_signals.inc();
        }
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
        // Here the numbers of a room have no holes.
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

    async fn load_users(&self, after: Option<Uuid>, max: usize) -> Result<Vec<User>, Error> {
        self.readers.read(move |connection| users::load(connection, after, max)).await
    }

    async fn write_users(&self, writes: Vec<UserWrite>) -> Result<u64, WriteError> {
        self.queue.write_users(writes).await
    }

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
        let mut gone = 0;
        loop {
            let chunk = self.queue.ask(|reply| Write::Session(Change::Purge { expired_before, reply })).await?;
            gone += chunk;
            if chunk < sessions::CHUNK {
                return Ok(gone);
            }
        }
    }

    async fn stopped(&self) {
        _ = self.stopped.clone().wait_for(|stopped| *stopped).await;
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

/// What an error of SQLite means to the caller of an engine.
fn from_sqlite(error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase};
    match error.sqlite_error_code() {
        Some(DiskFull) => Error::DiskFull,
        Some(DatabaseCorrupt | NotADatabase) => Error::Damaged(error.to_string()),
        _ => Error::Unavailable(error.to_string()),
    }
}

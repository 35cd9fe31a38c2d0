//! The durable log of every room, and the users: what must survive a crash.
//!
//! [`Engine`] is the contract. Its implementations are [`embedded`] (SQLite, the default); `conformance` holds the tests that each of
//! them passes.

#[cfg(test)]
pub(crate) mod conformance;
pub mod embedded;
mod message;
mod retention;
mod session;
mod user;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::types::{RoomName, Time};

pub use message::{Draft, Record, Signal};
pub use retention::{Retention, RetentionLimits};
pub use session::{Rotated, SecretHash, Session};
pub use user::{PasswordHash, User, UserChange, UserWrite};

/// A durable, ordered log per room, and a store of users and their sessions.
///
/// # The log
///
/// - **Order.** Within a room `seq` strictly increases, never repeats and never goes back; it may skip values. Drafts accepted by
///   [`append`](Engine::append) one after the other get their `seq` in that order.
/// - **Durability.** A [`Receipt`] resolves with an [`Appended`] only when the record would survive a crash of the process or the power:
///   fsync on the embedded engine, quorum on a distributed one.
/// - **Idempotency.** A keyed draft whose `(room, user_id, id)` is in the log already appends nothing and resolves with
///   [`Appended::Duplicate`], the first record. Texts are not compared.
/// - **Feed.** Each record appended by any node comes out of [`Feeds::rooms`] exactly once, in `seq` order within its room, after it became
///   durable. A feed that is full holds the engine back, and through it the callers of `append`.
/// - **Retention.** The oldest records of a room go some time after its [`RetentionLimits`] say so, and with them what is known of their keys. The
///   room keeps its head; its floor is the highest `seq` that went.
/// - **Rooms.** The first message of a room brings it into being, and its `user_id` is the room's creator for ever. A draft that would make
///   the rooms, or those of one creator, more than they may be is refused alone. Rooms without a `user_id` are nobody's.
///
/// # Users
///
/// - Writes are compare-and-set on the user's revision; `username_key` and a non-empty `email_key` are unique.
/// - Every change comes out of [`Feeds::users`] exactly once, in the order in which it took effect, under the version that
///   [`write_users`](Engine::write_users) returned for it.
///
/// # Sessions
///
/// - A session goes on by compare-and-set on its secret: however many try at once, a secret is good for one rotation, and the next try with it
///   ends the session.
/// - The sessions of a user end with the user, and when its password changes, in the same transaction. None begins by a password of before.
/// - A call resolves when what it did is durable. Sessions outlive restarts, and an expired one is as good as none.
///
/// # Failure
///
/// An engine that can no longer promise durability fails every write with [`Error::Stopped`] until it is opened anew; it never retries and
/// acknowledges. Reads go on.
#[async_trait]
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// Waits for a place in the bounded queue and leaves the draft there. What becomes of it, the receipt tells. Dropping the future
    /// before it resolves appends nothing; dropping the receipt does not take the draft back.
    async fn append(&self, draft: Draft) -> Result<Receipt, Refused>;

    /// The same for who need not wait: gives the draft back if there is no place at once, and then appends nothing. Nobody who
    /// waits for a place in the queue is passed over.
    fn try_append(&self, draft: Draft) -> Result<Receipt, Draft>;

    /// The best effort to tell the hub of every node. It never waits: with a feed that is full, the signal is dropped and counted.
    fn signal(&self, room: RoomName, signal: Signal);

    /// The records of a room with a `seq` above `after`, in order: at most `max`, and no more than make a page (256 KiB), but at least one
    /// if there is one and `max` is not 0. One consistent view.
    async fn read(&self, room: &RoomName, after: u64, max: usize) -> Result<Page, Error>;

    /// The last records of a room with a `seq` below `before`, in order: at most `max`, and no more than make a page. One consistent view.
    async fn read_before(&self, room: &RoomName, before: u64, max: usize) -> Result<Page, Error>;

    /// The `seq` above which, up to `head`, lie the last `count` records; or all there are, if these are fewer. Never above `head`.
    async fn cursor_before(&self, room: &RoomName, head: u64, count: usize) -> Result<u64, Error>;

    /// Where the room stands. Its `head` is at least the `seq` of every record whose receipt had resolved, or that had come out of the
    /// feed, when this was called. A room without messages stands at 0.
    async fn position(&self, room: &RoomName) -> Result<Position, Error>;

    /// A room, if it exists.
    async fn room(&self, room: &RoomName) -> Result<Option<RoomInfo>, Error>;

    /// The rooms whose names come after this one, in the order of names, at most `max`.
    async fn rooms(&self, after: Option<&RoomName>, max: usize) -> Result<Vec<RoomInfo>, Error>;

    /// The users with an id above `after`, in the order of their ids, at most `max`. For filling the read model before anything is served.
    async fn load_users(&self, after: Option<Uuid>, max: usize) -> Result<Vec<User>, Error>;

    /// Applies all writes, in order, or none; returns the version under which they come out of the users' feed.
    async fn write_users(&self, writes: Vec<UserWrite>) -> Result<u64, WriteError>;

    /// Begins a session under an id that no other has, for who knew this password. `false`: there is no such user, or that is not its password
    /// any more. Of more than `keep` sessions of the user the oldest end, but never this one.
    async fn create_session(&self, session: Session, password: &PasswordHash, keep: usize) -> Result<bool, Error>;

    /// Gives a session another secret and another end, if `from` is its last secret. Otherwise ends it.
    async fn rotate_session(
        &self,
        id: Uuid,
        from: SecretHash,
        to: SecretHash,
        expires_at: Time,
    ) -> Result<Rotated, Error>;

    /// Ends a session; says whose it was, if there was one.
    async fn revoke_session(&self, id: Uuid) -> Result<Option<Uuid>, Error>;

    /// Forgets the sessions that expired before this moment, few in one write, so that nobody waits long behind it; says how many.
    async fn purge_sessions(&self, expired_before: Time) -> Result<usize, Error>;

    /// Resolves when the engine can no longer write, for whatever reason; at once if that is so already.
    async fn stopped(&self);

    /// Takes no further drafts: what was accepted is committed and emitted, then the rooms' feed ends. Users and sessions go on.
    async fn seal(&self);

    /// Ends the engine: what was accepted is committed, then the files are closed. Later calls fail with [`Error::Stopped`].
    async fn close(&self);
}

/// What an engine emits, from its opening on.
#[derive(Debug)]
pub struct Feeds {
    /// Committed records, and signals. For the hub.
    pub rooms: mpsc::Receiver<Fed>,
    /// Committed changes of users. For the users' read model.
    pub users: mpsc::Receiver<UserChanges>,
}

/// What comes out of the rooms' feed.
#[derive(Debug, PartialEq)]
pub enum Fed {
    /// Records that were committed together.
    Records(Vec<Record>),
    /// Something that passes, and is in no log.
    Signal {
        /// Where.
        room: RoomName,
        /// What.
        signal: Signal,
    },
}

/// Changes of users that took effect together.
#[derive(Debug)]
pub struct UserChanges {
    /// Grows with every item of the feed.
    pub version: u64,
    /// In the order of the writes.
    pub changes: Vec<UserChange>,
}

/// The promise of an answer to one accepted draft.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Result<Appended, Refused>>);

/// Keeps the promise of a [`Receipt`].
pub type Reply = oneshot::Sender<Result<Appended, Refused>>;

impl Receipt {
    /// A receipt, and the means to resolve it.
    #[must_use]
    pub fn pair() -> (Reply, Receipt) {
        let (reply, outcome) = oneshot::channel();
        (reply, Receipt(outcome))
    }
}

impl Future for Receipt {
    type Output = Result<Appended, Refused>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // An engine that vanished without an answer has stopped: whether the draft became durable is unknown.
        let outcome = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(outcome.unwrap_or_else(|_| Err(Refused::new(None, Error::Stopped))))
    }
}

/// What became of a draft.
#[derive(Debug)]
pub enum Appended {
    /// It is durable, and has its place.
    Accepted {
        /// Its place in the room.
        seq: u64,
        /// When it was given its place.
        time: Time,
    },
    /// Its key was published before: the first record.
    Duplicate(Box<Record>),
}

/// A draft that was not appended, and why.
#[derive(Debug)]
pub struct Refused {
    /// The draft, given back: it is not in the log. Absent if even that is unknown.
    pub draft: Option<Box<Draft>>,
    /// Why.
    pub error: Error,
}

impl Refused {
    /// Gives a draft back.
    #[must_use]
    pub fn new(draft: Option<Draft>, error: Error) -> Self {
        Self { draft: draft.map(Box::new), error }
    }
}

/// A run of records of one room.
#[derive(Debug, PartialEq)]
pub struct Page {
    /// In the order of `seq`.
    pub records: Vec<Record>,
    /// What the room has up to this `seq`, from where the page was to begin, is in `records`.
    pub through: u64,
    /// As in [`Position`].
    pub floor: u64,
    /// As in [`Position`].
    pub head: u64,
}

/// Where a room stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Names the log whose numbers these are: one for all rooms. It outlives restarts.
    pub epoch: String,
    /// The highest `seq` that retention has taken; 0: none.
    pub floor: u64,
    /// The last `seq` given; 0: none.
    pub head: u64,
}

/// A room that exists: a message was committed in it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomInfo {
    /// Its name.
    pub name: RoomName,
    /// As in [`Position`].
    pub head: u64,
    /// When its first message was committed.
    pub created_at: Time,
}

/// Why an engine could not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A first message would have made one room too many.
    #[error("the limit of {limit} rooms is reached")]
    TooManyRooms {
        /// The configured limit.
        limit: usize,
    },
    /// A first message would have made one room of its user too many.
    #[error("a user can bring at most {limit} rooms into being")]
    TooManyRoomsOfUser {
        /// The configured limit.
        limit: usize,
    },
    /// There is no space on the device. Writes come back when there is.
    #[error("the disk is full")]
    DiskFull,
    /// The engine was sealed: the server is shutting down.
    #[error("the log takes no more messages: the server is shutting down")]
    Sealed,
    /// Durability can no longer be promised; a restart is needed.
    #[error("the log has stopped and takes no writes until a restart")]
    Stopped,
    /// What was stored does not make sense.
    #[error("the log is damaged: {0}")]
    Damaged(String),
    /// It did not work this time, and may work the next.
    #[error("the log is not available: {0}")]
    Unavailable(String),
}

/// Why no write of a call took effect.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// One of the writes conflicts with what is stored, or with one before it.
    #[error("write {index}: {conflict}")]
    Conflict {
        /// Which of the writes, from 0.
        index: usize,
        /// With what.
        conflict: Conflict,
    },
    /// The engine could not write.
    #[error(transparent)]
    Engine(#[from] Error),
}

/// What a write of a user conflicts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Another user has the username.
    #[error("the username is taken")]
    UsernameTaken,
    /// Another user has the email address.
    #[error("the email address is taken")]
    EmailTaken,
    /// The revision is not the expected one.
    #[error("the user has changed meanwhile")]
    StaleRevision,
    /// There is no such user.
    #[error("there is no such user")]
    NoSuchUser,
}

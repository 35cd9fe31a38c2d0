//! The bounded way to the writer.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::sessions;
use crate::engine::{Draft, Error, Receipt, Refused, Reply, RetentionLimits, UserWrite, WriteError};
use crate::types::RoomName;

/// Both limits hold at once: a place is given when there is one under each.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    commands: mpsc::Sender<Command>,
    bytes: Arc<Semaphore>,
    max_bytes: usize,
}

/// What the writer is asked for, in this order.
#[derive(Debug)]
pub(super) enum Command {
    Write(Write),
    Seal { sealed: oneshot::Sender<()> },
    Close,
}

/// What goes into a group. Its place in the queue's bytes is given back with it.
#[derive(Debug)]
pub(super) enum Write {
    Append { draft: Draft, reply: Reply, _bytes: OwnedSemaphorePermit },
    Users { writes: Vec<UserWrite>, reply: oneshot::Sender<Result<u64, WriteError>>, _bytes: OwnedSemaphorePermit },
    Trim { room: RoomName, limits: RetentionLimits, reply: oneshot::Sender<Result<usize, Error>> },
    Session(sessions::Change),
}

impl Write {
    /// What is to be appended, if that is asked for.
    pub(super) fn draft(&self) -> Option<&Draft> {
        if let Self::Append { draft, .. } = self { Some(draft) } else { None }
    }

    /// Only takes something away, and so works also where there is no space.
    pub(super) fn only_removes(&self) -> bool {
        match self {
            Self::Append { .. } | Self::Users { .. } => false,
            Self::Trim { .. } => true,
            Self::Session(change) => change.only_removes(),
        }
    }

    /// Its share of a group, in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Append { draft, .. } => draft.size(),
            Self::Users { writes, .. } => writes.iter().map(UserWrite::size).sum(),
            Self::Trim { .. } => 0,
            Self::Session(_) => size_of::<sessions::Change>(),
        }
    }
}

impl Queue {
    pub(super) fn new(max_drafts: usize, max_bytes: usize) -> (Self, mpsc::Receiver<Command>) {
        let max_bytes = max_bytes.min(Semaphore::MAX_PERMITS);
        let (commands, inbox) = mpsc::channel(max_drafts);
        (Self { commands, bytes: Arc::new(Semaphore::new(max_bytes)), max_bytes }, inbox)
    }

    pub(super) async fn append(&self, draft: Draft) -> Result<Receipt, Refused> {
        let Ok(bytes) = self.reserve(draft.size()).await else {
            return Err(Refused::new(Some(draft), Error::Stopped));
        };
        let Ok(place) = self.commands.reserve().await else {
            return Err(Refused::new(Some(draft), Error::Stopped));
        };
        let (reply, receipt) = Receipt::pair();
        place.send(Command::Write(Write::Append { draft, reply, _bytes: bytes }));
        Ok(receipt)
    }

    /// Gives the draft back if there is no place, or nobody who takes it.
    pub(super) fn try_append(&self, draft: Draft) -> Result<Receipt, Draft> {
        let Ok(bytes) = Arc::clone(&self.bytes).try_acquire_many_owned(self.share(draft.size())) else {
            return Err(draft);
        };
        let Ok(place) = self.commands.try_reserve() else { return Err(draft) };
        let (reply, receipt) = Receipt::pair();
        place.send(Command::Write(Write::Append { draft, reply, _bytes: bytes }));
        Ok(receipt)
    }

    async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.bytes).acquire_many_owned(self.share(bytes)).await.map_err(|_| Error::Stopped)
    }

    /// What is larger than the whole queue takes all of it.
    fn share(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.max_bytes)).unwrap_or(u32::MAX)
    }

    pub(super) async fn write_users(&self, writes: Vec<UserWrite>) -> Result<u64, WriteError> {
        let bytes = self.reserve(writes.iter().map(UserWrite::size).sum()).await?;
        self.ask(|reply| Write::Users { writes, reply, _bytes: bytes }).await
    }

    /// Removes the oldest messages of a room that these limits give up, a chunk at most; says how many.
    pub(super) async fn trim(&self, room: RoomName, limits: RetentionLimits) -> Result<usize, Error> {
        self.ask(|reply| Write::Trim { room, limits, reply }).await
    }

    /// Leaves a write in the queue, and waits for what becomes of it.
    pub(super) async fn ask<T, E: From<Error>>(
        &self,
        write: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Write,
    ) -> Result<T, E> {
        let (reply, outcome) = oneshot::channel();
        let sent = self.commands.send(Command::Write(write(reply))).await;
        sent.map_err(|_| Error::Stopped)?;
        outcome.await.map_err(|_| Error::Stopped)?
    }

    /// What was accepted before is still committed and fed; resolves when it is.
    pub(super) async fn seal(&self) {
        let (sealed, done) = oneshot::channel();
        // A writer that is gone already is sealed too.
        _ = self.commands.send(Command::Seal { sealed }).await;
        _ = done.await;
    }

    /// What was accepted before is still committed.
    pub(super) async fn close(&self) {
        // A writer that is gone already is closed too.
        _ = self.commands.send(Command::Close).await;
    }
}

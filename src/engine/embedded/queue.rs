//! The bounded queue of the writer.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::sessions;
use crate::engine::{Draft, Error, Receipt, ReceiptSender, Refused, RetentionLimits, UserWrite, WriteError};
use crate::types::RoomName;

/// Sends commands to the writer. Bounded by their number and by their size in bytes; both limits apply.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    commands: mpsc::Sender<Command>,
    bytes: Arc<Semaphore>,
    max_bytes: usize,
}

/// A command for the writer. Commands run in the order in which they were sent.
#[derive(Debug)]
pub(super) enum Command {
    Write(Write),
    Seal {
        sealed: oneshot::Sender<()>,
    },
    Close,
    /// Makes the writer panic.
    #[cfg(test)]
    Panic,
}

/// A write that becomes part of a group. Dropping it releases its share of the queue's bytes.
#[derive(Debug)]
pub(super) enum Write {
    Append { draft: Draft, reply: ReceiptSender, _bytes: OwnedSemaphorePermit },
    Users { writes: Vec<UserWrite>, reply: oneshot::Sender<Result<u64, WriteError>>, _bytes: OwnedSemaphorePermit },
    Trim { room: RoomName, limits: RetentionLimits, reply: oneshot::Sender<Result<usize, Error>> },
    Session(sessions::Change),
}

impl Write {
    /// Returns the draft of an append.
    pub(super) fn draft(&self) -> Option<&Draft> {
        if let Self::Append { draft, .. } = self { Some(draft) } else { None }
    }

    /// Returns whether the write only removes data, and so succeeds on a full disk.
    pub(super) fn only_removes(&self) -> bool {
        match self {
            Self::Append { .. } | Self::Users { .. } => false,
            Self::Trim { .. } => true,
            Self::Session(change) => change.only_removes(),
        }
    }

    /// Approximate share of a group, in bytes.
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
        let (reply, receipt) = Receipt::channel();
        place.send(Command::Write(Write::Append { draft, reply, _bytes: bytes }));
        Ok(receipt)
    }

    /// Returns the draft if the queue is full or the writer has ended.
    pub(super) fn try_append(&self, draft: Draft) -> Result<Receipt, Draft> {
        let Ok(bytes) = Arc::clone(&self.bytes).try_acquire_many_owned(self.share(draft.size())) else {
            return Err(draft);
        };
        let Ok(place) = self.commands.try_reserve() else { return Err(draft) };
        let (reply, receipt) = Receipt::channel();
        place.send(Command::Write(Write::Append { draft, reply, _bytes: bytes }));
        Ok(receipt)
    }

    async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.bytes).acquire_many_owned(self.share(bytes)).await.map_err(|_| Error::Stopped)
    }

    /// Number of permits for this many bytes. A write larger than the queue takes all of them.
    fn share(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.max_bytes)).unwrap_or(u32::MAX)
    }

    pub(super) async fn write_users(&self, writes: Vec<UserWrite>) -> Result<u64, WriteError> {
        let bytes = self.reserve(writes.iter().map(UserWrite::size).sum()).await?;
        self.ask(|reply| Write::Users { writes, reply, _bytes: bytes }).await
    }

    /// Removes the oldest messages of a room that exceed these limits, at most one chunk; returns how many.
    pub(super) async fn trim(&self, room: RoomName, limits: RetentionLimits) -> Result<usize, Error> {
        self.ask(|reply| Write::Trim { room, limits, reply }).await
    }

    /// Sends a write and waits for its outcome.
    pub(super) async fn ask<T, E: From<Error>>(
        &self,
        write: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Write,
    ) -> Result<T, E> {
        let (reply, outcome) = oneshot::channel();
        let sent = self.commands.send(Command::Write(write(reply))).await;
        sent.map_err(|_| Error::Stopped)?;
        outcome.await.map_err(|_| Error::Stopped)?
    }

    /// Seals the log. Resolves when everything accepted before is committed and emitted.
    pub(super) async fn seal(&self) {
        let (sealed, done) = oneshot::channel();
        // A writer that has already ended accepts nothing either.
        _ = self.commands.send(Command::Seal { sealed }).await;
        _ = done.await;
    }

    /// Ends the writer after everything that was accepted before.
    pub(super) async fn close(&self) {
        // It may already have ended.
        _ = self.commands.send(Command::Close).await;
    }

    #[cfg(test)]
    pub(super) async fn panic(&self) {
        _ = self.commands.send(Command::Panic).await;
    }
}

//! Watches of the users: a snapshot of all users, then every change.
//!
//! Invariant: what a watch has sent for ids up to `settled` is as of version `cursor`; for ids above it and up to `sent` it is as of the
//! later of `cursor` and `as_of`.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, watch};
use uuid::Uuid;

use super::{
    Error,
    watched_model::{CHUNK, WatchedModel},
};
use crate::{
    changes::Delta,
    engine::{User, UserChange},
};

#[cfg(test)]
mod tests;

/// Why a watch ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// More users changed than are kept for a watcher that does not read.
    #[error("slow watcher: more than {limit} changed users are pending; list anew, and read faster")]
    TooSlow {
        /// The configured limit.
        limit: usize,
    },
    /// The engine has closed, so that there are no further changes.
    #[error("the engine has closed")]
    Closed,
}

/// A live list of the users. It is a position in shared data: its size is fixed, however far it is behind.
#[derive(Debug)]
pub struct UserWatch {
    watched: Arc<WatchedModel>,
    applied: watch::Receiver<u64>,
    /// Users up to this id were sent before the last chunk of the snapshot.
    settled: Option<Uuid>,
    /// The version up to which changes were read.
    cursor: u64,
    /// Users up to this id were sent, in the last chunk or before it.
    sent: Option<Uuid>,
    /// The version of the last chunk.
    as_of: u64,
    _permit: OwnedSemaphorePermit,
}

/// The end of all ids: the snapshot is complete.
const SNAPSHOT_END: Option<Uuid> = Some(Uuid::max());

impl WatchedModel {
    /// Starts a watch. `applied` must change after every call of [`apply`](Self::apply), and end with the feed.
    pub(super) fn watch(self: &Arc<Self>, applied: watch::Receiver<u64>) -> Result<UserWatch, Error> {
        let full = |_| Error::TooManyWatchers { limit: self.watchers };
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(full)?;
        let now = self.changes().version();
        let watched = Arc::clone(self);
        Ok(UserWatch { watched, applied, settled: None, cursor: now, sent: None, as_of: now, _permit: permit })
    }
}

impl UserWatch {
    /// Returns the next users of the snapshot, in the order of their ids, or changes of users that were sent before. Waits until there are
    /// any; returns 1 to 256.
    ///
    /// Changes of one user are in the order of revisions; pending changes of one user are merged into the latest. Cancel safe.
    pub async fn next(&mut self) -> Result<Vec<UserChange>, WatchError> {
        loop {
            match self.read(CHUNK)? {
                Some(changes) if changes.is_empty() => {}
                Some(changes) => return Ok(changes),
                None => self.applied.changed().await.map_err(|_| WatchError::Closed)?,
            }
        }
    }

    /// The present state of a user that was sent before, for a repetition because of something that its revision does not count. The
    /// revision is not lower than any sent before, provided that all results of [`next`](Self::next) are sent first.
    #[must_use]
    pub fn resend(&self, id: Uuid) -> Option<Arc<User>> {
        if Some(id) <= self.sent { self.watched.model.get(id) } else { None }
    }

    /// Reads once, up to `max` users. `None`: nothing is pending. Empty: what was pending does not concern this watch.
    fn read(&mut self, max: usize) -> Result<Option<Vec<UserChange>>, WatchError> {
        let changes = self.watched.changes();
        // The next chunk follows when the changes up to the last one were read. That number does not grow, so the snapshot ends however
        // often users change meanwhile.
        if self.sent < SNAPSHOT_END && self.cursor >= self.as_of {
            self.settled = self.sent;
            let page = self.watched.model.page(self.sent, max);
            self.as_of = changes.version();
            self.sent = page.last().map_or(SNAPSHOT_END, |last| Some(last.id));
            return Ok(Some(page.into_iter().map(UserChange::Put).collect()));
        }
        let limit = self.watched.waiting_changes;
        let delta = changes.since(self.cursor, max).map_err(|_| WatchError::TooSlow { limit })?;
        let Delta { changes, cursor } = delta;
        if changes.is_empty() {
            return Ok(None);
        }
        self.cursor = cursor;
        // Other changes were part of the last chunk, or will be part of a later one.
        let (settled, sent, as_of) = (self.settled, self.sent, self.as_of);
        let is_new = |version, id| id <= settled || (id <= sent && version > as_of);
        let new = changes.into_iter().filter(|(version, id, _)| is_new(*version, Some(*id)));
        Ok(Some(new.map(|(.., change)| change).collect()))
    }
}

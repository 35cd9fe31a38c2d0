//! Watching the users: everybody once, then whoever changes.
//!
//! Invariants:
//! - Changes reach the model and the journal together: who holds the lock sees of both the same version.
//! - What was sent to a watcher up to its `settled` is as of its `cursor`, and from there up to its `sent` as of the later of `cursor` and `as_of`.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use uuid::Uuid;

use super::{Error, model::Model};
use crate::{
    changes::{ChangeLog, Delta},
    engine::{User, UserChange},
};

#[cfg(test)]
mod tests;

/// Users applied, or read by a watcher, in one hold of the lock.
const CHUNK: usize = 256;

/// Why a watch is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// More users changed than are kept for one who does not read.
    #[error("slow watcher: more than {limit} changed users are pending; list anew, and read faster")]
    TooSlow {
        /// The configured limit.
        limit: usize,
    },
    /// Nothing changes any more: the engine has closed.
    #[error("the engine has closed")]
    Closed,
}

/// What watchers read: the model, and what changed in it.
#[derive(Debug)]
pub(super) struct Watches {
    model: Arc<Model>,
    /// The model changes only under this lock. Who takes a single user or a page from it needs none.
    journal: RwLock<ChangeLog<Uuid, UserChange>>,
    waiting_changes: usize,
    watchers: usize,
    places: Arc<Semaphore>,
}

impl Watches {
    pub(super) fn new(model: Arc<Model>, watchers: usize, waiting_changes: usize) -> Self {
        let journal = RwLock::new(ChangeLog::new(waiting_changes));
        Self { model, journal, waiting_changes, watchers, places: Arc::new(Semaphore::new(watchers)) }
    }

    /// Applies changes to the model, in their order.
    pub(super) fn apply(&self, changes: Vec<UserChange>) {
        let mut changes = changes.into_iter().peekable();
        // Many changes in several holds, so that watchers do not block their threads for long.
        while changes.peek().is_some() {
            let mut journal = self.journal.write().unwrap_or_else(PoisonError::into_inner);
            for change in changes.by_ref().take(CHUNK) {
                self.model.apply(change.clone());
                journal.record(id(&change), change);
            }
        }
    }

    /// A watch that begins now. `applied` changes after every call of [`apply`](Self::apply), and ends when there are no more.
    pub(super) fn watch(self: &Arc<Self>, applied: watch::Receiver<u64>) -> Result<Watch, Error> {
        let full = |_| Error::TooManyWatchers { limit: self.watchers };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(full)?;
        let now = self.journal.read().unwrap_or_else(PoisonError::into_inner).version();
        let watched = Arc::clone(self);
        Ok(Watch { watched, applied, settled: None, cursor: now, sent: None, as_of: now, _place: place })
    }
}

fn id(change: &UserChange) -> Uuid {
    match change {
        UserChange::Put(user) => user.id,
        UserChange::Deleted { id, .. } => *id,
    }
}

/// A live list of the users. Wherever its reader is, it costs no more than this.
#[derive(Debug)]
pub struct Watch {
    watched: Arc<Watches>,
    applied: watch::Receiver<u64>,
    /// Users up to this id were sent before the last chunk of the snapshot.
    settled: Option<Uuid>,
    /// The version up to which changes were read.
    cursor: u64,
    /// Users up to this id were sent, in the last chunk or before it.
    sent: Option<Uuid>,
    /// The version of the last chunk.
    as_of: u64,
    _place: OwnedSemaphorePermit,
}

/// Behind all users: the snapshot is complete.
const EVERYBODY: Option<Uuid> = Some(Uuid::max());

impl Watch {
    /// The next users of the snapshot, in the order of their ids, or what became of those that were sent before: for each user in the order
    /// of its revisions, what changed again meanwhile only as it is now. A few hundred at most, and never none. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Vec<UserChange>, WatchError> {
        loop {
            match self.read(CHUNK)? {
                Some(news) if news.is_empty() => {}
                Some(news) => return Ok(news),
                None => self.applied.changed().await.map_err(|_| WatchError::Closed)?,
            }
        }
    }

    /// A user as it is now, if some state of it was sent: for telling again what its revision does not count. Its revision is none that
    /// goes back, as long as everything that [`next`](Self::next) gave before goes before it.
    #[must_use]
    pub fn again(&self, id: Uuid) -> Option<Arc<User>> {
        if Some(id) <= self.sent { self.watched.model.get(id) } else { None }
    }

    /// One look, at so many users. Empty: none of them was news for this watcher. Absent: nothing is left to look at for now.
    fn read(&mut self, max: usize) -> Result<Option<Vec<UserChange>>, WatchError> {
        let journal = self.watched.journal.read().unwrap_or_else(PoisonError::into_inner);
        // The last chunk is settled when the changes up to it were read. These do not grow, so the snapshot comes to its end however much changes.
        if self.sent < EVERYBODY && self.cursor >= self.as_of {
            self.settled = self.sent;
            let page = self.watched.model.page(self.sent, max);
            self.as_of = journal.version();
            self.sent = page.last().map_or(EVERYBODY, |last| Some(last.id));
            return Ok(Some(page.into_iter().map(UserChange::Put).collect()));
        }
        let limit = self.watched.waiting_changes;
        let Delta { changes, cursor } = journal.since(self.cursor, max).map_err(|_| WatchError::TooSlow { limit })?;
        if changes.is_empty() {
            return Ok(None);
        }
        self.cursor = cursor;
        // What is not news was in the last chunk already, or is yet to come in one.
        let (settled, sent, as_of) = (self.settled, self.sent, self.as_of);
        let is_news = |version, id| id <= settled || (id <= sent && version > as_of);
        let news = changes.into_iter().filter(|(version, id, _)| is_news(*version, Some(*id)));
        Ok(Some(news.map(|(.., change)| change).collect()))
    }
}

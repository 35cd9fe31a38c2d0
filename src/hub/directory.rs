//! Which users are online, how many members each room has, and which of them changed.

use std::{
    hash::Hash,
    sync::{Arc, PoisonError, RwLock},
};

use dashmap::DashMap;
use tokio::sync::watch;

use super::error::Error;
use crate::{
    changes::{ChangeLog, Delta, Lagged},
    types::RoomName,
};

/// Written by the actor, and read by every task.
#[derive(Debug)]
pub(super) struct Directory {
    /// Memberships of each user that has any.
    online: DashMap<Arc<str>, usize>,
    /// Distinct members of each room that has any.
    members: DashMap<RoomName, usize>,
    pub(super) users: WatchLog<Arc<str>>,
    pub(super) rooms: WatchLog<RoomName>,
}

impl Directory {
    /// `max_behind`: changes that a watcher may be behind. `max_watchers`: of users, and as many of rooms.
    pub(super) fn new(max_behind: usize, max_watchers: usize) -> Self {
        Self {
            online: DashMap::new(),
            members: DashMap::new(),
            users: WatchLog::new(max_behind, max_watchers),
            rooms: WatchLog::new(max_behind, max_watchers),
        }
    }

    pub(super) fn is_online(&self, user_id: &str) -> bool {
        self.online.contains_key(user_id)
    }

    /// Memberships of a user on all its streams.
    pub(super) fn memberships(&self, user_id: &str) -> usize {
        self.online.get(user_id).map_or(0, |memberships| *memberships)
    }

    pub(super) fn members(&self, room: &RoomName) -> usize {
        self.members.get(room).map_or(0, |members| *members)
    }

    /// Sets the number of distinct members of a room.
    pub(super) fn set_members(&self, room: &RoomName, members: usize) {
        if members == 0 {
            self.members.remove(room);
        } else {
            self.members.insert(room.clone(), members);
        }
    }

    /// The user has one more membership.
    pub(super) fn enter(&self, user_id: &Arc<str>) {
        let mut memberships = self.online.entry(Arc::clone(user_id)).or_default();
        *memberships += 1;
        if *memberships == 1 {
            drop(memberships);
            self.users.record(user_id);
        }
    }

    /// The user has one membership less.
    pub(super) fn leave(&self, user_id: &Arc<str>) {
        if let Some(mut memberships) = self.online.get_mut(user_id) {
            *memberships = memberships.saturating_sub(1);
        }
        if self.online.remove_if(user_id, |_, memberships| *memberships == 0).is_some() {
            self.users.record(user_id);
        }
    }
}

/// A change log and its watchers. Without a watcher nothing is recorded.
#[derive(Debug)]
pub(super) struct WatchLog<K> {
    changes: RwLock<ChangeLog<K, ()>>,
    /// The version of which the watchers were notified last.
    notified: watch::Sender<u64>,
    max_watchers: usize,
}

impl<K: Clone + Eq + Hash> WatchLog<K> {
    fn new(max_behind: usize, max_watchers: usize) -> Self {
        Self { changes: RwLock::new(ChangeLog::new(max_behind)), notified: watch::Sender::new(0), max_watchers }
    }

    /// Adds a watcher. Returns the version from which it watches.
    fn watch(&self) -> Result<(watch::Receiver<u64>, u64), Error> {
        // Under the lock, so that two watchers do not both take the last place.
        let changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        let limit = self.max_watchers;
        if self.notified.receiver_count() >= limit {
            return Err(Error::TooManyWatchers { limit });
        }
        Ok((self.notified.subscribe(), changes.version()))
    }

    pub(super) fn is_watched(&self) -> bool {
        self.notified.receiver_count() > 0
    }

    pub(super) fn record(&self, key: &K) {
        if self.is_watched() {
            self.changes.write().unwrap_or_else(PoisonError::into_inner).record(key.clone(), ());
        }
    }

    /// Wakes the watchers if something was recorded since the last call.
    pub(super) fn notify(&self) {
        let version = self.changes.read().unwrap_or_else(PoisonError::into_inner).version();
        self.notified.send_if_modified(|notified| std::mem::replace(notified, version) != version);
    }

    fn since(&self, cursor: u64) -> Result<Delta<K, ()>, Lagged> {
        self.changes.read().unwrap_or_else(PoisonError::into_inner).since(cursor, CHUNK)
    }
}

/// Changes that a watcher receives at once.
const CHUNK: usize = 256;

/// Changes from the creation of the watcher on. Several changes of one key that were not received yet are one.
#[derive(Debug)]
pub struct Changes<K> {
    directory: Arc<Directory>,
    log: fn(&Directory) -> &WatchLog<K>,
    notified: watch::Receiver<u64>,
    cursor: u64,
}

impl<K: Clone + Eq + Hash> Changes<K> {
    pub(super) fn new(directory: Arc<Directory>, log: fn(&Directory) -> &WatchLog<K>) -> Result<Self, Error> {
        let (notified, cursor) = log(&directory).watch()?;
        Ok(Self { directory, log, notified, cursor })
    }

    /// Waits for changes, and returns their keys; at most once a second. Cancel safe.
    pub async fn next(&mut self) -> Result<Vec<K>, Lagged> {
        // It cannot fail: the sender is in the directory, which is held here.
        _ = self.notified.wait_for(|notified| *notified > self.cursor).await;
        let Delta { changes, cursor } = (self.log)(&self.directory).since(self.cursor)?;
        self.cursor = cursor;
        Ok(changes.into_iter().map(|(_, key, ())| key).collect())
    }
}

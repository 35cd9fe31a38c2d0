//! What others than members may know: which users are online, and which rooms changed.

use std::{
    hash::Hash,
    sync::{Arc, PoisonError, RwLock},
};

use dashmap::DashMap;
use tokio::sync::watch;

use super::Error;
use crate::{
    changes::{ChangeLog, Delta, Lagged},
    types::RoomName,
};

/// Written by the actor, read by anyone.
#[derive(Debug)]
pub(super) struct Directory {
    /// How many places in rooms each user has.
    online: DashMap<Arc<str>, usize>,
    /// Distinct members of the rooms that somebody is in.
    members: DashMap<RoomName, usize>,
    pub(super) users: Board<Arc<str>>,
    pub(super) rooms: Board<RoomName>,
}

impl Directory {
    /// Remembers so many changes for those who watch and are behind, and lets so many watch.
    pub(super) fn new(changes: usize, watchers: usize) -> Self {
        Self {
            online: DashMap::new(),
            members: DashMap::new(),
            users: Board::new(changes, watchers),
            rooms: Board::new(changes, watchers),
        }
    }

    pub(super) fn is_online(&self, user_id: &str) -> bool {
        self.online.contains_key(user_id)
    }

    /// How many places in rooms the user has.
    pub(super) fn places(&self, user_id: &str) -> usize {
        self.online.get(user_id).map_or(0, |places| *places)
    }

    pub(super) fn members(&self, room: &RoomName) -> usize {
        self.members.get(room).map_or(0, |members| *members)
    }

    /// A room has so many now.
    pub(super) fn set_members(&self, room: &RoomName, members: usize) {
        if members == 0 {
            self.members.remove(room);
        } else {
            self.members.insert(room.clone(), members);
        }
    }

    /// The user has one more place.
    pub(super) fn come(&self, user_id: &Arc<str>) {
        let mut places = self.online.entry(Arc::clone(user_id)).or_default();
        *places += 1;
        if *places == 1 {
            drop(places);
            self.users.changed(user_id);
        }
    }

    /// The user has one less.
    pub(super) fn go(&self, user_id: &Arc<str>) {
        if let Some(mut places) = self.online.get_mut(user_id) {
            *places = places.saturating_sub(1);
        }
        if self.online.remove_if(user_id, |_, places| *places == 0).is_some() {
            self.users.changed(user_id);
        }
    }
}

/// What changed, for those who watch. Without a watcher nothing is written down.
#[derive(Debug)]
pub(super) struct Board<K> {
    changes: RwLock<ChangeLog<K, ()>>,
    told: watch::Sender<u64>,
    watchers: usize,
}

impl<K: Clone + Eq + Hash> Board<K> {
    fn new(limit: usize, watchers: usize) -> Self {
        Self { changes: RwLock::new(ChangeLog::new(limit)), told: watch::Sender::new(0), watchers }
    }

    /// A place for a watcher, and the version from which it watches.
    fn watch(&self) -> Result<(watch::Receiver<u64>, u64), Error> {
        // Under the lock, so that two do not take the last place.
        let changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        let limit = self.watchers;
        if self.told.receiver_count() >= limit {
            return Err(Error::TooManyWatchers { limit });
        }
        Ok((self.told.subscribe(), changes.version()))
    }

    pub(super) fn is_watched(&self) -> bool {
        self.told.receiver_count() > 0
    }

    pub(super) fn changed(&self, key: &K) {
        if self.is_watched() {
            self.changes.write().unwrap_or_else(PoisonError::into_inner).record(key.clone(), ());
        }
    }

    /// Wakes the watchers, if there is news.
    pub(super) fn tell(&self) {
        let version = self.changes.read().unwrap_or_else(PoisonError::into_inner).version();
        self.told.send_if_modified(|told| std::mem::replace(told, version) != version);
    }

    fn since(&self, cursor: u64) -> Result<Delta<K, ()>, Lagged> {
        self.changes.read().unwrap_or_else(PoisonError::into_inner).since(cursor, CHUNK)
    }
}

/// Changes that are looked at at once.
const CHUNK: usize = 256;

/// What changes from its making on. Changes of one thing that were not looked at yet are one.
#[derive(Debug)]
pub struct Changes<K> {
    directory: Arc<Directory>,
    board: fn(&Directory) -> &Board<K>,
    told: watch::Receiver<u64>,
    cursor: u64,
}

impl<K: Clone + Eq + Hash> Changes<K> {
    pub(super) fn new(directory: Arc<Directory>, board: fn(&Directory) -> &Board<K>) -> Result<Self, Error> {
        let (told, cursor) = board(&directory).watch()?;
        Ok(Self { directory, board, told, cursor })
    }

    /// Waits for changes, and says of what, at most once a second. May be dropped at any time without losing any.
    pub async fn next(&mut self) -> Result<Vec<K>, Lagged> {
        // The sender is in the directory, which is held here.
        _ = self.told.wait_for(|told| *told > self.cursor).await;
        let Delta { changes, cursor } = (self.board)(&self.directory).since(self.cursor)?;
        self.cursor = cursor;
        Ok(changes.into_iter().map(|(_, key, ())| key).collect())
    }
}

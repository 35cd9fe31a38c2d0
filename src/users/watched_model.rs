//! The model together with a log of its recent changes, which watches read.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::Semaphore;
use uuid::Uuid;

use super::model::Model;
use crate::{changes::ChangeLog, engine::UserChange};

/// Users that are applied, or read by a watch, under one hold of the lock.
pub(super) const CHUNK: usize = 256;

/// The model and its recent changes. Both change under one lock, so that a reader who holds it sees the same version of both.
#[derive(Debug)]
pub(super) struct WatchedModel {
    pub(super) model: Arc<Model>,
    /// The model changes only under this lock. Reading a single user or a page takes no lock.
    changes: RwLock<ChangeLog<Uuid, UserChange>>,
    /// Changed users that are kept for the slowest watch.
    pub(super) waiting_changes: usize,
    /// Maximum number of watches, and their permits.
    pub(super) watchers: usize,
    pub(super) permits: Arc<Semaphore>,
}

impl WatchedModel {
    pub(super) fn new(model: Arc<Model>, watchers: usize, waiting_changes: usize) -> Self {
        let watchers = watchers.min(Semaphore::MAX_PERMITS);
        let changes = RwLock::new(ChangeLog::new(waiting_changes));
        Self { model, changes, waiting_changes, watchers, permits: Arc::new(Semaphore::new(watchers)) }
    }

    /// Applies changes to the model, in order.
    pub(super) fn apply(&self, group: Vec<UserChange>) {
        let mut group = group.into_iter().peekable();
        // The lock is released after each chunk, so that watches block their threads for a short time only.
        while group.peek().is_some() {
            let mut changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
            for change in group.by_ref().take(CHUNK) {
                self.model.apply(change.clone());
                changes.record(user_id(&change), change);
            }
        }
    }

    /// The recent changes. The model does not change while the guard is held.
    pub(super) fn changes(&self) -> RwLockReadGuard<'_, ChangeLog<Uuid, UserChange>> {
        self.changes.read().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn user_id(change: &UserChange) -> Uuid {
    match change {
        UserChange::Put(user) => user.id,
        UserChange::Deleted { id, .. } => *id,
    }
}

//! What is known of the users, in memory.

use std::{
    collections::BTreeSet,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock},
};

use dashmap::DashMap;
use uuid::Uuid;

use crate::engine::{User, UserChange};

/// Every user by id and by canonical username. One task writes, anybody reads.
#[derive(Debug, Default)]
pub(super) struct Model {
    users: DashMap<Uuid, Arc<User>>,
    ids_by_username: DashMap<String, Uuid>,
    /// For paging: a page costs the same whatever the number of users.
    ids: RwLock<BTreeSet<Uuid>>,
}

impl Model {
    pub(super) fn get(&self, id: Uuid) -> Option<Arc<User>> {
        self.users.get(&id).map(|user| Arc::clone(&user))
    }

    pub(super) fn get_by_username(&self, key: &str) -> Option<Arc<User>> {
        let id = *self.ids_by_username.get(key)?;
        // Between the two looks the name may have gone to somebody else.
        self.get(id).filter(|user| user.username_key == key)
    }

    pub(super) fn page(&self, after: Option<Uuid>, max: usize) -> Vec<Arc<User>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids: Vec<Uuid> = {
            let index = self.ids.read().unwrap_or_else(PoisonError::into_inner);
            index.range((start, Bound::Unbounded)).take(max).copied().collect()
        };
        ids.into_iter().filter_map(|id| self.get(id)).collect()
    }

    pub(super) fn apply(&self, change: UserChange) {
        match change {
            UserChange::Put(user) => self.put(user),
            UserChange::Deleted { id, .. } => self.remove(id),
        }
    }

    pub(super) fn put(&self, user: Arc<User>) {
        let (id, key) = (user.id, user.username_key.clone());
        self.ids_by_username.insert(key.clone(), id);
        match self.users.insert(id, user) {
            None => _ = self.ids.write().unwrap_or_else(PoisonError::into_inner).insert(id),
            Some(before) if before.username_key != key => self.forget_username(&before),
            Some(_) => {}
        }
    }

    fn remove(&self, id: Uuid) {
        self.ids.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some((_, user)) = self.users.remove(&id) {
            self.forget_username(&user);
        }
    }

    fn forget_username(&self, user: &User) {
        self.ids_by_username.remove_if(&user.username_key, |_, id| *id == user.id);
    }
}

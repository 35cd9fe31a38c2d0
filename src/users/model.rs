//! What is known of the users, in memory.

use std::{
    collections::BTreeSet,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard},
};

use dashmap::DashMap;
use uuid::Uuid;

use crate::engine::{User, UserChange};

/// Every user by id, canonical username and email. One task writes, anybody reads.
#[derive(Debug, Default)]
pub(super) struct Model {
    users: DashMap<Uuid, Arc<User>>,
    ids_by_username: DashMap<String, Uuid>,
    ids_by_email: DashMap<String, Uuid>,
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
            UserChange::Put(user) => self.put(&user),
            UserChange::Deleted { id, .. } => self.remove(id),
        }
    }

    /// Somebody has the address, which is not empty.
    pub(super) fn has_email(&self, key: &str) -> bool {
        self.ids_by_email.contains_key(key)
    }

    pub(super) fn put(&self, user: &Arc<User>) {
        let id = user.id;
        let before = self.users.insert(id, Arc::clone(user));
        match &before {
            None => _ = self.index().insert(id),
            Some(before) => self.forget_keys(before, Some(user)),
        }
        if !user.email_key.is_empty() {
            self.ids_by_email.insert(user.email_key.clone(), id);
        }
        self.ids_by_username.insert(user.username_key.clone(), id);
    }

    fn remove(&self, id: Uuid) {
        self.index().remove(&id);
        if let Some((_, user)) = self.users.remove(&id) {
            self.forget_keys(&user, None);
        }
    }

    /// Frees what a user had and has no longer.
    fn forget_keys(&self, before: &User, now: Option<&User>) {
        if now.is_none_or(|now| now.username_key != before.username_key) {
            self.ids_by_username.remove_if(&before.username_key, |_, id| *id == before.id);
        }
        if now.is_none_or(|now| now.email_key != before.email_key) {
            self.ids_by_email.remove_if(&before.email_key, |_, id| *id == before.id);
        }
    }

    fn index(&self) -> RwLockWriteGuard<'_, BTreeSet<Uuid>> {
        self.ids.write().unwrap_or_else(PoisonError::into_inner)
    }
}

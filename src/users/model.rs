//! The read model of the users, in memory.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard},
};

use dashmap::DashMap;
use uuid::Uuid;

use crate::engine::{Conflict, User, UserChange};

/// All users by id, canonical username and email address. One task writes; reads are concurrent.
#[derive(Debug, Default)]
pub(super) struct Model {
    users: DashMap<Uuid, Arc<User>>,
    ids_by_username: DashMap<String, Uuid>,
    ids_by_email: DashMap<String, Uuid>,
    /// The users in the order of ids, for pages.
    in_order: RwLock<BTreeMap<Uuid, Arc<User>>>,
}

impl Model {
    pub(super) fn get(&self, id: Uuid) -> Option<Arc<User>> {
        self.users.get(&id).map(|user| Arc::clone(&user))
    }

    pub(super) fn get_by_username(&self, key: &str) -> Option<Arc<User>> {
        let id = *self.ids_by_username.get(key)?;
        // Between the two lookups another user may have taken the name.
        self.get(id).filter(|user| user.username_key == key)
    }

    pub(super) fn page(&self, after: Option<Uuid>, max: usize) -> Vec<Arc<User>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let in_order = self.in_order.read().unwrap_or_else(PoisonError::into_inner);
        in_order.range((start, Bound::Unbounded)).take(max).map(|(_, user)| Arc::clone(user)).collect()
    }

    /// The key that a user other than `own` has, if any. For early errors: the engine decides.
    pub(super) fn taken(
        &self,
        own: Option<Uuid>,
        username_key: Option<&str>,
        email_key: Option<&str>,
    ) -> Option<Conflict> {
        let is_taken = |ids: &DashMap<String, Uuid>, key: Option<&str>| {
            key.and_then(|key| ids.get(key)).is_some_and(|holder| Some(*holder) != own)
        };
        if is_taken(&self.ids_by_username, username_key) {
            return Some(Conflict::UsernameTaken);
        }
        // The empty email address is never in the map.
        is_taken(&self.ids_by_email, email_key).then_some(Conflict::EmailTaken)
    }

    pub(super) fn apply(&self, change: UserChange) {
        match change {
            UserChange::Put(user) => self.put(&user),
            UserChange::Deleted { id, .. } => self.remove(id),
        }
    }

    pub(super) fn put(&self, user: &Arc<User>) {
        let id = user.id;
        if let Some(before) = self.users.insert(id, Arc::clone(user)) {
            self.forget_keys(&before, Some(user));
        }
        if !user.email_key.is_empty() {
            self.ids_by_email.insert(user.email_key.clone(), id);
        }
        self.ids_by_username.insert(user.username_key.clone(), id);
        self.in_order().insert(id, Arc::clone(user));
    }

    fn remove(&self, id: Uuid) {
        self.in_order().remove(&id);
        if let Some((_, user)) = self.users.remove(&id) {
            self.forget_keys(&user, None);
        }
    }

    /// Removes the keys that a user had `before` and does not have `now`.
    fn forget_keys(&self, before: &User, now: Option<&User>) {
        if now.is_none_or(|now| now.username_key != before.username_key) {
            self.ids_by_username.remove_if(&before.username_key, |_, id| *id == before.id);
        }
        if now.is_none_or(|now| now.email_key != before.email_key) {
            self.ids_by_email.remove_if(&before.email_key, |_, id| *id == before.id);
        }
    }

    fn in_order(&self) -> RwLockWriteGuard<'_, BTreeMap<Uuid, Arc<User>>> {
        self.in_order.write().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The handle of the users.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use super::{
    Error, NewUser, UserUpdate, UserWatch,
    fields::{self, Email, Username},
    login_key,
    model::Model,
    parse_id,
    password::Hasher,
    watched_model::WatchedModel,
};
use crate::{
    config,
    engine::{self, Conflict, Error as EngineError, User, UserWrite, WriteError},
    types::Time,
};

/// Reads and changes users. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Users(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) engine: Arc<dyn engine::Users>,
    pub(super) model: Arc<Model>,
    pub(super) watched: Arc<WatchedModel>,
    /// Version of the engine's feed that the model has applied.
    pub(super) applied: watch::Receiver<u64>,
    pub(super) hasher: Hasher,
    /// Permits of concurrent batches.
    pub(super) batches: Arc<Semaphore>,
    pub(super) settings: config::Users,
}

impl Users {
    /// The user with this id. A malformed id is [`Error::NotFound`].
    pub fn get(&self, id: &str) -> Result<Arc<User>, Error> {
        let found = parse_id(id).and_then(|id| self.0.model.get(id));
        found.ok_or_else(|| Error::NotFound(id.to_owned()))
    }

    /// The user with this username, in any form that has the same canonical form.
    pub fn get_by_username(&self, username: &str) -> Result<Arc<User>, Error> {
        let key = Username::new(username)?.key;
        self.0.model.get_by_username(&key).ok_or_else(|| Error::NotFound(username.to_owned()))
    }

    /// The user with this id.
    #[must_use]
    pub fn of_id(&self, id: Uuid) -> Option<Arc<User>> {
        self.0.model.get(id)
    }

    /// Verifies a username and a password. Returns `None`, always after the same work, if no user has the name, or if the user has another
    /// password or none. Fails with [`Error::TooManyLogins`] if the queue of logins is full.
    pub async fn login(&self, username: &str, password: String) -> Result<Option<Arc<User>>, Error> {
        fields::check_password(&password)?;
        let user = login_key(username).and_then(|key| self.0.model.get_by_username(&key));
        let hash = user.as_ref().and_then(|user| user.password.clone());
        let is_correct = self.0.hasher.verify(password, hash).await?;
        Ok(if is_correct { user } else { None })
    }

    /// Up to `max` users with an id above `after`, in the order of ids. `None` starts at the first user.
    #[must_use]
    pub fn page(&self, after: Option<Uuid>, max: usize) -> Vec<Arc<User>> {
        self.0.model.page(after, max)
    }

    /// Starts a watch, which returns all users and then every change. Fails if the maximum number of watches is open.
    pub fn watch(&self) -> Result<UserWatch, Error> {
        self.0.watched.watch(self.0.applied.clone())
    }

    /// Creates a user.
    pub async fn create(&self, new: NewUser) -> Result<Arc<User>, Error> {
        let (fields, password) = fields::check(new)?;
        self.check_not_taken(None, Some(&fields.username), Some(&fields.email))?;
        let password = self.0.hasher.hash_within_limit(password).await?;
        let user = Arc::new(fields.into_user(password));
        self.write(vec![UserWrite::Create(Arc::clone(&user))]).await.map_err(|error| describe(error, &user))?;
        Ok(user)
    }

    /// Updates a user. An update that sets nothing returns the user unchanged.
    pub async fn update(&self, id: &str, update: UserUpdate) -> Result<Arc<User>, Error> {
        let UserUpdate { expected_revision, .. } = update;
        let (fields, password) = fields::check_update(update)?;
        // Before hashing, so that a call that fails anyway costs no hash.
        let current = self.get_at(id, expected_revision)?;
        self.check_not_taken(Some(current.id), fields.username.as_ref(), fields.email.as_ref())?;
        let password = match password {
            Some(password) => Some(self.0.hasher.hash_within_limit(password).await?),
            None => None,
        };

        loop {
            let current = self.get_at(id, expected_revision)?;
            if fields.is_empty() && password.is_none() {
                return Ok(current);
            }
            let mut user = User::clone(&current);
            fields.apply(&mut user);
            user.password = password.clone().unwrap_or(user.password);
            user.revision += 1;
            user.updated_at = Time::now();
            let user = Arc::new(user);
            match self.write(vec![UserWrite::Replace(Arc::clone(&user))]).await {
                Ok(()) => return Ok(user),
                // A concurrent change came first. Every retry means that another call succeeded, and an expected revision fails the next one.
                Err(WriteError::Conflict { conflict: Conflict::StaleRevision, .. }) => {
                    self.wait_until_newer(&current).await?;
                }
                Err(error) => return Err(describe(error, &user)),
            }
        }
    }

    /// Deletes a user.
    pub async fn delete(&self, id: &str) -> Result<(), Error> {
        loop {
            let current = self.get(id)?;
            match self.write(vec![UserWrite::Delete { id: current.id, revision: current.revision }]).await {
                Ok(()) => return Ok(()),
                Err(WriteError::Conflict { conflict: Conflict::StaleRevision, .. }) => {
                    self.wait_until_newer(&current).await?;
                }
                Err(error) => return Err(describe(error, &current)),
            }
        }
    }

    /// The user with this id, if its revision is `expected`; 0 accepts any revision.
    fn get_at(&self, id: &str, expected: u64) -> Result<Arc<User>, Error> {
        let current = self.get(id)?;
        if expected != 0 && expected != current.revision {
            return Err(Error::StaleRevision { expected, found: current.revision });
        }
        Ok(current)
    }

    /// Writes, and waits until the model has applied the change.
    pub(super) async fn write(&self, writes: Vec<UserWrite>) -> Result<(), WriteError> {
        let version = self.0.engine.write_users(writes).await?;
        let applied = self.0.applied.clone().wait_for(|applied| *applied >= version).await.map(drop);
        applied.map_err(|_| WriteError::Engine(EngineError::Stopped))
    }

    /// Waits until the model has a later revision of the user, or no longer has the user.
    async fn wait_until_newer(&self, stale: &User) -> Result<(), EngineError> {
        let is_newer = |_: &u64| self.0.model.get(stale.id).is_none_or(|user| user.revision > stale.revision);
        self.0.applied.clone().wait_for(is_newer).await.map(drop).map_err(|_| EngineError::Stopped)
    }

    /// Fails early if another user has the username or the email address. The engine decides again when it writes.
    pub(super) fn check_not_taken(
        &self,
        own: Option<Uuid>,
        username: Option<&Username>,
        email: Option<&Email>,
    ) -> Result<(), Error> {
        let (username_key, email_key) = (username.map(|name| name.key.as_str()), email.map(|email| email.key.as_str()));
        let given = |value: Option<&String>| value.cloned().unwrap_or_default();
        match self.0.model.taken(own, username_key, email_key) {
            None => Ok(()),
            Some(Conflict::EmailTaken) => Err(Error::EmailTaken(given(email.map(|email| &email.given)))),
            Some(_) => Err(Error::UsernameTaken(given(username.map(|name| &name.given)))),
        }
    }
}

/// The error of a write that concerns this user.
pub(super) fn describe(error: WriteError, user: &User) -> Error {
    match error {
        WriteError::Engine(error) => Error::Engine(error),
        WriteError::Conflict { conflict, .. } => match conflict {
            Conflict::UsernameTaken => Error::UsernameTaken(user.username.clone()),
            Conflict::EmailTaken => Error::EmailTaken(user.email.clone()),
            Conflict::NoSuchUser => Error::NotFound(user.id.to_string()),
            Conflict::StaleRevision => {
                Error::StaleRevision { expected: user.revision.saturating_sub(1), found: user.revision }
            }
        },
    }
}

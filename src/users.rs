//! The users: a read model in memory, fed by the engine, and the calls that change it.
//!
//! Invariants:
//! - Only the task that follows the engine's feed changes the model, so the model never holds what is not durable.
//! - A call returns only after the model has applied its change: whoever calls afterwards sees it.

mod bulk;
mod error;
mod fields;
mod model;
mod password;
mod watch;

use std::{num::NonZeroUsize, sync::Arc};

use tokio::{
    sync::{self, Semaphore, mpsc},
    task::JoinHandle,
};
use uuid::Uuid;

use crate::{
    engine::{self, Conflict, Error as EngineError, User, UserChanges, UserWrite, WriteError},
    metrics::Metrics,
    types::Time,
};
pub use bulk::Bulk;
pub use error::{Error, HashingFailed};
use fields::{Email, Username};
pub use fields::{InvalidField, roles as check_roles};
use model::Model;
use password::Hasher;
use watch::Watches;
pub use watch::{Watch, WatchError};

/// How users are kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `CreateUsers` at once.
    pub bulks: usize,
    /// Elements of one `CreateUsers`.
    pub bulk: usize,
    /// Elements of one `CreateUsers` with a password.
    pub bulk_passwords: usize,
    /// Hashes of passwords that are computed at once; each takes 19 MiB and a core.
    pub concurrent_hashes: NonZeroUsize,
    /// Passwords of logins that are checked at once, beside these.
    pub concurrent_logins: NonZeroUsize,
    /// New passwords, beside those of `CreateUsers`, that may wait to be hashed.
    pub queued_hashes: usize,
    /// Logins that may wait to be checked.
    pub queued_logins: usize,
    /// Watches at once.
    pub watchers: usize,
    /// Changed users that may wait for a watcher.
    pub waiting_changes: usize,
}

/// A user to create.
#[derive(Clone, Default)]
pub struct NewUser {
    /// See [`User::username`].
    pub username: String,
    /// See [`User::email`].
    pub email: String,
    /// Empty: no login with a password.
    pub password: String,
}

/// What to change of a user; what is absent stays.
#[derive(Clone, Default)]
pub struct Change {
    /// See [`User::username`].
    pub username: Option<String>,
    /// See [`User::email`].
    pub email: Option<String>,
    /// Empty: no login with a password from now on.
    pub password: Option<String>,
    /// See [`User::roles`].
    pub roles: Option<Vec<String>>,
    /// The revision that the change was made for; 0: any.
    pub expected_revision: u64,
}

/// The way to the users. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Users(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    engine: Arc<dyn engine::Users>,
    model: Arc<Model>,
    watched: Arc<Watches>,
    /// The version of the engine's feed that the model is at.
    applied: sync::watch::Receiver<u64>,
    hasher: Hasher,
    bulks: Arc<Semaphore>,
    settings: Settings,
}

/// Loads the users, and starts the task that follows the feed. It ends when the feed does, which is when the engine has closed.
pub async fn start(
    settings: Settings,
    engine: Arc<dyn engine::Users>,
    mut feed: mpsc::Receiver<UserChanges>,
    metrics: Arc<Metrics>,
) -> Result<(Users, JoinHandle<()>), EngineError> {
    let model = Arc::new(Model::default());
    let mut last = None;
    loop {
        let page = engine.load_users(last, LOAD_PAGE).await?;
        let Some(user) = page.last() else { break };
        last = Some(user.id);
        page.into_iter().for_each(|user| model.put(&Arc::new(user)));
    }

    let (version, applied) = sync::watch::channel(0);
    let watched = Arc::new(Watches::new(Arc::clone(&model), settings.watchers, settings.waiting_changes));
    let followed = Arc::clone(&watched);
    let follower = tokio::spawn(async move {
        while let Some(group) = feed.recv().await {
            followed.apply(group.changes);
            version.send_replace(group.version);
        }
    });
    let hasher = Hasher::new(&settings, metrics);
    let bulks = Arc::new(Semaphore::new(settings.bulks));
    Ok((Users(Arc::new(Shared { engine, model, watched, applied, hasher, bulks, settings })), follower))
}

/// An id in its one form, with hyphens (RFC 9562, section 4); braces, a URN or bare digits are no id.
#[must_use]
pub fn parse_id(id: &str) -> Option<Uuid> {
    const LEN: usize = uuid::fmt::Hyphenated::LENGTH;
    if id.len() == LEN { id.parse().ok() } else { None }
}

/// The form in which a username is compared; of a name that nobody can have, none.
#[must_use]
pub fn login_key(username: &str) -> Option<String> {
    Username::new(username).ok().map(|name| name.key)
}

/// Users read at once at start.
const LOAD_PAGE: usize = 10_000;

impl Users {
    /// The user of an id. A malformed id is nobody's.
    pub fn get(&self, id: &str) -> Result<Arc<User>, Error> {
        let found = parse_id(id).and_then(|id| self.0.model.get(id));
        found.ok_or_else(|| Error::NotFound(id.to_owned()))
    }

    /// The user of a username, in any form of it.
    pub fn get_by_username(&self, username: &str) -> Result<Arc<User>, Error> {
        let key = Username::new(username)?.key;
        self.0.model.get_by_username(&key).ok_or_else(|| Error::NotFound(username.to_owned()))
    }

    /// The user of an id.
    #[must_use]
    pub fn of_id(&self, id: Uuid) -> Option<Arc<User>> {
        self.0.model.get(id)
    }

    /// The user of this name and password. None, always after the same work: there is no such name, or no such password, or none at all.
    pub async fn login(&self, username: &str, given: String) -> Result<Option<Arc<User>>, Error> {
        fields::password(&given)?;
        let named = login_key(username).and_then(|key| self.0.model.get_by_username(&key));
        let hash = named.as_ref().and_then(|user| user.password.clone());
        match self.0.hasher.check(given, hash).await? {
            None => Err(Error::TooManyLogins { limit: self.0.hasher.max_logins() }),
            Some(false) => Ok(None),
            Some(true) => Ok(named),
        }
    }

    /// At most `max` users with an id above `after`, in the order of ids.
    #[must_use]
    pub fn page(&self, after: Option<Uuid>, max: usize) -> Vec<Arc<User>> {
        self.0.model.page(after, max)
    }

    /// Starts watching: everybody, then every change.
    pub fn watch(&self) -> Result<Watch, Error> {
        self.0.watched.watch(self.0.applied.clone())
    }

    /// Creates a user.
    pub async fn create(&self, new: NewUser) -> Result<Arc<User>, Error> {
        let (fields, password) = fields::check(new)?;
        self.free(None, Some(&fields.username), Some(&fields.email))?;
        let password = self.0.hasher.hash_if_free(password).await?;
        let user = Arc::new(fields.into_user(password));
        self.write(vec![UserWrite::Create(Arc::clone(&user))]).await.map_err(|error| describe(error, &user))?;
        Ok(user)
    }

    /// Changes a user; a change that sets nothing returns the user as it is.
    pub async fn update(&self, id: &str, change: Change) -> Result<Arc<User>, Error> {
        let username = change.username.as_deref().map(Username::new).transpose()?;
        let email = change.email.as_deref().map(Email::new).transpose()?;
        let roles = change.roles.map(fields::roles).transpose()?;
        if let Some(password) = &change.password {
            fields::password(password)?;
        }
        // Before the hashing, so that nobody makes the server hash for a call that fails anyway.
        let current = self.expect(id, change.expected_revision)?;
        self.free(Some(current.id), username.as_ref(), email.as_ref())?;
        let unchanged = username.is_none() && email.is_none() && roles.is_none() && change.password.is_none();
        let password = match change.password {
            Some(password) => Some(self.0.hasher.hash_if_free(password).await?),
            None => None,
        };

        loop {
            let current = self.expect(id, change.expected_revision)?;
            if unchanged {
                return Ok(current);
            }
            let mut user = User::clone(&current);
            if let Some(Username { given, key }) = username.clone() {
                (user.username, user.username_key) = (given, key);
            }
            if let Some(Email { given, key }) = email.clone() {
                (user.email, user.email_key) = (given, key);
            }
            user.roles = roles.clone().unwrap_or(user.roles);
            user.password = password.clone().unwrap_or(user.password);
            user.revision += 1;
            user.updated_at = Time::now();
            let user = Arc::new(user);
            match self.write(vec![UserWrite::Replace(Arc::clone(&user))]).await {
                Ok(()) => return Ok(user),
                // Somebody was faster. Each turn is somebody's success, and ours comes unless the revision was expected.
                Err(WriteError::Conflict { conflict: Conflict::StaleRevision, .. }) => self.refreshed(&current).await?,
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
                Err(WriteError::Conflict { conflict: Conflict::StaleRevision, .. }) => self.refreshed(&current).await?,
                Err(error) => return Err(describe(error, &current)),
            }
        }
    }

    /// Starts creating many users, all or none.
    pub fn bulk(&self) -> Result<Bulk, Error> {
        Bulk::start(self.clone())
    }

    fn expect(&self, id: &str, expected: u64) -> Result<Arc<User>, Error> {
        let current = self.get(id)?;
        if expected != 0 && expected != current.revision {
            return Err(Error::StaleRevision { expected, found: current.revision });
        }
        Ok(current)
    }

    /// Writes, and waits until the model has the change.
    async fn write(&self, writes: Vec<UserWrite>) -> Result<(), WriteError> {
        let version = self.0.engine.write_users(writes).await?;
        let applied = self.0.applied.clone().wait_for(|applied| *applied >= version).await.map(drop);
        applied.map_err(|_| WriteError::Engine(EngineError::Stopped))
    }

    /// Waits until the model knows a later revision than this.
    async fn refreshed(&self, stale: &User) -> Result<(), EngineError> {
        let is_later = |_: &u64| self.0.model.get(stale.id).is_none_or(|user| user.revision > stale.revision);
        self.0.applied.clone().wait_for(is_later).await.map(drop).map_err(|_| EngineError::Stopped)
    }

    /// Nobody else has these, as far as the model knows. Told before any hashing; the engine decides again.
    fn free(&self, own: Option<Uuid>, username: Option<&Username>, email: Option<&Email>) -> Result<(), Error> {
        let taken =
            self.0.model.taken(own, username.map(|name| name.key.as_str()), email.map(|email| email.key.as_str()));
        let given = |value: Option<&String>| value.cloned().unwrap_or_default();
        match taken {
            None => Ok(()),
            Some(Conflict::EmailTaken) => Err(Error::EmailTaken(given(email.map(|email| &email.given)))),
            Some(_) => Err(Error::UsernameTaken(given(username.map(|name| &name.given)))),
        }
    }
}

fn describe(error: WriteError, user: &User) -> Error {
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

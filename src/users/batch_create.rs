//! Creating a batch of users: all, or none.

use std::{collections::HashSet, sync::Arc};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    Error, InvalidField, NewUser, Users,
    fields::{self, CheckedFields},
    handle::describe,
};
use crate::engine::{self, User, UserWrite, WriteError};

/// A batch of users to create. Each is validated as it is added. A batch that is dropped before [`finish`](Self::finish) creates none.
#[derive(Debug)]
pub struct BatchCreate {
    users: Users,
    elements: Vec<Element>,
    passwords: usize,
    usernames: HashSet<String>,
    emails: HashSet<String>,
    _permit: OwnedSemaphorePermit,
}

struct Element {
    fields: CheckedFields,
    password: String,
}

impl std::fmt::Debug for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.fields.fmt(f)
    }
}

impl Users {
    /// Starts a batch. Fails if the maximum number of batches is in progress.
    pub fn start_batch(&self) -> Result<BatchCreate, Error> {
        let full = |_| Error::TooManyBatches { limit: self.0.settings.max_bulk_calls };
        let permit = Arc::clone(&self.0.batches).try_acquire_owned().map_err(full)?;
        let (usernames, emails) = (HashSet::new(), HashSet::new());
        Ok(BatchCreate { users: self.clone(), elements: Vec::new(), passwords: 0, usernames, emails, _permit: permit })
    }
}

impl BatchCreate {
    /// Adds a user. An error names the index of the user, from 0; the batch must then be dropped.
    pub fn push(&mut self, new: NewUser) -> Result<(), Error> {
        let (index, limit) = (self.elements.len(), self.users.0.settings.max_users_per_call);
        if index >= limit {
            return Err(InvalidField::new("users", format!("must be at most {limit} in one call")).into());
        }
        self.check(new).map_err(|cause| Error::Element { index, cause: Box::new(cause) })
    }

    fn check(&mut self, new: NewUser) -> Result<(), Error> {
        let (fields, password) = fields::check(new)?;
        if !password.is_empty() {
            self.passwords += 1;
            let limit = self.users.0.settings.max_passwords_per_call;
            if self.passwords > limit {
                let reason = format!("can be set for at most {limit} users in one call");
                return Err(InvalidField::new("password", reason).into());
            }
        }
        // As each element arrives, so that the first conflict is reported, and before any hashing.
        self.users.check_not_taken(None, Some(&fields.username), Some(&fields.email))?;
        let (username, email) = (&fields.username.key, &fields.email.key);
        if !self.usernames.insert(username.clone()) {
            return Err(Error::UsernameTaken(fields.username.given));
        }
        if !email.is_empty() && !self.emails.insert(email.clone()) {
            return Err(Error::EmailTaken(fields.email.given));
        }
        self.elements.push(Element { fields, password });
        Ok(())
    }

    /// Hashes the passwords and creates the users, in the order in which they were added.
    pub async fn finish(self) -> Result<Vec<Arc<User>>, Error> {
        let hasher = &self.users.0.hasher;
        let turn = if self.passwords > 0 { Some(hasher.batch_turn().await?) } else { None };
        let mut hashed = Vec::with_capacity(self.elements.len());
        for Element { fields, password } in self.elements {
            // One at a time, so that a batch leaves the other hashing threads to other calls.
            hashed.push((fields, hasher.hash(password).await?));
        }
        drop(turn);
        // Ids are in the order of creation, so they are drawn after the hashing.
        let created: Vec<_> = hashed.into_iter().map(|(fields, hash)| Arc::new(fields.into_user(hash))).collect();

        let writes = created.iter().cloned().map(UserWrite::Create).collect();
        match self.users.write(writes).await {
            Ok(()) => Ok(created),
            Err(error) => Err(with_index(error, &created)),
        }
    }
}

fn with_index(error: WriteError, created: &[Arc<User>]) -> Error {
    let index = match &error {
        WriteError::Conflict { index, .. } => *index,
        WriteError::Engine(_) => 0,
    };
    match (error, created.get(index)) {
        (WriteError::Engine(error), _) => Error::Engine(error),
        (conflict, Some(user)) => Error::Element { index, cause: Box::new(describe(conflict, user)) },
        (conflict, None) => Error::Engine(engine::Error::Damaged(conflict.to_string())),
    }
}

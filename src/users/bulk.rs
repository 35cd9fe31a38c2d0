//! Creating many users: all, or none.

use std::{collections::HashSet, sync::Arc};

use tokio::sync::OwnedSemaphorePermit;

use super::{Error, InvalidField, NewUser, Users, describe, fields};
use crate::engine::{User, UserWrite, WriteError};

/// Users that came in so far, each checked as it came. Dropped before [`finish`](Bulk::finish) it creates nobody.
#[derive(Debug)]
pub struct Bulk {
    users: Users,
    elements: Vec<Element>,
    passwords: usize,
    usernames: HashSet<String>,
    emails: HashSet<String>,
    _place: OwnedSemaphorePermit,
}

struct Element {
    fields: fields::Checked,
    password: String,
}

impl std::fmt::Debug for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.fields.fmt(f)
    }
}

impl Bulk {
    pub(super) fn start(users: Users) -> Result<Self, Error> {
        let full = |_| Error::TooManyBatches { limit: users.0.settings.bulks };
        let place = Arc::clone(&users.0.bulks).try_acquire_owned().map_err(full)?;
        let (usernames, emails) = (HashSet::new(), HashSet::new());
        Ok(Self { users, elements: Vec::new(), passwords: 0, usernames, emails, _place: place })
    }

    /// Adds a user. The first bad one fails the whole, by its index.
    pub fn push(&mut self, new: NewUser) -> Result<(), Error> {
        let (index, limit) = (self.elements.len(), self.users.0.settings.bulk);
        if index >= limit {
            return Err(InvalidField::new("users", format!("must be at most {limit} in one call")).into());
        }
        self.check(new).map_err(|cause| Error::Element { index, cause: Box::new(cause) })
    }

    fn check(&mut self, new: NewUser) -> Result<(), Error> {
        let settings = &self.users.0.settings;
        let (fields, password) = fields::check(new)?;
        if !password.is_empty() {
            self.passwords += 1;
            if self.passwords > settings.bulk_passwords {
                let reason = format!("can be set for at most {} users in one call", settings.bulk_passwords);
                return Err(InvalidField::new("password", reason).into());
            }
        }
        // What is taken is told in the order of the elements, and before any hashing.
        self.users.free(None, Some(&fields.username), Some(&fields.email))?;
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

    /// Hashes the passwords and creates the users, in the order in which they came.
    pub async fn finish(self) -> Result<Vec<Arc<User>>, Error> {
        let hasher = &self.users.0.hasher;
        let turn = if self.passwords > 0 { Some(hasher.bulk().await?) } else { None };
        let mut hashed = Vec::with_capacity(self.elements.len());
        for Element { fields, password } in self.elements {
            // One after the other: a call with many passwords leaves the rest of the pool to others.
            hashed.push((fields, hasher.hash_if_given(password).await?));
        }
        drop(turn);
        // After the hashing, which takes its time: ids are in the order of creation.
        let created: Vec<_> = hashed.into_iter().map(|(fields, hash)| Arc::new(fields.into_user(hash))).collect();

        let writes = created.iter().cloned().map(UserWrite::Create).collect();
        match self.users.write(writes).await {
            Ok(()) => Ok(created),
            Err(error) => Err(in_element(error, &created)),
        }
    }
}

fn in_element(error: WriteError, created: &[Arc<User>]) -> Error {
    let index = match &error {
        WriteError::Conflict { index, .. } => *index,
        WriteError::Engine(_) => 0,
    };
    match (error, created.get(index)) {
        (WriteError::Engine(error), _) => Error::Engine(error),
        (conflict, Some(user)) => Error::Element { index, cause: Box::new(describe(conflict, user)) },
        (conflict, None) => Error::Engine(crate::engine::Error::Damaged(conflict.to_string())),
    }
}

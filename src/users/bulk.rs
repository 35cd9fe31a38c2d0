//! Creating many users: all, or none.

use std::{collections::HashSet, sync::Arc};

use super::{Error, Invalid, NewUser, Users, describe, fields};
use crate::engine::{User, UserWrite, WriteError};

/// Users that came in so far, each checked as it came. Dropped before [`finish`](Bulk::finish) it creates nobody.
#[derive(Debug)]
pub struct Bulk {
    users: Users,
    elements: Vec<Element>,
    passwords: usize,
    usernames: HashSet<String>,
    emails: HashSet<String>,
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
    pub(super) fn new(users: Users) -> Self {
        let (usernames, emails) = (HashSet::new(), HashSet::new());
        Self { users, elements: Vec::new(), passwords: 0, usernames, emails }
    }

    /// Adds a user. The first bad one fails the whole, by its index.
    pub fn push(&mut self, new: NewUser) -> Result<(), Error> {
        let (index, limit) = (self.elements.len(), self.users.0.settings.bulk);
        if index >= limit {
            return Err(Invalid::new("users", format!("must be at most {limit} in one call")).into());
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
                return Err(Invalid::new("password", reason).into());
            }
        }
        // The engine finds again whatever is taken until then; here it is found in the order of the elements, and before any hashing.
        let model = &self.users.0.model;
        let (username, email) = (&fields.username.key, &fields.email.key);
        if model.get_by_username(username).is_some() || !self.usernames.insert(username.clone()) {
            return Err(Error::UsernameTaken(fields.username.given));
        }
        if !email.is_empty() && (model.has_email(email) || !self.emails.insert(email.clone())) {
            return Err(Error::EmailTaken(fields.email.given));
        }
        self.elements.push(Element { fields, password });
        Ok(())
    }

    /// Hashes the passwords and creates the users, in the order in which they came, if `fits` finds no fault with them.
    pub async fn finish(self, fits: impl FnOnce(&[Arc<User>]) -> Result<(), Invalid>) -> Result<Vec<Arc<User>>, Error> {
        let hasher = &self.users.0.hasher;
        let _turn = if self.passwords > 0 { Some(hasher.bulk().await?) } else { None };
        let mut created = Vec::with_capacity(self.elements.len());
        let mut hashes = Vec::with_capacity(self.passwords);
        for Element { fields, password } in self.elements {
            // An empty password takes no time, so order is kept by awaiting in order what runs at once.
            hashes.push(hasher.hash_if_given(password));
            created.push(fields);
        }
        let hashes = futures_util::future::try_join_all(hashes).await?;
        let created: Vec<_> =
            created.into_iter().zip(hashes).map(|(fields, hash)| Arc::new(fields.into_user(hash))).collect();
        fits(&created)?;

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

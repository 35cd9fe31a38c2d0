//! Stores users within the transaction of a group of writes.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use uuid::Uuid;

use super::{sessions, user_count::UserCount};
use crate::engine::{Conflict, Error, PasswordHash, User, UserChange, UserWrite, WriteError};
use crate::types::Time;

pub(super) fn load(connection: &Connection, after: Option<Uuid>, max: usize) -> rusqlite::Result<Vec<User>> {
    let mut select = connection.prepare_cached(
        "SELECT id, username, username_key, email, email_key, password, roles, revision, created_at, updated_at
         FROM users WHERE id > ? ORDER BY id LIMIT ?",
    )?;
    let after = after.map(Uuid::into_bytes);
    let after: &[u8] = after.as_ref().map_or(&[], |id| id);
    select.query_map(params![after, i64::try_from(max).unwrap_or(i64::MAX)], user)?.collect()
}

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    let roles: String = row.get(6)?;
    Ok(User {
        id: Uuid::from_bytes(row.get(0)?),
        username: row.get(1)?,
        username_key: row.get(2)?,
        email: row.get(3)?,
        email_key: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
        password: row.get::<_, Option<String>>(5)?.map(PasswordHash),
        roles: roles.split_whitespace().map(str::to_owned).collect(),
        revision: row.get(7)?,
        created_at: Time(row.get(8)?),
        updated_at: Time(row.get(9)?),
    })
}

/// Applies all writes, or none. `Ok(Err(..))` refuses these writes only; `Err(..)` fails the whole group.
pub(super) fn write(
    transaction: &mut Transaction<'_>,
    writes: &[UserWrite],
    count: &mut UserCount,
) -> rusqlite::Result<Result<Vec<UserChange>, WriteError>> {
    let savepoint = transaction.savepoint()?;
    let saved = count.save();
    let mut changes = Vec::with_capacity(writes.len());
    for (index, write) in writes.iter().enumerate() {
        let applied = apply(&savepoint, write)?.map_err(|conflict| WriteError::Conflict { index, conflict });
        match applied.and_then(|change| Ok(count_write(write, count).map(|()| change)?)) {
            Ok(change) => changes.push(change),
            Err(refused) => {
                // Dropping the savepoint rolls back the writes before.
                count.restore(saved);
                return Ok(Err(refused));
            }
        }
    }
    savepoint.commit()?;
    Ok(Ok(changes))
}

fn count_write(write: &UserWrite, count: &mut UserCount) -> Result<(), Error> {
    match write {
        UserWrite::Create(_) => count.add()?,
        UserWrite::Replace(_) => {}
        UserWrite::Delete { .. } => count.remove(),
    }
    Ok(())
}

/// Applies one write. `Ok(Err(..))` is a conflict with the stored users; then nothing was written.
fn apply(connection: &Connection, write: &UserWrite) -> rusqlite::Result<Result<UserChange, Conflict>> {
    let (id, stored_revision) = match write {
        UserWrite::Create(user) => (user.id, None),
        UserWrite::Replace(user) => (user.id, Some(user.revision.saturating_sub(1))),
        UserWrite::Delete { id, revision } => (*id, Some(*revision)),
    };
    if let Some(expected) = stored_revision {
        match revision(connection, id)? {
            None => return Ok(Err(Conflict::NoSuchUser)),
            Some(found) if found != expected => return Ok(Err(Conflict::StaleRevision)),
            Some(_) => {}
        }
    }
    match write {
        UserWrite::Create(user) | UserWrite::Replace(user) => {
            if let Some(conflict) = taken(connection, user)? {
                return Ok(Err(conflict));
            }
            if stored_revision.is_some() {
                sessions::end_if_password_changes(connection, user.id, password(user))?;
            }
            store(connection, user)?;
            Ok(Ok(UserChange::Put(user.clone())))
        }
        UserWrite::Delete { id, revision } => {
            // The foreign key of `sessions` deletes the user's sessions too.
            connection.prepare_cached("DELETE FROM users WHERE id = ?")?.execute([id.as_bytes()])?;
            Ok(Ok(UserChange::Deleted { id: *id, revision: revision + 1 }))
        }
    }
}

fn revision(connection: &Connection, id: Uuid) -> rusqlite::Result<Option<u64>> {
    let mut select = connection.prepare_cached("SELECT revision FROM users WHERE id = ?")?;
    select.query_row([id.as_bytes()], |row| row.get(0)).optional()
}

fn taken(connection: &Connection, user: &User) -> rusqlite::Result<Option<Conflict>> {
    let id = user.id.as_bytes();
    let mut by_username = connection.prepare_cached("SELECT 1 FROM users WHERE username_key = ? AND id <> ?")?;
    if by_username.exists(params![user.username_key, id])? {
        return Ok(Some(Conflict::UsernameTaken));
    }
    let mut by_email = connection.prepare_cached("SELECT 1 FROM users WHERE email_key = ? AND id <> ?")?;
    if by_email.exists(params![email_key(user), id])? {
        return Ok(Some(Conflict::EmailTaken));
    }
    Ok(None)
}

/// `None` is stored as NULL, which is never equal to another, so any number of users may have no address.
fn email_key(user: &User) -> Option<&str> {
    (!user.email_key.is_empty()).then_some(user.email_key.as_str())
}

fn password(user: &User) -> Option<&str> {
    user.password.as_ref().map(|hash| hash.0.as_str())
}

fn store(connection: &Connection, user: &User) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO users (id, username, username_key, email, email_key, password, roles, revision, created_at, updated_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET username = excluded.username, username_key = excluded.username_key,
                 email = excluded.email, email_key = excluded.email_key, password = excluded.password,
                 roles = excluded.roles, revision = excluded.revision, updated_at = excluded.updated_at",
        )?
        .execute(params![
            user.id.as_bytes(),
            user.username,
            user.username_key,
            user.email,
            email_key(user),
            password(user),
            user.roles.join(" "),
            user.revision,
            user.created_at.0,
            user.updated_at.0,
        ])?;
    Ok(())
}

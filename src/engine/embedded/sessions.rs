//! Sessions in the file.

use rusqlite::{OptionalExtension, Transaction, params};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::engine::{Error, PasswordHash, Rotated, SecretHash, Session};
use crate::types::Time;

/// Sessions forgotten by one write, at most: so few that a publish in the same group is not kept waiting.
pub(super) const CHUNK: usize = 256;

/// Whom to tell what became of a change.
type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the writer is asked to do with sessions.
#[derive(Debug)]
pub(super) enum Change {
    Create { session: Session, password: PasswordHash, keep: usize, reply: Reply<bool> },
    Rotate { id: Uuid, from: SecretHash, to: SecretHash, expires_at: Time, reply: Reply<Rotated> },
    Revoke { id: Uuid, reply: Reply<Option<Uuid>> },
    Purge { expired_before: Time, reply: Reply<usize> },
}

/// What came of it, to be told when it is durable.
#[derive(Debug)]
pub(super) enum Changed {
    Created(Result<bool, Error>),
    Rotated(Rotated),
    Revoked(Option<Uuid>),
    Purged(usize),
}

impl Change {
    /// Only takes something away, and so works also where there is no space.
    pub(super) fn only_removes(&self) -> bool {
        matches!(self, Self::Revoke { .. } | Self::Purge { .. })
    }

    /// Whatever conflicts is told to who asked; `Err` is the whole group's failure.
    pub(super) fn apply(&self, transaction: &Transaction<'_>, now: Time) -> rusqlite::Result<Changed> {
        match self {
            Self::Create { session, password, keep, .. } => {
                create(transaction, session, password, *keep, now).map(Changed::Created)
            }
            Self::Rotate { id, from, to, expires_at, .. } => {
                rotate(transaction, *id, *from, (*to, *expires_at), now).map(Changed::Rotated)
            }
            Self::Revoke { id, .. } => revoke(transaction, *id).map(Changed::Revoked),
            Self::Purge { expired_before, .. } => purge(transaction, *expired_before).map(Changed::Purged),
        }
    }

    /// The group is committed.
    pub(super) fn answer(self, changed: Changed) {
        match (self, changed) {
            (Self::Create { reply, .. }, Changed::Created(created)) => _ = reply.send(created),
            (Self::Rotate { reply, .. }, Changed::Rotated(rotated)) => _ = reply.send(Ok(rotated)),
            (Self::Revoke { reply, .. }, Changed::Revoked(user)) => _ = reply.send(Ok(user)),
            (Self::Purge { reply, .. }, Changed::Purged(count)) => _ = reply.send(Ok(count)),
            // What came of a change is of its kind.
            _ => {}
        }
    }

    /// Nothing of the group is in the file.
    pub(super) fn refuse(self, error: Error) {
        match self {
            Self::Create { reply, .. } => _ = reply.send(Err(error)),
            Self::Rotate { reply, .. } => _ = reply.send(Err(error)),
            Self::Revoke { reply, .. } => _ = reply.send(Err(error)),
            Self::Purge { reply, .. } => _ = reply.send(Err(error)),
        }
    }
}

/// A violated constraint would fail the group and stop the log, so none is left to be found by SQLite.
fn create(
    transaction: &Transaction<'_>,
    session: &Session,
    password: &PasswordHash,
    keep: usize,
    now: Time,
) -> rusqlite::Result<Result<bool, Error>> {
    let (id, user) = (session.id.as_bytes(), session.user.as_bytes());
    // Between the look at the password and now, another may have been set: then the sessions of before have ended already.
    let mut known = transaction.prepare_cached("SELECT 1 FROM users WHERE id = ? AND password = ?")?;
    if !known.exists(params![user, password.0])? {
        return Ok(Ok(false));
    }
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO sessions (id, user_id, secret, created_at, expires_at) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![id, user, session.secret.0, session.created_at.0, session.expires_at.0])?;
    if inserted == 0 {
        return Ok(Err(Error::Unavailable("there is a session of this id already".into())));
    }
    // The clock may have stepped back, and still the new one is the youngest.
    let others = i64::try_from(keep).unwrap_or(i64::MAX).saturating_sub(1).max(0);
    transaction
        .prepare_cached("DELETE FROM sessions WHERE user_id = ? AND id <> ? AND expires_at <= ?")?
        .execute(params![user, id, now.0])?;
    transaction
        .prepare_cached(
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE user_id = ? AND id <> ?
             ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET ?)",
        )?
        .execute(params![user, id, others])?;
    Ok(Ok(true))
}

fn rotate(
    transaction: &Transaction<'_>,
    id: Uuid,
    from: SecretHash,
    (secret, expires_at): (SecretHash, Time),
    now: Time,
) -> rusqlite::Result<Rotated> {
    let found = transaction
        .prepare_cached("SELECT user_id, created_at, secret = ? FROM sessions WHERE id = ? AND expires_at > ?")?
        .query_row(params![from.0, id.as_bytes(), now.0], |row| {
            let session =
                Session { id, user: Uuid::from_bytes(row.get(0)?), secret, created_at: Time(row.get(1)?), expires_at };
            Ok((session, row.get::<_, bool>(2)?))
        })
        .optional()?;
    match found {
        None => Ok(Rotated::Unknown),
        Some((_, false)) => {
            revoke(transaction, id)?;
            Ok(Rotated::Reused)
        }
        Some((session, true)) => {
            transaction
                .prepare_cached("UPDATE sessions SET secret = ?, expires_at = ? WHERE id = ?")?
                .execute(params![secret.0, expires_at.0, id.as_bytes()])?;
            Ok(Rotated::To(session))
        }
    }
}

fn revoke(transaction: &Transaction<'_>, id: Uuid) -> rusqlite::Result<Option<Uuid>> {
    let mut delete = transaction.prepare_cached("DELETE FROM sessions WHERE id = ? RETURNING user_id")?;
    delete.query_row([id.as_bytes()], |row| row.get(0).map(Uuid::from_bytes)).optional()
}

/// A chunk at most.
fn purge(transaction: &Transaction<'_>, expired_before: Time) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached(
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < ? ORDER BY expires_at LIMIT ?)",
        )?
        .execute(params![expired_before.0, CHUNK])
}

/// All sessions of a user whose password is about to become this one, unless it is the same.
pub(super) fn end_if_password_changes(
    connection: &rusqlite::Connection,
    user: Uuid,
    password: Option<&str>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM sessions WHERE user_id = ?1 AND (SELECT password FROM users WHERE id = ?1) IS NOT ?2",
        )?
        .execute(params![user.as_bytes(), password])
        .map(drop)
}

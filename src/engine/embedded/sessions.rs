//! Stores sessions within the transaction of a group of writes.

use rusqlite::{OptionalExtension, Transaction, params};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::engine::{Error, PasswordHash, Rotated, SecretHash, Session};
use crate::types::Time;

/// Maximum number of sessions that one write removes: few enough not to delay appends in the same group.
pub(super) const CHUNK: usize = 256;

/// Answers the caller of a change.
type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A change of sessions, for the writer.
#[derive(Debug)]
pub(super) enum Change {
    Create { session: Session, password: PasswordHash, keep: usize, reply: Reply<bool> },
    Rotate { id: Uuid, from: SecretHash, to: SecretHash, expires_at: Time, reply: Reply<Rotated> },
    Revoke { id: Uuid, reply: Reply<Option<Uuid>> },
    Purge { expired_before: Time, reply: Reply<usize> },
}

/// The outcome of a change, which is sent to the caller once it is durable.
#[derive(Debug)]
pub(super) enum Changed {
    Created(Result<bool, Error>),
    Rotated(Rotated),
    Revoked(Option<Uuid>),
    Purged(usize),
}

impl Change {
    /// Returns whether the change only removes data, and so succeeds on a full disk.
    pub(super) fn only_removes(&self) -> bool {
        matches!(self, Self::Revoke { .. } | Self::Purge { .. })
    }

    /// Applies the change. Conflicts are part of the outcome; `Err` fails the whole group.
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

    /// Sends the outcome to the caller after the group's commit.
    pub(super) fn answer(self, changed: Changed) {
        match (self, changed) {
            (Self::Create { reply, .. }, Changed::Created(created)) => _ = reply.send(created),
            (Self::Rotate { reply, .. }, Changed::Rotated(rotated)) => _ = reply.send(Ok(rotated)),
            (Self::Revoke { reply, .. }, Changed::Revoked(user)) => _ = reply.send(Ok(user)),
            (Self::Purge { reply, .. }, Changed::Purged(count)) => _ = reply.send(Ok(count)),
            // Unreachable: the outcome is of the same kind as its change.
            _ => {}
        }
    }

    /// Sends the error of a group of which nothing is in the file.
    pub(super) fn refuse(self, error: Error) {
        match self {
            Self::Create { reply, .. } => _ = reply.send(Err(error)),
            Self::Rotate { reply, .. } => _ = reply.send(Err(error)),
            Self::Revoke { reply, .. } => _ = reply.send(Err(error)),
            Self::Purge { reply, .. } => _ = reply.send(Err(error)),
        }
    }
}

/// Checks every constraint itself: a violation found by SQLite would fail the whole group and stop the log.
fn create(
    transaction: &Transaction<'_>,
    session: &Session,
    password: &PasswordHash,
    keep: usize,
    now: Time,
) -> rusqlite::Result<Result<bool, Error>> {
    let (id, user) = (session.id.as_bytes(), session.user.as_bytes());
    // The password may have changed since it was verified; that change has already ended the user's earlier sessions.
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
        return Ok(Err(Error::Unavailable("a session with this id already exists".into())));
    }
    // Even if the clock stepped back, the new session counts as the latest.
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

/// Removes expired sessions, at most one chunk.
fn purge(transaction: &Transaction<'_>, expired_before: Time) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached(
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < ? ORDER BY expires_at LIMIT ?)",
        )?
        .execute(params![expired_before.0, CHUNK])
}

/// Ends all sessions of a user unless the stored password equals the new one. Must run before the user is stored.
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

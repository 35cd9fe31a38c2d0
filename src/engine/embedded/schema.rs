//! The tables of the file, their migrations, and the checks at opening, before anything is read or served.

use std::path::Path;

use rusqlite::{Connection, params};
use rusqlite_migration::{Error as MigrationError, M, MigrationDefinitionError, Migrations};
use uuid::Uuid;

use super::OpenError;

/// Messages are stored in commit order, so that every group is appended at the end of the table, with an index on `(room_id, seq)`.
/// A table clustered by that key measured slower with large messages or many rooms (see ARCHITECTURE.md).
pub(super) const FIRST: &str = "
    CREATE TABLE meta (
        name  TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE rooms (
        id         INTEGER PRIMARY KEY,
        name       TEXT    NOT NULL UNIQUE,
        head       INTEGER NOT NULL,            -- the last seq assigned; never lowered
        floor      INTEGER NOT NULL DEFAULT 0,  -- the highest seq removed by retention
        created_at INTEGER NOT NULL             -- nanoseconds since the Unix epoch, like all times
    ) STRICT;

    CREATE TABLE messages (
        room_id INTEGER NOT NULL REFERENCES rooms (id),
        seq     INTEGER NOT NULL,
        time    INTEGER NOT NULL,
        user_id TEXT    NOT NULL,
        id      TEXT    NOT NULL,
        keyed   INTEGER NOT NULL,               -- the client chose the id: published once
        text    TEXT    NOT NULL,
        PRIMARY KEY (room_id, seq)
    ) STRICT;
    CREATE UNIQUE INDEX published_once ON messages (room_id, user_id, id) WHERE keyed = 1;

    CREATE TABLE users (
        id           BLOB    PRIMARY KEY,       -- 16 bytes
        username     TEXT    NOT NULL,
        username_key TEXT    NOT NULL UNIQUE,
        email        TEXT    NOT NULL,
        email_key    TEXT    UNIQUE,            -- NULL for an empty address
        password     TEXT,                      -- PHC string
        roles        TEXT    NOT NULL,          -- separated by spaces
        revision     INTEGER NOT NULL,
        created_at   INTEGER NOT NULL,
        updated_at   INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// A user's sessions are deleted with the user. Rooms created before this migration have no creator.
pub(super) const SECOND: &str = "
    CREATE TABLE sessions (
        id         BLOB    PRIMARY KEY,         -- 16 bytes
        user_id    BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        secret     BLOB    NOT NULL,            -- SHA-256 of the current one
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX sessions_of_a_user ON sessions (user_id, created_at);
    CREATE INDEX sessions_by_end ON sessions (expires_at);

    ALTER TABLE rooms ADD COLUMN creator TEXT NOT NULL DEFAULT '';  -- the sender of the first message
";

/// Kind, target and body of a record. Older rows become plain messages, for which each of the columns takes one byte.
const THIRD: &str = "
    ALTER TABLE messages ADD COLUMN kind   INTEGER NOT NULL DEFAULT 0;  -- RecordKind
    ALTER TABLE messages ADD COLUMN target INTEGER;                     -- the seq of another record of the room
    ALTER TABLE messages ADD COLUMN body   BLOB;                        -- NULL if empty
";

/// Enables the write-ahead log with full durability, checkpoints it, and migrates the file to the current schema.
pub(super) fn prepare(connection: &mut Connection, file: &Path) -> Result<(), OpenError> {
    let database = |cause| OpenError::Database { file: file.to_owned(), cause };
    // SQLite returns the mode in effect instead of an error if it cannot use this one.
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(database)?;
    if mode != "wal" {
        return Err(OpenError::NoWriteAheadLog(file.to_owned()));
    }
    connection
        .execute_batch(
            "PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON;
             PRAGMA journal_size_limit = 67108864;",
        )
        .map_err(database)?;
    checkpoint(connection, file)?;
    let migrations = Migrations::from_slice(&[M::up(FIRST), M::up(SECOND), M::up(THIRD)]).to_latest(connection);
    migrations.map_err(|error| match error {
        MigrationError::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead) => {
            OpenError::TooNew(file.to_owned())
        }
        MigrationError::RusqliteError { err, .. } => database(err),
        other => database(rusqlite::Error::ToSqlConversionFailure(other.into())),
    })
}

/// Recovery also accepts frames that were written but not synced before a crash. They must be durable before they are served.
fn checkpoint(connection: &Connection, file: &Path) -> Result<(), OpenError> {
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
    match busy {
        Ok(false) => Ok(()),
        Ok(true) => Err(OpenError::Checkpoint(file.to_owned())),
        Err(cause) => Err(OpenError::Database { file: file.to_owned(), cause }),
    }
}

/// Limits the file to this many bytes; beyond, writes fail as on a full disk. 0: no limit.
pub(super) fn limit(connection: &Connection, file_bytes: u64) -> rusqlite::Result<()> {
    let page_bytes: u64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    // SQLite's maximum and default is 2^32 - 2 pages; setting 0 would only query the value.
    let pages = if file_bytes == 0 { u64::from(u32::MAX) - 1 } else { (file_bytes / page_bytes.max(1)).max(1) };
    connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
}

/// Returns the epoch of the file, and generates it for a new file.
pub(super) fn epoch(connection: &Connection) -> rusqlite::Result<String> {
    let fresh = Uuid::new_v4().simple().to_string();
    connection.execute("INSERT INTO meta (name, value) VALUES ('epoch', ?) ON CONFLICT DO NOTHING", params![fresh])?;
    connection.query_row("SELECT value FROM meta WHERE name = 'epoch'", [], |row| row.get(0))
}

//! The layout of the file, and what every opening does before anything is read or served.

use std::path::Path;

use rusqlite::{Connection, params};
use rusqlite_migration::{Error as MigrationError, M, MigrationDefinitionError, Migrations};
use uuid::Uuid;

use super::OpenError;

/// Messages stand in the order of their commits, so that every group goes to the end of the table, with an index by place: measured
/// against a table clustered by place, which is slower as soon as messages are large or rooms are many (see ARCHITECTURE.md).
pub(super) const FIRST: &str = "
    CREATE TABLE meta (
        name  TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE rooms (
        id         INTEGER PRIMARY KEY,
        name       TEXT    NOT NULL UNIQUE,
        head       INTEGER NOT NULL,            -- the last seq given; never lowered
        floor      INTEGER NOT NULL DEFAULT 0,  -- the highest seq that retention has taken
        created_at INTEGER NOT NULL             -- nanoseconds since the Unix epoch, as every time here
    ) STRICT;

    CREATE TABLE messages (
        room_id INTEGER NOT NULL REFERENCES rooms (id),
        seq     INTEGER NOT NULL,
        time    INTEGER NOT NULL,
        user_id TEXT    NOT NULL,
        id      TEXT    NOT NULL,
        keyed   INTEGER NOT NULL,               -- the client gave the id: published once
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

/// The sessions of a user end with it. Rooms that were made before their creators were kept are nobody's.
const SECOND: &str = "
    CREATE TABLE sessions (
        id         BLOB    PRIMARY KEY,         -- 16 bytes
        user_id    BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        secret     BLOB    NOT NULL,            -- SHA-256 of the last one
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX sessions_of_a_user ON sessions (user_id, created_at);
    CREATE INDEX sessions_by_end ON sessions (expires_at);

    ALTER TABLE rooms ADD COLUMN creator TEXT NOT NULL DEFAULT '';  -- who said its first message
";

/// Makes the file durable, current and safe to serve from.
pub(super) fn prepare(connection: &mut Connection, file: &Path) -> Result<(), OpenError> {
    let database = |cause| OpenError::Database { file: file.to_owned(), cause };
    // SQLite answers with the mode that it has, and no error where it cannot have this one.
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
    write_back(connection, file)?;
    let migrations = Migrations::from_slice(&[M::up(FIRST), M::up(SECOND)]).to_latest(connection);
    migrations.map_err(|error| match error {
        MigrationError::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead) => {
            OpenError::TooNew(file.to_owned())
        }
        MigrationError::RusqliteError { err, .. } => database(err),
        other => database(rusqlite::Error::ToSqlConversionFailure(other.into())),
    })
}

/// Recovery takes also frames that were written but never synced before a crash. They must be durable before anybody is shown them.
fn write_back(connection: &Connection, file: &Path) -> Result<(), OpenError> {
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
    match busy {
        Ok(false) => Ok(()),
        Ok(true) => Err(OpenError::Checkpoint(file.to_owned())),
        Err(cause) => Err(OpenError::Database { file: file.to_owned(), cause }),
    }
}

/// Beyond so many bytes of file (0: no limit of ours) a write fails as on a full disk.
pub(super) fn limit(connection: &Connection, file_bytes: u64) -> rusqlite::Result<()> {
    let page_bytes: u64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    // SQLite's own limit, and its default, is 2^32 - 2 pages; 0 would only ask.
    let pages = if file_bytes == 0 { u64::from(u32::MAX) - 1 } else { (file_bytes / page_bytes.max(1)).max(1) };
    connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
}

/// The name of this log. A log without one is given one.
pub(super) fn epoch(connection: &Connection) -> rusqlite::Result<String> {
    let fresh = Uuid::new_v4().simple().to_string();
    connection.execute("INSERT INTO meta (name, value) VALUES ('epoch', ?) ON CONFLICT DO NOTHING", params![fresh])?;
    connection.query_row("SELECT value FROM meta WHERE name = 'epoch'", [], |row| row.get(0))
}

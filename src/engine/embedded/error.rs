//! Why a data folder could not be opened, and what SQLite's errors mean to callers.

use std::{io, path::PathBuf};

use crate::engine::Error;

/// Why the data folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the folder.
    #[error("the data folder {0} is in use by another server: stop that server, or choose another folder with --data")]
    InUse(PathBuf),
    /// The folder, its lock or a thread could not be created.
    #[error("cannot use the data folder {folder}: {cause}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// A newer version of Rialto wrote the file.
    #[error("{0} was written by a newer version of Rialto: use that version or a later one")]
    TooNew(PathBuf),
    /// The linked SQLite is older than 3.51.3.
    #[error("SQLite {0} is too old: 3.51.3 or later is required")]
    OldSqlite(&'static str),
    /// The file system does not support a write-ahead log.
    #[error("{0} cannot use a write-ahead log on this file system: put the data folder on a local disk")]
    NoWriteAheadLog(PathBuf),
    /// What an earlier process left in the write-ahead log could not be made durable.
    #[error("cannot checkpoint the write-ahead log of {0}: close other programs that have the file open")]
    Checkpoint(PathBuf),
    /// SQLite could not open or migrate the file.
    #[error("cannot open {file}: {cause}")]
    Database {
        /// The file.
        file: PathBuf,
        /// SQLite's error.
        cause: rusqlite::Error,
    },
}

/// Translates an error of SQLite for the caller of an engine.
pub(super) fn from_sqlite(error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase};
    if let rusqlite::Error::FromSqlConversionFailure(_, _, cause) = error {
        return Error::Damaged(cause.to_string());
    }
    match error.sqlite_error_code() {
        Some(DiskFull) => Error::DiskFull,
        Some(DatabaseCorrupt | NotADatabase) => Error::Damaged(error.to_string()),
        _ => Error::Unavailable(error.to_string()),
    }
}

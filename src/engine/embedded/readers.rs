//! A pool of reading connections, each used by one caller at a time.

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::error::from_sqlite;
use crate::engine::Error;

#[derive(Debug, Clone)]
pub(super) struct Readers(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    /// One permit per connection: its holder finds a connection in `idle`.
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn open(file: &Path, count: NonZeroUsize) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connections: Vec<_> =
            (0..count.get()).map(|_| Connection::open_with_flags(file, flags)).collect::<rusqlite::Result<_>>()?;
        Ok(Self(Arc::new(Pool { permits: Arc::new(Semaphore::new(count.get())), idle: Mutex::new(connections) })))
    }

    /// Closes the pool: later reads fail, running ones finish.
    pub(super) fn close(&self) {
        self.0.permits.close();
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Fails with [`Error::Stopped`], as reads do, once the pool is closed.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.0.permits.is_closed() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Runs one read on a blocking thread. It finishes and returns its connection even if this future is dropped.
    pub(super) async fn read<T, F>(&self, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let permit = Arc::clone(&self.0.permits).acquire_owned().await.map_err(|_| Error::Stopped)?;
        let pool = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            let taken = pool.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = taken.ok_or(Error::Stopped)?;
            let outcome = read(&mut connection).map_err(|error| from_sqlite(&error));
            pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(permit);
            outcome
        });
        done.await.unwrap_or(Err(Error::Stopped))
    }
}

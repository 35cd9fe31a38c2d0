//! A few connections that read, each lent to one caller at a time.

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::{Error, from_sqlite};

#[derive(Debug, Clone)]
pub(super) struct Readers(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    /// One permit a connection: who holds one finds a connection in `idle`.
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

    /// Later reads fail; those under way end.
    pub(super) fn close(&self) {
        self.0.permits.close();
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Fails as a read would, when there are no more reads.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.0.permits.is_closed() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Runs one read, on a thread that may block. It ends even if the caller goes away, and gives its connection back.
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

//! How many streaming calls may be open at once: in all, and of each caller.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::caller::Caller;

/// A limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StreamLimitError {
    /// Of the server.
    #[error("stream limit of the server reached ({limit}); try again later")]
    Server {
        /// The configured limit.
        limit: usize,
    },
    /// Of one caller.
    #[error("stream limit of this caller reached ({limit}); end a stream first")]
    Caller {
        /// The configured limit.
        limit: usize,
    },
}

/// The permits for streaming calls. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct StreamLimit {
    permits: Arc<Semaphore>,
    limit: usize,
    /// Open streams by the id of their caller.
    callers: Arc<DashMap<Arc<str>, usize>>,
    per_caller: usize,
}

/// Counts as one chat stream until it is dropped.
#[derive(Debug)]
pub(super) struct StreamPermit {
    _permit: OwnedSemaphorePermit,
    _of_caller: Option<CallerPermit>,
}

/// Counts as one streaming call of a caller until it is dropped.
#[derive(Debug)]
pub(super) struct CallerPermit {
    id: Arc<str>,
    callers: Arc<DashMap<Arc<str>, usize>>,
}

impl StreamLimit {
    /// `limit`: chat streams at once. `per_caller`: streaming calls of every kind of one caller; anonymous callers are not counted.
    pub(crate) fn new(limit: usize, per_caller: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(limit)), limit, callers: Arc::default(), per_caller }
    }

    /// Chat streams that are open.
    pub(crate) fn open_streams(&self) -> usize {
        self.limit - self.permits.available_permits()
    }

    /// A permit for a chat stream.
    pub(super) fn acquire(&self, caller: &Caller) -> Result<StreamPermit, StreamLimitError> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|_| StreamLimitError::Server { limit: self.limit })?;
        Ok(StreamPermit { _permit: permit, _of_caller: self.acquire_of_caller(caller)? })
    }

    /// A permit for another streaming call, which counts for its caller alone. `None` for an anonymous caller.
    pub(super) fn acquire_of_caller(&self, caller: &Caller) -> Result<Option<CallerPermit>, StreamLimitError> {
        let Some(id) = &caller.id else { return Ok(None) };
        let mut streams = self.callers.entry(Arc::clone(id)).or_default();
        if *streams >= self.per_caller {
            return Err(StreamLimitError::Caller { limit: self.per_caller });
        }
        *streams += 1;
        Ok(Some(CallerPermit { id: Arc::clone(id), callers: Arc::clone(&self.callers) }))
    }
}

impl Drop for CallerPermit {
    fn drop(&mut self) {
        if let Some(mut streams) = self.callers.get_mut(&self.id) {
            *streams = streams.saturating_sub(1);
        }
        self.callers.remove_if(&self.id, |_, streams| *streams == 0);
    }
}

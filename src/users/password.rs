//! Hashing of passwords, by Argon2id, in a bounded number of threads that may block.

use std::{num::NonZeroUsize, sync::Arc};

use argon2::{Argon2, PasswordHasher};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::PasswordHash;

/// A hash could not be computed.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed")]
pub struct HashingFailed;

/// The bounded pool.
#[derive(Debug)]
pub(super) struct Hasher {
    hashes: Arc<Semaphore>,
    bulk: Arc<Semaphore>,
}

impl Hasher {
    pub(super) fn new(concurrent: NonZeroUsize) -> Self {
        Self { hashes: Arc::new(Semaphore::new(concurrent.get())), bulk: Arc::new(Semaphore::new(1)) }
    }

    /// An empty password has no hash: nobody can log in with it.
    pub(super) async fn hash_if_given(&self, password: String) -> Result<Option<PasswordHash>, HashingFailed> {
        if password.is_empty() {
            return Ok(None);
        }
        let permit = Arc::clone(&self.hashes).acquire_owned().await.map_err(|_| HashingFailed)?;
        let hash = tokio::task::spawn_blocking(move || {
            // The permit goes with the work, which goes on when the caller is gone.
            let _permit = permit;
            // Algorithm, version and cost are the crate's defaults, which follow OWASP: Argon2id v19, 19 MiB, 2 passes, 1 lane.
            Argon2::default().hash_password(password.as_bytes()).map(|hash| PasswordHash(hash.to_string()))
        });
        hash.await.map_err(|_| HashingFailed)?.map(Some).map_err(|_| HashingFailed)
    }

    /// The right to hash many passwords: one call has it at a time.
    pub(super) async fn bulk(&self) -> Result<OwnedSemaphorePermit, HashingFailed> {
        Arc::clone(&self.bulk).acquire_owned().await.map_err(|_| HashingFailed)
    }
}

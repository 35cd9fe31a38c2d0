//! Password hashing by Argon2id, in a bounded number of blocking threads.

use std::sync::Arc;

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Error, HashingFailed};
use crate::{config, engine::PasswordHash, metrics::Metrics};

/// Verified instead of a missing hash, so that a login without one takes as long. It matches no password. A test checks that its costs are
/// those of new hashes.
const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$cmlhbHRvLW5vYm9keXMtMQ$dGhpcyBpcyB0aGUgaGFzaCBvZiBubyBwYXNzd29yZCE";

/// Hashes and verifies passwords.
#[derive(Debug)]
pub(super) struct Hasher {
    hashes: Arc<Semaphore>,
    /// One batch of users hashes its passwords at a time.
    batch: Arc<Semaphore>,
    /// Separate from `hashes`, so that neither logins nor new users delay the other.
    logins: Arc<Semaphore>,
    login_queue: Queue,
    hash_queue: Queue,
    metrics: Arc<Metrics>,
}

/// A limit for the passwords that are in progress or wait.
#[derive(Debug)]
struct Queue {
    permits: Arc<Semaphore>,
    limit: usize,
}

impl Queue {
    fn new(running: usize, waiting: usize) -> Self {
        let limit = running.saturating_add(waiting).min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(limit)), limit }
    }

    /// Takes a permit. Fails with the limit if the queue is full.
    fn enter(&self) -> Result<OwnedSemaphorePermit, usize> {
        Arc::clone(&self.permits).try_acquire_owned().map_err(|_| self.limit)
    }
}

impl Hasher {
    pub(super) fn new(settings: &config::Users, metrics: Arc<Metrics>) -> Self {
        let (hashes, logins) = (settings.max_concurrent_hashes.get(), settings.max_concurrent_logins.get());
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self {
            hashes: semaphore(hashes),
            batch: semaphore(1),
            logins: semaphore(logins),
            login_queue: Queue::new(logins, settings.max_queued_logins),
            hash_queue: Queue::new(hashes, settings.max_queued_hashes),
            metrics,
        }
    }

    /// Whether `hash` is the hash of `password`. `None` never is, after the same work. Fails if the queue of logins is full.
    pub(super) async fn verify(&self, password: String, hash: Option<PasswordHash>) -> Result<bool, Error> {
        let place = self.login_queue.enter().map_err(|limit| Error::TooManyLogins { limit })?;
        let permit = Arc::clone(&self.logins).acquire_owned().await.map_err(|_| HashingFailed)?;
        self.metrics.password_hashes.inc();
        let verify = tokio::task::spawn_blocking(move || {
            // Both are held until the work is done, also if the caller is gone.
            let _held = (place, permit);
            let against = hash.as_ref().map_or(DUMMY_HASH, |hash| hash.0.as_str());
            let is_same = Argon2::default().verify_password(password.as_bytes(), against).is_ok();
            is_same && hash.is_some()
        });
        Ok(verify.await.map_err(|_| HashingFailed)?)
    }

    /// Like [`hash`](Self::hash), but fails if the queue of new passwords is full.
    pub(super) async fn hash_within_limit(&self, password: String) -> Result<Option<PasswordHash>, Error> {
        if password.is_empty() {
            return Ok(None);
        }
        let _place = self.hash_queue.enter().map_err(|limit| Error::TooManyPasswordHashes { limit })?;
        Ok(self.hash(password).await?)
    }

    /// Hashes a password. An empty password has no hash and matches no login.
    pub(super) async fn hash(&self, password: String) -> Result<Option<PasswordHash>, HashingFailed> {
        if password.is_empty() {
            return Ok(None);
        }
        let permit = Arc::clone(&self.hashes).acquire_owned().await.map_err(|_| HashingFailed)?;
        self.metrics.password_hashes.inc();
        let hash = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also if the caller is gone.
            let _permit = permit;
            // Algorithm, version and costs are the crate's defaults, which follow OWASP: Argon2id v19, 19 MiB, 2 passes, 1 lane.
            Argon2::default().hash_password(password.as_bytes()).map(|hash| PasswordHash(hash.to_string()))
        });
        hash.await.map_err(|_| HashingFailed)?.map(Some).map_err(|_| HashingFailed)
    }

    /// Waits for the turn to hash the passwords of a batch.
    pub(super) async fn batch_turn(&self) -> Result<OwnedSemaphorePermit, HashingFailed> {
        Arc::clone(&self.batch).acquire_owned().await.map_err(|_| HashingFailed)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn hasher() -> Hasher {
        let settings = config::Users {
            max_concurrent_hashes: NonZeroUsize::MIN,
            max_concurrent_logins: NonZeroUsize::MIN,
            max_queued_hashes: 1,
            max_queued_logins: 1,
            ..config::Users::default()
        };
        Hasher::new(&settings, Arc::default())
    }

    #[tokio::test]
    async fn a_password_matches_its_hash_only_and_a_missing_hash_costs_the_same() {
        let hasher = hasher();
        let hash = hasher.hash("right".into()).await.unwrap();
        for (password, hash, is_right) in
            [("right", hash.clone(), true), ("wrong", hash.clone(), false), ("right", None, false), ("", hash, false)]
        {
            let before = hasher.metrics.password_hashes.get();
            assert_eq!(hasher.verify(password.into(), hash).await.unwrap(), is_right);
            assert_eq!(hasher.metrics.password_hashes.get(), before + 1, "the same work");
        }
    }

    #[tokio::test]
    async fn the_dummy_hash_costs_as_much_as_a_new_one() {
        let costs = |hash: &str| hash.split('$').take(4).collect::<Vec<_>>().join("$");
        let new = hasher().hash("any".into()).await.unwrap().unwrap();
        assert_eq!(costs(DUMMY_HASH), costs(&new.0));
        let salt_and_hash = |hash: &str| hash.split('$').skip(4).map(str::len).collect::<Vec<_>>();
        assert_eq!(salt_and_hash(DUMMY_HASH), salt_and_hash(&new.0));
    }

    #[tokio::test]
    async fn the_queues_of_logins_and_of_new_passwords_are_bounded() {
        let hasher = hasher();
        let logins = (0..5).map(|_| hasher.verify("any".into(), None));
        let outcomes = futures_util::future::join_all(logins).await;
        let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::TooManyLogins { limit: 2 })));
        assert_eq!(refused.count(), 3, "{outcomes:?}");
        let hashes = (0..5).map(|_| hasher.hash_within_limit("any".into()));
        let outcomes = futures_util::future::join_all(hashes).await;
        let refused =
            outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::TooManyPasswordHashes { limit: 2 })));
        assert_eq!(refused.count(), 3, "{outcomes:?}");
        assert_eq!(hasher.hash_within_limit(String::new()).await.unwrap(), None);
    }
}

//! Hashing of passwords, by Argon2id, in a bounded number of threads that may block.

use std::sync::Arc;

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Error, HashingFailed, Settings};
use crate::{engine::PasswordHash, metrics::Metrics};

/// What a password is checked against where there is none, for the same work: nobody's. Its costs are those of new hashes, which a test checks.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$cmlhbHRvLW5vYm9keXMtMQ$dGhpcyBpcyB0aGUgaGFzaCBvZiBubyBwYXNzd29yZCE";

/// The bounded pool.
#[derive(Debug)]
pub(super) struct Hasher {
    hashes: Arc<Semaphore>,
    bulk: Arc<Semaphore>,
    /// Logins have a share of their own: nobody who creates users keeps others from logging in, nor the reverse.
    logins: Arc<Semaphore>,
    /// Logins that wait, or are at work.
    login_places: Arc<Semaphore>,
    /// The same of new passwords.
    hash_places: Arc<Semaphore>,
    /// Permits of `login_places`, and of `hash_places`.
    max_logins: usize,
    max_hashes: usize,
    metrics: Arc<Metrics>,
}

impl Hasher {
    pub(super) fn new(settings: &Settings, metrics: Arc<Metrics>) -> Self {
        let Settings { concurrent_hashes, concurrent_logins, queued_hashes, queued_logins, .. } = settings;
        let max_logins = concurrent_logins.get().saturating_add(*queued_logins);
        let max_hashes = concurrent_hashes.get().saturating_add(*queued_hashes);
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self {
            hashes: semaphore(concurrent_hashes.get()),
            bulk: semaphore(1),
            logins: semaphore(concurrent_logins.get()),
            login_places: semaphore(max_logins),
            hash_places: semaphore(max_hashes),
            max_logins,
            max_hashes,
            metrics,
        }
    }

    /// Logins in progress and queued, at most.
    pub(super) fn max_logins(&self) -> usize {
        self.max_logins
    }

    /// Whether this is the password of that hash. Without a hash it is not, after the same work. Absent: too many want to know.
    pub(super) async fn check(
        &self,
        password: String,
        hash: Option<PasswordHash>,
    ) -> Result<Option<bool>, HashingFailed> {
        let Ok(place) = Arc::clone(&self.login_places).try_acquire_owned() else { return Ok(None) };
        let permit = Arc::clone(&self.logins).acquire_owned().await.map_err(|_| HashingFailed)?;
        self.metrics.password_hashes.inc();
        let check = tokio::task::spawn_blocking(move || {
            let _held = (place, permit);
            let against = hash.as_ref().map_or(NOBODYS, |hash| hash.0.as_str());
            let is_same = Argon2::default().verify_password(password.as_bytes(), against).is_ok();
            is_same && hash.is_some()
        });
        check.await.map(Some).map_err(|_| HashingFailed)
    }

    /// The same as [`hash_if_given`](Self::hash_if_given), if not too many wait already.
    pub(super) async fn hash_if_free(&self, password: String) -> Result<Option<PasswordHash>, Error> {
        let place = Arc::clone(&self.hash_places).try_acquire_owned();
        let full = |_| Error::TooManyPasswordHashes { limit: self.max_hashes };
        let _place = if password.is_empty() { None } else { Some(place.map_err(full)?) };
        Ok(self.hash_if_given(password).await?)
    }

    /// An empty password has no hash: nobody can log in with it.
    pub(super) async fn hash_if_given(&self, password: String) -> Result<Option<PasswordHash>, HashingFailed> {
        if password.is_empty() {
            return Ok(None);
        }
        let permit = Arc::clone(&self.hashes).acquire_owned().await.map_err(|_| HashingFailed)?;
        self.metrics.password_hashes.inc();
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn hasher() -> Hasher {
        let settings = Settings {
            bulks: 1,
            bulk: 1,
            bulk_passwords: 1,
            concurrent_hashes: NonZeroUsize::MIN,
            concurrent_logins: NonZeroUsize::MIN,
            queued_hashes: 1,
            queued_logins: 1,
            watchers: 1,
            waiting_changes: 1,
        };
        Hasher::new(&settings, Arc::default())
    }

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_and_nobody_has_nobodys() {
        let hasher = hasher();
        let hash = hasher.hash_if_given("right".into()).await.unwrap();
        for (password, hash, is_right) in
            [("right", hash.clone(), true), ("wrong", hash.clone(), false), ("right", None, false), ("", hash, false)]
        {
            let before = hasher.metrics.password_hashes.get();
            assert_eq!(hasher.check(password.into(), hash).await.unwrap(), Some(is_right));
            assert_eq!(hasher.metrics.password_hashes.get(), before + 1, "the same work");
        }
    }

    #[tokio::test]
    async fn nobodys_hash_costs_as_much_as_a_new_one() {
        let costs = |hash: &str| hash.split('$').take(4).collect::<Vec<_>>().join("$");
        let new = hasher().hash_if_given("any".into()).await.unwrap().unwrap();
        assert_eq!(costs(NOBODYS), costs(&new.0));
        let salt_and_hash = |hash: &str| hash.split('$').skip(4).map(str::len).collect::<Vec<_>>();
        assert_eq!(salt_and_hash(NOBODYS), salt_and_hash(&new.0));
    }

    #[tokio::test]
    async fn so_many_logins_wait_and_no_more() {
        let hasher = hasher();
        let checks = (0..5).map(|_| hasher.check("any".into(), None));
        let outcomes = futures_util::future::join_all(checks).await;
        assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Ok(None))).count(), 3, "{outcomes:?}");
        let hashes = (0..5).map(|_| hasher.hash_if_free("any".into()));
        let outcomes = futures_util::future::join_all(hashes).await;
        let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::TooManyPasswordHashes { .. })));
        assert_eq!(refused.count(), 3, "{outcomes:?}");
        assert_eq!(hasher.hash_if_free(String::new()).await.unwrap(), None);
    }
}

//! The published keys of an issuer (JWK Set, RFC 7517).
//!
//! Invariants:
//! - Only configured URLs are fetched, and each at most once per interval, whatever tokens arrive.
//! - A failed fetch changes nothing: earlier keys stay valid for a day, and without any no token verifies.

mod fetch;
mod key_set;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Error, verification_key::VerificationKey};
pub(super) use fetch::UrlError;
use fetch::{FETCH_TIMEOUT, Fetcher};
use key_set::KeySet;

/// Calls that may wait for a fetch at once. Further calls use the keys that are known.
const MAX_WAITING: usize = 64;

/// The keys of one issuer, fetched by a task.
#[derive(Debug)]
pub(super) struct Jwks {
    keys: watch::Receiver<KeySet>,
    /// Wakes the task for a token whose key is unknown.
    wanted: Arc<Notify>,
    /// Permits to wait for a fetch.
    waiting: Semaphore,
}

impl Jwks {
    /// Starts to fetch keys, at once and then until `stop` is cancelled.
    pub(super) fn start(
        issuer: &str,
        audience: &str,
        url: &str,
        interval: Duration,
        stop: &CancellationToken,
    ) -> Result<(Self, JoinHandle<()>), UrlError> {
        let (sender, keys) = watch::channel(KeySet::default());
        let wanted = Arc::new(Notify::new());
        let fetcher = Fetcher::new((issuer, audience), url, interval, sender, Arc::clone(&wanted))?;
        let stop = stop.clone();
        let task = tokio::spawn(async move { _ = stop.run_until_cancelled(fetcher.run()).await });
        Ok((Self { keys, wanted, waiting: Semaphore::new(MAX_WAITING) }, task))
    }

    /// The key for a token with this key id, or without one. An unknown key may be new: then this waits for a fetch, if one is due.
    pub(super) async fn key(&self, id: Option<&str>) -> Result<Arc<VerificationKey>, Error> {
        let (found, round, is_due) = {
            let keys = self.keys.borrow();
            (keys.find(id).filter(|_| keys.is_fresh(Instant::now())), keys.round, keys.is_fetch_due())
        };
        if let Some(found) = found {
            return Ok(found);
        }
        let mut keys = self.keys.clone();
        let permit = self.waiting.try_acquire();
        if is_due && permit.is_ok() {
            self.wanted.notify_one();
            // The keys that are known afterwards decide, also after a timeout.
            _ = timeout(FETCH_TIMEOUT, keys.wait_for(|keys| keys.round > round)).await;
        }
        let keys = keys.borrow();
        if !keys.is_fresh(Instant::now()) {
            return Err(Error::KeysUnavailable);
        }
        keys.find(id).ok_or(Error::TokenInvalid("its key id is unknown"))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_number_of_calls_that_wait_for_a_fetch_is_limited() {
        let (_sender, keys) = watch::channel(KeySet::default());
        let jwks = Jwks { keys, wanted: Arc::default(), waiting: Semaphore::new(1) };
        let mut first = Box::pin(jwks.key(Some("new")));
        assert!((&mut first).now_or_never().is_none());
        assert!(matches!(jwks.key(Some("new")).now_or_never(), Some(Err(Error::KeysUnavailable))));
        drop(first);
        assert!(jwks.key(Some("new")).now_or_never().is_none(), "the permit was returned");
    }
}

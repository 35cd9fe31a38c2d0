//! The published keys of an issuer (JWK Set, RFC 7517), fetched now and then.
//!
//! Invariants:
//! - Fetched is only what the configuration names, and at most once in an interval, whatever tokens come.
//! - A fetch that fails changes nothing: the keys of before stay good for a day, and where there are none, no token is.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use reqwest::{Client, Url, redirect::Policy};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    token::{Key, good_for},
};
use crate::caller::is_loopback;

/// Between two fetches that nobody has asked for.
const REFRESH: Duration = Duration::from_secs(600);

/// For a fetch as a whole, and for a call that waits for one.
const PATIENCE: Duration = Duration::from_secs(5);

/// For so long keys are good without having been seen again.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Calls that wait for one at once; others are answered by what is there.
const WAITING: usize = 64;

/// Bytes of a set, and keys in it.
const MAX_BYTES: usize = 1 << 20;
const MAX_KEYS: usize = 64;

/// An address from which no keys are fetched.
#[derive(Debug, thiserror::Error)]
pub enum BadUrl {
    /// It is none.
    #[error("is no URL")]
    Malformed,
    /// Whoever sits between could give keys of his own.
    #[error("must be https; http is for loopback addresses")]
    Insecure,
    /// The client for it cannot be made.
    #[error("cannot be used: {0}")]
    Client(reqwest::Error),
}

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct Jwks {
    state: watch::Receiver<State>,
    /// Somebody has a token of a key that is not known.
    asked: Arc<Notify>,
    /// Places for those who wait for a look.
    waiting: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    keys: Vec<Arc<Key>>,
    /// When they were seen last. Absent: never.
    seen_at: Option<Instant>,
    /// Fetches that have ended.
    round: u64,
    /// Before, there is no other.
    next_at: Option<Instant>,
}

impl State {
    /// The key of a name; without one, the only key.
    fn find(&self, id: Option<&str>) -> Option<Arc<Key>> {
        match (id, &self.keys[..]) {
            (None, [only]) => Some(Arc::clone(only)),
            (None, _) => None,
            (Some(_), keys) => keys.iter().find(|key| key.id.as_deref() == id).cloned(),
        }
    }

    fn is_good(&self, now: Instant) -> bool {
        self.seen_at.is_some_and(|seen_at| now.saturating_duration_since(seen_at) < STALE)
    }

    fn may_fetch(&self) -> bool {
        self.next_at.is_none_or(|next_at| next_at <= Instant::now())
    }
}

impl Jwks {
    /// Keys that are fetched until `stop`, the first time at once.
    pub(super) fn start(
        issuer: &str,
        audience: &str,
        url: &str,
        interval: Duration,
        stop: &CancellationToken,
    ) -> Result<(Self, JoinHandle<()>), BadUrl> {
        let url = Url::parse(url).map_err(|_| BadUrl::Malformed)?;
        // What it points to is the operator's choice, so it is not to point on to something else.
        let client = Client::builder().timeout(PATIENCE).redirect(Policy::none());
        let client = match url.scheme() {
            "https" => client,
            // Nobody may sit between here: no proxy of the environment either.
            "http" if url.host_str().is_some_and(is_loopback) => client.no_proxy(),
            _ => return Err(BadUrl::Insecure),
        };
        let client = client.build().map_err(BadUrl::Client)?;
        let (state, seen) = watch::channel(State::default());
        let asked = Arc::new(Notify::new());
        let (issuer, audience) = (issuer.to_owned(), audience.to_owned());
        let fetcher = Fetcher { issuer, audience, url, client, interval, state, asked: Arc::clone(&asked) };
        let stop = stop.clone();
        let task = tokio::spawn(async move { _ = stop.run_until_cancelled(fetcher.run()).await });
        Ok((Self { state: seen, asked, waiting: Semaphore::new(WAITING) }, task))
    }

    /// The key of this name. One that is not known may be new: then it waits for a look, if it is time for one.
    pub(super) async fn key(&self, id: Option<&str>) -> Result<Arc<Key>, Error> {
        let (found, round, may_fetch) = {
            let state = self.state.borrow();
            (state.find(id).filter(|_| state.is_good(Instant::now())), state.round, state.may_fetch())
        };
        if let Some(found) = found {
            return Ok(found);
        }
        let mut state = self.state.clone();
        let place = self.waiting.try_acquire();
        if may_fetch && place.is_ok() {
            self.asked.notify_one();
            // Whether it came, is seen by what is there.
            _ = timeout(PATIENCE, state.wait_for(|state| state.round > round)).await;
        }
        let state = state.borrow();
        if !state.is_good(Instant::now()) {
            return Err(Error::KeysUnavailable);
        }
        state.find(id).ok_or(Error::TokenInvalid("its key is not known here"))
    }
}

struct Fetcher {
    issuer: String,
    audience: String,
    url: Url,
    client: Client,
    interval: Duration,
    state: watch::Sender<State>,
    asked: Arc<Notify>,
}

impl Fetcher {
    async fn run(self) {
        loop {
            let fetched = self.fetch().await;
            let now = Instant::now();
            match &fetched {
                Ok(keys) => tracing::debug!(issuer = self.issuer, keys = keys.len(), "the keys of an issuer"),
                Err(error) => tracing::warn!(issuer = self.issuer, %error, "the keys of an issuer cannot be had"),
            }
            self.state.send_modify(|state| {
                if let Ok(keys) = fetched {
                    (state.keys, state.seen_at) = (keys, Some(now));
                }
                state.round += 1;
                state.next_at = Some(now + self.interval);
            });
            tokio::time::sleep(self.interval).await;
            // Whoever asks waits no longer than for this.
            _ = timeout(REFRESH, self.asked.notified()).await;
        }
    }

    async fn fetch(&self) -> Result<Vec<Arc<Key>>, FetchError> {
        let mut response = self.client.get(self.url.clone()).send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_BYTES {
                return Err(FetchError::TooLarge);
            }
        }
        self.read(&body)
    }

    /// The keys of a set that can check signatures. Others may be in it too (RFC 7517, section 5).
    fn read(&self, body: &[u8]) -> Result<Vec<Arc<Key>>, FetchError> {
        let Set { keys } = serde_json::from_slice(body).map_err(|_| FetchError::NoSet)?;
        let jwks = keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        // There may be none: that is how an issuer takes all of them back.
        Ok(jwks.filter_map(|jwk| self.key(jwk)).take(MAX_KEYS).map(Arc::new).collect())
    }

    fn key(&self, jwk: Jwk) -> Option<Key> {
        if !jwk.common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature) {
            return None;
        }
        let mut algorithms = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa.algorithms().to_vec(),
            AlgorithmParameters::EllipticCurve(point) => match point.curve {
                EllipticCurve::P256 => vec![Algorithm::ES256],
                EllipticCurve::P384 => vec![Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => vec![Algorithm::EdDSA],
            // A secret that is published is none.
            _ => return None,
        };
        if let Some(only) = jwk.common.key_algorithm {
            algorithms.retain(|algorithm| only.to_string() == format!("{algorithm:?}"));
        }
        if algorithms.is_empty() {
            return None;
        }
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        let validation = good_for(algorithms, &self.issuer, &self.audience);
        Some(Key { id: jwk.common.key_id, decoding, validation })
    }
}

#[derive(Debug, Deserialize)]
struct Set {
    keys: Vec<Value>,
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{}", chain(.0))]
    Http(#[from] reqwest::Error),
    #[error("more than {MAX_BYTES} bytes came")]
    TooLarge,
    #[error("what came is no JWK Set")]
    NoSet,
}

/// An error and what caused it, which is where the cause stands.
fn chain(error: &dyn std::error::Error) -> impl fmt::Display + use<> {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn only_so_many_wait_for_a_key() {
        let (_state, seen) = watch::channel(State::default());
        let jwks = Jwks { state: seen, asked: Arc::default(), waiting: Semaphore::new(1) };
        let mut first = Box::pin(jwks.key(Some("new")));
        assert!((&mut first).now_or_never().is_none());
        assert!(matches!(jwks.key(Some("new")).now_or_never(), Some(Err(Error::KeysUnavailable))));
        drop(first);
        assert!(jwks.key(Some("new")).now_or_never().is_none(), "there is a place again");
    }

    #[test]
    fn keys_that_were_not_seen_for_a_day_are_good_no_more() {
        let seen_at = Instant::now();
        let state = State { seen_at: Some(seen_at), ..State::default() };
        assert!(state.is_good(seen_at) && state.is_good(seen_at + STALE - Duration::from_secs(1)));
        assert!(!state.is_good(seen_at + STALE));
        assert!(!State::default().is_good(seen_at), "nor such as were never seen");
    }
}

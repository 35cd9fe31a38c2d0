//! The task that fetches the keys of one issuer.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use reqwest::{Client, Url, redirect::Policy};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::key_set::KeySet;
use crate::{auth::verification_key::VerificationKey, caller::is_loopback};

/// Time limit of one fetch, and of a call that waits for one.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Interval between fetches while no unknown key is wanted.
const REFRESH_INTERVAL: Duration = Duration::from_secs(600);

/// Largest accepted JWK Set, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// Keys of a set that are kept; the rest is ignored.
const MAX_KEYS: usize = 64;

/// Why keys cannot be fetched from a URL.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// It is not a URL.
    #[error("is not a URL")]
    Malformed,
    /// It is neither https nor a loopback address, so that the keys could be replaced on their way.
    #[error("must be https; http is accepted only for loopback addresses")]
    Insecure,
    /// The HTTP client cannot be built.
    #[error("cannot be used: {0}")]
    Client(reqwest::Error),
}

/// Fetches the keys of one issuer.
pub(super) struct Fetcher {
    issuer: String,
    audience: String,
    url: Url,
    client: Client,
    /// Minimum time between two fetches.
    interval: Duration,
    keys: watch::Sender<KeySet>,
    /// Notified for a token whose key is unknown.
    wanted: Arc<Notify>,
}

impl Fetcher {
    pub(super) fn new(
        (issuer, audience): (&str, &str),
        url: &str,
        interval: Duration,
        keys: watch::Sender<KeySet>,
        wanted: Arc<Notify>,
    ) -> Result<Self, UrlError> {
        let url = Url::parse(url).map_err(|_| UrlError::Malformed)?;
        // The operator chose this URL, and not those that it may redirect to.
        let client = Client::builder().timeout(FETCH_TIMEOUT).redirect(Policy::none());
        let client = match url.scheme() {
            "https" => client,
            // Without TLS, no proxy of the environment may be involved either.
            "http" if url.host_str().is_some_and(is_loopback) => client.no_proxy(),
            _ => return Err(UrlError::Insecure),
        };
        let client = client.build().map_err(UrlError::Client)?;
        Ok(Self { issuer: issuer.to_owned(), audience: audience.to_owned(), url, client, interval, keys, wanted })
    }

    pub(super) async fn run(self) {
        loop {
            let fetched = self.fetch().await;
            let now = Instant::now();
            match &fetched {
                Ok(keys) => tracing::debug!(issuer = self.issuer, keys = keys.len(), "fetched the keys of an issuer"),
                Err(error) => tracing::warn!(issuer = self.issuer, %error, "cannot fetch the keys of an issuer"),
            }
            self.keys.send_modify(|state| {
                if let Ok(keys) = fetched {
                    (state.keys, state.fetched_at) = (keys, Some(now));
                }
                state.round += 1;
                state.next_at = Some(now + self.interval);
            });
            tokio::time::sleep(self.interval).await;
            // A request for an unknown key is served after the minimum interval, not after the refresh interval.
            _ = timeout(REFRESH_INTERVAL, self.wanted.notified()).await;
        }
    }

    async fn fetch(&self) -> Result<Vec<Arc<VerificationKey>>, FetchError> {
        let mut response = self.client.get(self.url.clone()).send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_BYTES {
                return Err(FetchError::TooLarge);
            }
        }
        self.parse(&body)
    }

    /// The keys of a set that can verify signatures. Other keys of the set are ignored (RFC 7517, section 5). An empty set revokes all keys.
    fn parse(&self, body: &[u8]) -> Result<Vec<Arc<VerificationKey>>, FetchError> {
        let JwkSet { keys } = serde_json::from_slice(body).map_err(|_| FetchError::NotASet)?;
        let jwks = keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        Ok(jwks.filter_map(|jwk| self.key(jwk)).take(MAX_KEYS).map(Arc::new).collect())
    }

    fn key(&self, jwk: Jwk) -> Option<VerificationKey> {
        if !jwk.common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature) {
            return None;
        }
        let mut algorithms = algorithms(&jwk.algorithm);
        if let Some(only) = jwk.common.key_algorithm {
            algorithms.retain(|algorithm| KeyAlgorithm::from(*algorithm) == only);
        }
        if algorithms.is_empty() {
            return None;
        }
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        Some(VerificationKey::new(jwk.common.key_id, decoding, algorithms, &self.issuer, &self.audience))
    }
}

/// The signature algorithms of a key of this type. Empty if none is supported.
fn algorithms(key: &AlgorithmParameters) -> Vec<Algorithm> {
    match key {
        AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa.algorithms().to_vec(),
        AlgorithmParameters::EllipticCurve(point) => match point.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => Vec::new(),
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => vec![Algorithm::EdDSA],
        // A symmetric key that is published is not a secret.
        _ => Vec::new(),
    }
}

#[derive(Debug, Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{}", with_causes(.0))]
    Http(#[from] reqwest::Error),
    #[error("the response has more than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("the response is not a JWK Set")]
    NotASet,
}

/// An error with its causes, which `reqwest` leaves out of its own message.
fn with_causes(error: &dyn std::error::Error) -> impl fmt::Display + use<> {
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
    use serde_json::json;

    use super::*;

    fn fetcher() -> Fetcher {
        let keys = watch::Sender::new(KeySet::default());
        Fetcher::new(("issuer", "audience"), "https://id.example", Duration::ZERO, keys, Arc::default()).unwrap()
    }

    fn algorithms_of(key: &Value) -> Vec<Algorithm> {
        let keys = fetcher().parse(json!({ "keys": [key] }).to_string().as_bytes()).unwrap();
        keys.into_iter().next().map(|key| key.validation.algorithms.clone()).unwrap_or_default()
    }

    #[test]
    fn an_algorithm_named_by_a_key_is_the_only_one_it_verifies() {
        let rsa = |alg: &str| json!({ "kty": "RSA", "n": "sXch", "e": "AQAB", "alg": alg });
        for (name, algorithm) in [
            ("RS256", Algorithm::RS256),
            ("RS384", Algorithm::RS384),
            ("RS512", Algorithm::RS512),
            ("PS256", Algorithm::PS256),
            ("PS384", Algorithm::PS384),
            ("PS512", Algorithm::PS512),
        ] {
            assert_eq!(algorithms_of(&rsa(name)), [algorithm]);
        }
        for other_kind in ["ES256", "EdDSA", "HS256", "RSA-OAEP", "unheard of"] {
            assert_eq!(algorithms_of(&rsa(other_kind)), [], "{other_kind}");
        }
        assert_eq!(algorithms_of(&json!({ "kty": "RSA", "n": "sXch", "e": "AQAB" })).len(), 6);
    }
}

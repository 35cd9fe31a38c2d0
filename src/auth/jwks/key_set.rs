//! The keys that are known of an issuer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::auth::verification_key::VerificationKey;

/// How long keys stay valid after the last successful fetch.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The keys of the last successful fetch, and the state of fetching.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    pub(super) keys: Vec<Arc<VerificationKey>>,
    /// Time of the last successful fetch. `None`: there was none.
    pub(super) fetched_at: Option<Instant>,
    /// Number of finished fetches, successful or not.
    pub(super) round: u64,
    /// Earliest time of the next fetch. `None`: at once.
    pub(super) next_at: Option<Instant>,
}

impl KeySet {
    /// The key with this id. Without an id, the only key of a set of one.
    pub(super) fn find(&self, id: Option<&str>) -> Option<Arc<VerificationKey>> {
        match (id, &self.keys[..]) {
            (None, [only]) => Some(Arc::clone(only)),
            (None, _) => None,
            (Some(_), keys) => keys.iter().find(|key| key.id.as_deref() == id).cloned(),
        }
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.fetched_at.is_some_and(|at| now.saturating_duration_since(at) < MAX_AGE)
    }

    pub(super) fn is_fetch_due(&self) -> bool {
        self.next_at.is_none_or(|at| at <= Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_expire_a_day_after_the_last_successful_fetch() {
        let fetched_at = Instant::now();
        let keys = KeySet { fetched_at: Some(fetched_at), ..KeySet::default() };
        assert!(keys.is_fresh(fetched_at) && keys.is_fresh(fetched_at + MAX_AGE - Duration::from_secs(1)));
        assert!(!keys.is_fresh(fetched_at + MAX_AGE));
        assert!(!KeySet::default().is_fresh(fetched_at), "keys that were never fetched are not fresh");
    }
}

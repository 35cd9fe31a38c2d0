//! One rate limit over a fixed number of counters.

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    marker::PhantomData,
    num::NonZeroU32,
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed, StateStore},
};

/// Shortest retry delay that is reported: a client over its limit usually has more than one call to repeat.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);

/// A rate limit is exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("rate limit exceeded: {what}, {limit} per {period}; try again in {:.1} s", after.as_secs_f32())]
pub struct Limited {
    /// What is limited, and by what it is counted.
    pub what: &'static str,
    /// The sustained rate, per `period`.
    pub limit: NonZeroU32,
    /// The unit of time of the limit.
    pub period: Period,
    /// Delay until the next one is allowed.
    pub after: Duration,
}

/// The unit of time of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// Per second.
    Second,
    /// Per minute.
    Minute,
    /// Per hour.
    Hour,
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
        })
    }
}

/// A rate limit for keys of one type.
pub(super) struct Rate<K: ?Sized> {
    what: &'static str,
    limit: NonZeroU32,
    period: Period,
    counters: RateLimiter<u64, Counters, DefaultClock, NoOpMiddleware>,
    hasher: RandomState,
    key: PhantomData<fn(&K)>,
}

impl<K: Hash + ?Sized> Rate<K> {
    /// Allows `limit` per `period` over time, of which `burst` may come at once.
    pub(super) fn new(
        what: &'static str,
        (limit, period): (NonZeroU32, Period),
        burst: NonZeroU32,
        counters: usize,
    ) -> Self {
        let quota = match period {
            Period::Second => Quota::per_second(limit),
            Period::Minute => Quota::per_minute(limit),
            Period::Hour => Quota::per_hour(limit),
        };
        let counters = RateLimiter::new(quota.allow_burst(burst), Counters::new(counters), DefaultClock::default());
        Self { what, limit, period, counters, hasher: RandomState::new(), key: PhantomData }
    }

    /// Counts one for this key, if the rate allows it.
    pub(super) fn check(&self, key: &K) -> Result<(), Limited> {
        let outcome = self.counters.check_key(&self.hasher.hash_one(key));
        outcome.map_err(|early| {
            let due = early.wait_time_from(self.counters.clock().now());
            let Self { what, limit, period, .. } = *self;
            Limited { what, limit, period, after: due.max(MIN_RETRY_DELAY) }
        })
    }
}

impl<K: ?Sized> fmt::Debug for Rate<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rate").field("what", &self.what).finish_non_exhaustive()
    }
}

/// Maps every hash to one of a fixed number of counters.
struct Counters(Box<[InMemoryState]>);

impl Counters {
    fn new(count: usize) -> Self {
        Self((0..count.max(1)).map(|_| InMemoryState::default()).collect())
    }
}

impl StateStore for Counters {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, hash: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let count = self.0.len() as u64;
        let index = usize::try_from(hash % count).unwrap_or_default();
        match self.0.get(index) {
            Some(counter) => counter.measure_and_replace(&NotKeyed::NonKey, decide),
            // Unreachable: the remainder is always a valid index.
            None => InMemoryState::default().measure_and_replace(&NotKeyed::NonKey, decide),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_counters_is_fixed_however_many_keys_there_are() {
        let rate = Rate::<str>::new("", (NonZeroU32::MIN, Period::Second), NonZeroU32::MIN, 4);
        let passed = (0..10_000).filter(|n: &u32| rate.check(&n.to_string()).is_ok()).count();
        assert!((1..=8).contains(&passed), "{passed} of four counters");
    }

    #[test]
    fn an_exceeded_limit_is_named_with_its_value_and_the_delay() {
        let limit = NonZeroU32::new(100).unwrap();
        let after = Duration::from_millis(400);
        let limited = Limited { what: "calls of this caller", limit, period: Period::Second, after };
        let expected = "rate limit exceeded: calls of this caller, 100 per second; try again in 0.4 s";
        assert_eq!(limited.to_string(), expected);
    }
}

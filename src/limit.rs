//! Rates: how often a caller or an address may call, speak, or try a password.
//!
//! Every rate has a fixed number of counters, and whoever is counted falls on one of them: nobody can make the server remember more. Where a
//! counter stands is drawn anew at each start, so nobody can choose whom to share one with.

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    marker::PhantomData,
    net::IpAddr,
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed, StateStore},
};

use crate::caller::{Caller, Peer, counted};

/// How often what may happen. Absent: as often as it likes.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Calls of one caller a second.
    pub calls_per_caller: Option<NonZeroU32>,
    /// Calls from one address a second.
    pub calls_per_address: Option<NonZeroU32>,
    /// Messages of one caller a second.
    pub messages_per_caller: Option<NonZeroU32>,
    /// Messages from one address a second.
    pub messages_per_address: Option<NonZeroU32>,
    /// Seconds of these that may come at once.
    pub burst_seconds: u32,
    /// Logins tried for one username a minute.
    pub logins_per_user: Option<NonZeroU32>,
    /// Logins tried for one username from one address a minute.
    pub logins_per_user_and_address: Option<NonZeroU32>,
    /// Logins tried from one address a minute.
    pub logins_per_address: Option<NonZeroU32>,
    /// Counters of each rate.
    pub counters: usize,
}

/// Nobody is told to come back sooner: who is over the limit has more than one to send.
const AFTER: Duration = Duration::from_millis(100);

/// More than may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more {what} than may be; try again in {:.1} s", after.as_secs_f32())]
pub struct Limited {
    /// Of what, and whose.
    pub what: &'static str,
    /// When the next is allowed.
    pub after: Duration,
}

/// All rates of a server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RateLimits(Arc<Rates>);

#[derive(Debug)]
struct Rates {
    calls_by: Option<Rate<str>>,
    calls_from: Option<Rate<IpAddr>>,
    messages_by: Option<Rate<str>>,
    messages_from: Option<Rate<IpAddr>>,
    logins_as: Option<Rate<str>>,
    logins_as_from: Option<Rate<(String, IpAddr)>>,
    logins_from: Option<Rate<IpAddr>>,
}

impl RateLimits {
    /// RateLimits with nothing counted yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let Settings { counters, burst_seconds, .. } = *settings;
        let a_second = |most: NonZeroU32| {
            let burst = most.saturating_mul(NonZeroU32::new(burst_seconds).unwrap_or(NonZeroU32::MIN));
            Quota::per_second(most).allow_burst(burst)
        };
        Self(Arc::new(Rates {
            calls_by: settings.calls_per_caller.map(|most| Rate::new("calls of this caller", a_second(most), counters)),
            calls_from: settings
                .calls_per_address
                .map(|most| Rate::new("calls from this address", a_second(most), counters)),
            messages_by: settings
                .messages_per_caller
                .map(|most| Rate::new("messages of this caller", a_second(most), counters)),
            messages_from: settings
                .messages_per_address
                .map(|most| Rate::new("messages from this address", a_second(most), counters)),
            logins_as: settings
                .logins_per_user
                .map(|most| Rate::new("logins of this user", Quota::per_minute(most), counters)),
            logins_as_from: settings
                .logins_per_user_and_address
                .map(|most| Rate::new("logins of this user", Quota::per_minute(most), counters)),
            logins_from: settings
                .logins_per_address
                .map(|most| Rate::new("logins from this address", Quota::per_minute(most), counters)),
        }))
    }

    /// A call comes in.
    pub fn call_from(&self, peer: &Peer) -> Result<(), Limited> {
        check(self.0.calls_from.as_ref(), &counted(peer.address))
    }

    /// It is known whose call it is.
    pub fn call_by(&self, caller: &Caller) -> Result<(), Limited> {
        caller.id.as_deref().map_or(Ok(()), |id| check(self.0.calls_by.as_ref(), id))
    }

    /// A message comes in.
    pub fn message(&self, caller: &Caller) -> Result<(), Limited> {
        if let Some(id) = caller.id.as_deref() {
            check(self.0.messages_by.as_ref(), id)?;
        }
        check(self.0.messages_from.as_ref(), &counted(caller.peer.address))
    }

    /// A password is tried, or set, for this name, in the form in which names are compared.
    pub fn login(&self, username: &str, peer: &Peer) -> Result<(), Limited> {
        // First who tries: one address alone cannot use up what a name has.
        let address = counted(peer.address);
        check(self.0.logins_from.as_ref(), &address)?;
        check(self.0.logins_as_from.as_ref(), &(username.to_owned(), address))?;
        check(self.0.logins_as.as_ref(), username)
    }
}

fn check<K: Hash + ?Sized>(rate: Option<&Rate<K>>, key: &K) -> Result<(), Limited> {
    rate.map_or(Ok(()), |rate| rate.check(key))
}

/// One rate.
struct Rate<K: ?Sized> {
    what: &'static str,
    counters: RateLimiter<u64, Counters, DefaultClock, NoOpMiddleware>,
    hasher: RandomState,
    counted: PhantomData<fn(&K)>,
}

impl<K: Hash + ?Sized> Rate<K> {
    fn new(what: &'static str, quota: Quota, counters: usize) -> Self {
        let counters = RateLimiter::new(quota, Counters::new(counters), DefaultClock::default());
        Self { what, counters, hasher: RandomState::new(), counted: PhantomData }
    }

    fn check(&self, key: &K) -> Result<(), Limited> {
        let outcome = self.counters.check_key(&self.hasher.hash_one(key));
        outcome.map_err(|early| {
            let due = early.wait_time_from(self.counters.clock().now());
            Limited { what: self.what, after: due.max(AFTER) }
        })
    }
}

impl<K: ?Sized> fmt::Debug for Rate<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rate").field("what", &self.what).finish_non_exhaustive()
    }
}

/// A counter for every hash: the one that it falls on.
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
            // There is one for every remainder.
            None => InMemoryState::default().measure_and_replace(&NotKeyed::NonKey, decide),
        }
    }
}

/// What the layers are made of.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The rates.
    pub limits: RateLimits,
    /// How a refusal is told.
    pub refuse: fn(Limited) -> Response,
}

/// The layer's function that counts calls by where they come from, before anybody looks at what they bring.
pub async fn by_address(State(layer): State<Layer>, request: Request, next: Next) -> Response {
    let unknown = Peer::default();
    match layer.limits.call_from(request.extensions().get().unwrap_or(&unknown)) {
        Ok(()) => next.run(request).await,
        Err(limited) => (layer.refuse)(limited),
    }
}

/// The layer's function that counts calls by who makes them.
pub async fn by_caller(State(layer): State<Layer>, request: Request, next: Next) -> Response {
    let nobody = Caller::default();
    match layer.limits.call_by(request.extensions().get().unwrap_or(&nobody)) {
        Ok(()) => next.run(request).await,
        Err(limited) => (layer.refuse)(limited),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> RateLimits {
        RateLimits::new(&Settings {
            messages_per_caller: NonZeroU32::new(1),
            messages_per_address: NonZeroU32::new(2),
            logins_per_user: NonZeroU32::new(2),
            logins_per_address: NonZeroU32::new(3),
            burst_seconds: 5,
            counters: 1 << 16,
            ..Settings::default()
        })
    }

    fn peer(address: &str) -> Peer {
        Peer { address: address.parse().unwrap(), certificate: None }
    }

    fn caller(id: &str, address: &str) -> Caller {
        Caller { peer: peer(address), id: Some(id.into()), ..Caller::default() }
    }

    #[test]
    fn a_caller_is_counted_wherever_it_comes_from_and_an_address_whoever_comes() {
        let limits = limits();
        for n in 0..5 {
            assert_eq!(limits.message(&caller("ada", &format!("192.0.2.{n}"))), Ok(()));
        }
        let limited = limits.message(&caller("ada", "192.0.2.9")).unwrap_err();
        assert!(limited.after > Duration::ZERO && limited.after <= Duration::from_secs(1), "{limited:?}");
        assert_eq!(limits.message(&caller("bob", "192.0.2.9")), Ok(()), "others are not concerned");

        let from_here = (0..20).filter(|n| limits.message(&caller(&n.to_string(), "192.0.2.77")).is_ok());
        assert_eq!(from_here.count(), 10);
        let unlimited = RateLimits::new(&Settings::default());
        assert!((0..100_000).all(|_| unlimited.message(&caller("ada", "192.0.2.1")).is_ok()));
    }

    #[test]
    fn logins_are_counted_by_name_and_by_address() {
        let limits = limits();
        assert!((0..2).all(|n| limits.login("ada", &peer(&format!("192.0.2.{n}"))).is_ok()));
        let refused = limits.login("ada", &peer("192.0.2.7")).unwrap_err();
        assert_eq!(refused.what, "logins of this user");
        assert!(limits.login("bob", &peer("192.0.2.7")).is_ok());
        assert!(limits.login("eve", &peer("192.0.2.7")).is_ok());
        assert_eq!(limits.login("joe", &peer("192.0.2.7")).unwrap_err().what, "logins from this address");
    }

    #[test]
    fn one_address_alone_cannot_use_up_the_logins_of_a_name() {
        let limits = RateLimits::new(&Settings {
            logins_per_user: NonZeroU32::new(3),
            logins_per_user_and_address: NonZeroU32::new(1),
            counters: 1 << 16,
            ..Settings::default()
        });
        assert!(limits.login("ada", &peer("192.0.2.1")).is_ok());
        assert!((0..5).all(|_| limits.login("ada", &peer("192.0.2.1")).is_err()));
        assert!(limits.login("bob", &peer("192.0.2.1")).is_ok());
        assert!(limits.login("ada", &peer("192.0.2.2")).is_ok());
    }

    #[test]
    fn however_many_are_counted_there_are_no_more_counters() {
        let rate = Rate::<str>::new("", Quota::per_second(NonZeroU32::MIN), 4);
        let passed = (0..10_000).filter(|n: &u32| rate.check(&n.to_string()).is_ok()).count();
        assert!((1..=8).contains(&passed), "{passed} of four counters");
    }
}

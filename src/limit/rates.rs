//! All rate limits of a server.

use std::{hash::Hash, net::IpAddr, num::NonZeroU32, sync::Arc};

use super::rate::{Limited, Period, Rate};
use crate::{
    caller::{Caller, Peer, network},
    config::{Limit, Rates},
};

/// All rate limits of a server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RateLimits(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    calls_per_caller: Option<Rate<str>>,
    calls_per_address: Option<Rate<IpAddr>>,
    messages_per_caller: Option<Rate<str>>,
    messages_per_address: Option<Rate<IpAddr>>,
    logins_per_user: Option<Rate<str>>,
    logins_per_user_and_address: Option<Rate<(String, IpAddr)>>,
    logins_per_address: Option<Rate<IpAddr>>,
    registrations_per_address: Option<Rate<IpAddr>>,
}

impl RateLimits {
    /// Limits nothing, as in open mode.
    #[must_use]
    pub fn unlimited() -> Self {
        Self(Arc::default())
    }

    /// Creates the limits, with all counters at zero.
    #[must_use]
    pub fn new(settings: &Rates) -> Self {
        let make = Builder::new(settings);
        Self(Arc::new(Counted {
            calls_per_caller: make.per_second("calls of this caller", settings.calls_per_second_per_caller),
            calls_per_address: make.per_second("calls from this address", settings.calls_per_second_per_address),
            messages_per_caller: make.per_second("messages of this caller", settings.messages_per_second_per_caller),
            messages_per_address: make
                .per_second("messages from this address", settings.messages_per_second_per_address),
            logins_per_user: make.per_minute("logins of this user", settings.logins_per_minute_per_user),
            logins_per_user_and_address: make
                .per_minute("logins of this user from this address", settings.logins_per_minute_per_user_and_address),
            logins_per_address: make.per_minute("logins from this address", settings.logins_per_minute_per_address),
            registrations_per_address: make
                .per_hour("registrations from this address", settings.registrations_per_hour_per_address),
        }))
    }

    /// Counts a call by its address.
    pub fn call_from(&self, peer: &Peer) -> Result<(), Limited> {
        check(self.0.calls_per_address.as_ref(), &network(peer.address))
    }

    /// Counts a call by its caller. Anonymous callers are not limited here.
    pub fn call_by(&self, caller: &Caller) -> Result<(), Limited> {
        caller.id.as_deref().map_or(Ok(()), |id| check(self.0.calls_per_caller.as_ref(), id))
    }

    /// Counts a message by its sender and by the sender's address.
    pub fn message(&self, caller: &Caller) -> Result<(), Limited> {
        if let Some(id) = caller.id.as_deref() {
            check(self.0.messages_per_caller.as_ref(), id)?;
        }
        check(self.0.messages_per_address.as_ref(), &network(caller.peer.address))
    }

    /// Counts an attempt to log in, or a new password, for a username in its canonical form.
    pub fn login(&self, username: &str, peer: &Peer) -> Result<(), Limited> {
        // The address first, so that a single address cannot exhaust the limit of a username.
        let address = network(peer.address);
        check(self.0.logins_per_address.as_ref(), &address)?;
        check(self.0.logins_per_user_and_address.as_ref(), &(username.to_owned(), address))?;
        check(self.0.logins_per_user.as_ref(), username)
    }

    /// Counts an attempt to register a user.
    pub fn registration(&self, peer: &Peer) -> Result<(), Limited> {
        check(self.0.registrations_per_address.as_ref(), &network(peer.address))
    }
}

fn check<K: Hash + ?Sized>(rate: Option<&Rate<K>>, key: &K) -> Result<(), Limited> {
    rate.map_or(Ok(()), |rate| rate.check(key))
}

/// Makes the rates of one section; they differ in their burst.
struct Builder {
    burst_seconds: NonZeroU32,
    counters: usize,
}

impl Builder {
    fn new(settings: &Rates) -> Self {
        let burst_seconds = NonZeroU32::new(settings.burst_seconds).unwrap_or(NonZeroU32::MIN);
        Self { burst_seconds, counters: settings.counters }
    }

    fn per_second<K: Hash + ?Sized>(&self, what: &'static str, limit: Limit) -> Option<Rate<K>> {
        let burst = |limit: NonZeroU32| limit.saturating_mul(self.burst_seconds);
        limit.get_u32().map(|limit| Rate::new(what, (limit, Period::Second), burst(limit), self.counters))
    }

    fn per_minute<K: Hash + ?Sized>(&self, what: &'static str, limit: Limit) -> Option<Rate<K>> {
        limit.get_u32().map(|limit| Rate::new(what, (limit, Period::Minute), limit, self.counters))
    }

    fn per_hour<K: Hash + ?Sized>(&self, what: &'static str, limit: Limit) -> Option<Rate<K>> {
        let burst = |limit: NonZeroU32| NonZeroU32::new(limit.get() / 2).unwrap_or(NonZeroU32::MIN);
        limit.get_u32().map(|limit| Rate::new(what, (limit, Period::Hour), burst(limit), self.counters))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits() -> RateLimits {
        RateLimits::new(&Rates {
            messages_per_second_per_caller: Limit(1),
            messages_per_second_per_address: Limit(2),
            logins_per_minute_per_user: Limit(2),
            logins_per_minute_per_address: Limit(3),
            registrations_per_hour_per_address: Limit(10),
            burst_seconds: 5,
            ..Rates::default()
        })
    }

    fn peer(address: &str) -> Peer {
        Peer { address: address.parse().unwrap(), certificate: None }
    }

    fn caller(id: &str, address: &str) -> Caller {
        Caller { peer: peer(address), id: Some(id.into()), ..Caller::default() }
    }

    #[test]
    fn messages_are_limited_by_caller_at_any_address_and_by_address_for_any_caller() {
        let limits = limits();
        for n in 0..5 {
            assert_eq!(limits.message(&caller("ada", &format!("192.0.2.{n}"))), Ok(()));
        }
        let limited = limits.message(&caller("ada", "192.0.2.9")).unwrap_err();
        assert!(limited.after > Duration::ZERO && limited.after <= Duration::from_secs(1), "{limited:?}");
        assert_eq!(limits.message(&caller("bob", "192.0.2.9")), Ok(()), "others are not affected");

        let from_here = (0..20).filter(|n| limits.message(&caller(&n.to_string(), "192.0.2.77")).is_ok());
        assert_eq!(from_here.count(), 10);
        let unlimited = RateLimits::unlimited();
        assert!((0..100_000).all(|_| unlimited.message(&caller("ada", "192.0.2.1")).is_ok()));
    }

    #[test]
    fn logins_are_limited_by_username_and_by_address() {
        let limits = limits();
        assert!((0..2).all(|n| limits.login("ada", &peer(&format!("192.0.2.{n}"))).is_ok()));
        let refused = limits.login("ada", &peer("192.0.2.7")).unwrap_err();
        assert_eq!(refused.what, "logins of this user");
        assert!(limits.login("bob", &peer("192.0.2.7")).is_ok());
        assert!(limits.login("eve", &peer("192.0.2.7")).is_ok());
        assert_eq!(limits.login("joe", &peer("192.0.2.7")).unwrap_err().what, "logins from this address");
    }

    #[test]
    fn a_single_address_cannot_exhaust_the_logins_of_a_username() {
        let limits = RateLimits::new(&Rates {
            logins_per_minute_per_user: Limit(3),
            logins_per_minute_per_user_and_address: Limit(1),
            ..Rates::default()
        });
        assert!(limits.login("ada", &peer("192.0.2.1")).is_ok());
        assert!((0..5).all(|_| limits.login("ada", &peer("192.0.2.1")).is_err()));
        assert!(limits.login("bob", &peer("192.0.2.1")).is_ok());
        assert!(limits.login("ada", &peer("192.0.2.2")).is_ok());
    }

    #[test]
    fn registrations_are_limited_by_address_and_by_ipv6_network() {
        let limits = limits();
        assert!((0..5).all(|_| limits.registration(&peer("192.0.2.1")).is_ok()), "half of the hour's may come at once");
        let limited = limits.registration(&peer("192.0.2.1")).unwrap_err();
        assert!((300..=360).contains(&limited.after.as_secs()), "ten per hour are one in six minutes: {limited:?}");
        assert_eq!(limits.registration(&peer("192.0.2.2")), Ok(()));
        assert!((0..5).all(|n| limits.registration(&peer(&format!("2001:db8:1:2::{n}"))).is_ok()));
        assert!(limits.registration(&peer("2001:db8:1:2:3:4:5:6")).is_err());
        assert_eq!(limits.registration(&peer("2001:db8:1:3::1")), Ok(()));
    }
}

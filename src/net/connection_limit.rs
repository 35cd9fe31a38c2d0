//! ConnectionLimit for connections: how many there may be, in all and from one address.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::caller::counted;

/// The places of one server.
#[derive(Debug)]
pub(super) struct ConnectionLimit {
    most: usize,
    most_per_address: usize,
    limit_loopback: bool,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Only of addresses that hold some.
    by_address: HashMap<IpAddr, usize>,
    told_at: Option<Instant>,
}

/// It is said at most once in so long that there is no place: whoever is refused cannot fill the log.
const QUIET: Duration = Duration::from_secs(60);

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    places: Arc<ConnectionLimit>,
    /// Under which address it is counted, if that is limited.
    counted: Option<IpAddr>,
}

impl ConnectionLimit {
    pub(super) fn new(most: usize, most_per_address: usize, limit_loopback: bool) -> Arc<Self> {
        Arc::new(Self { most, most_per_address, limit_loopback, taken: Mutex::default() })
    }

    /// A place for a connection from there, or none and a word in the log.
    pub(super) fn take(self: &Arc<Self>, peer: SocketAddr) -> Option<ConnectionPermit> {
        let limited = self.limit_loopback || !peer.ip().to_canonical().is_loopback();
        let counted = limited.then(|| counted(peer.ip()));
        match self.count(counted, Instant::now()) {
            Ok(()) => return Some(ConnectionPermit { places: Arc::clone(self), counted }),
            Err(Full { tell: false, .. }) => {}
            Err(Full { limit, from: None, .. }) => {
                tracing::warn!(%peer, limit, "refusing connections: there are as many as may be");
            }
            Err(Full { limit, from: Some(address), .. }) => {
                tracing::warn!(%address, limit, "refusing connections: there are as many from there as may be");
            }
        }
        None
    }

    fn count(&self, counted: Option<IpAddr>, now: Instant) -> Result<(), Full> {
        let mut taken = self.taken();
        let from_there = counted.and_then(|address| taken.by_address.get(&address).copied()).unwrap_or_default();
        let full = if taken.all >= self.most {
            Some((self.most, None))
        } else {
            (from_there >= self.most_per_address).then_some((self.most_per_address, counted))
        };
        if let Some((limit, from)) = full {
            let tell = taken.told_at.is_none_or(|told_at| now.saturating_duration_since(told_at) >= QUIET);
            taken.told_at = if tell { Some(now) } else { taken.told_at };
            return Err(Full { limit, from, tell });
        }
        taken.all += 1;
        if let Some(address) = counted {
            taken.by_address.insert(address, from_there + 1);
        }
        Ok(())
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// There is no place.
#[derive(Debug)]
struct Full {
    limit: usize,
    /// The limit is that of this address.
    from: Option<IpAddr>,
    tell: bool,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        let Some(address) = self.counted else { return };
        if let Some(held) = taken.by_address.get_mut(&address) {
            *held -= 1;
            if *held == 0 {
                taken.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 1)
    }

    #[test]
    fn an_address_has_its_places_and_all_addresses_together_have_theirs() {
        let places = ConnectionLimit::new(4, 2, false);
        let first = places.take(at("192.0.2.1")).unwrap();
        let _second = places.take(at("::ffff:192.0.2.1")).unwrap();
        assert!(places.take(at("192.0.2.1")).is_none(), "the same address, however it is written");
        let _network = [places.take(at("2001:db8::1")).unwrap(), places.take(at("2001:db8::2")).unwrap()];
        assert!(places.take(at("192.0.2.2")).is_none(), "as many as may be in all");
        drop(first);
        assert!(places.take(at("2001:db8::3")).is_none(), "one network has what one address has");
        assert!(places.take(at("192.0.2.1")).is_some());
    }

    #[test]
    fn nothing_is_kept_of_an_address_that_holds_no_place() {
        let places = ConnectionLimit::new(2, 1, true);
        let place = places.take(at("127.0.0.1")).unwrap();
        assert!(places.take(at("127.0.0.1")).is_none());
        assert_eq!(places.taken().by_address.len(), 1);
        drop(place);
        let taken = places.taken();
        assert_eq!((taken.all, taken.by_address.len()), (0, 0));
    }

    #[test]
    fn loopback_is_limited_only_if_it_is_said() {
        for (limit, expected) in [(false, 3), (true, 1)] {
            for address in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
                let places = ConnectionLimit::new(10, 1, limit);
                let taken: Vec<_> = (0..3).filter_map(|_| places.take(at(address))).collect();
                assert_eq!(taken.len(), expected, "{address}");
            }
        }
    }

    #[test]
    fn refusals_are_told_once_a_minute_however_places_come_and_go() {
        let places = ConnectionLimit::new(10, 1, false);
        let address = Some("192.0.2.1".parse().unwrap());
        let began = Instant::now();
        let tells = |seconds| places.count(address, began + Duration::from_secs(seconds)).map_err(|full| full.tell);
        assert_eq!([tells(0), tells(0), tells(59)], [Ok(()), Err(true), Err(false)]);
        drop(ConnectionPermit { places: Arc::clone(&places), counted: address });
        assert_eq!([tells(59), tells(59), tells(60)], [Ok(()), Err(false), Err(true)]);
        let other = places.count(Some("192.0.2.2".parse().unwrap()), began);
        assert!(other.is_ok(), "another's place");
    }
}

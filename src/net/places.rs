//! Places for connections: how many there may be, in all and from one address.

use std::{
    collections::HashMap,
    mem,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::caller::counted;

/// The places of one server.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    most_per_address: usize,
    limit_loopback: bool,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: Count,
    /// Only of addresses that hold some.
    by_address: HashMap<IpAddr, Count>,
}

#[derive(Debug, Default)]
struct Count {
    connections: usize,
    /// It was said that there is no place. Said once until there is one again, so that whoever is refused cannot fill the log.
    told: bool,
}

impl Count {
    /// Whether there is a place under this limit, and whether it is to be said that there is none.
    fn look(&mut self, most: usize) -> Result<(), bool> {
        if self.connections < most {
            self.told = false;
            return Ok(());
        }
        Err(!mem::replace(&mut self.told, true))
    }
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    /// Under which address it is counted, if that is limited.
    counted: Option<IpAddr>,
}

impl Places {
    pub(super) fn new(most: usize, most_per_address: usize, limit_loopback: bool) -> Arc<Self> {
        Arc::new(Self { most, most_per_address, limit_loopback, taken: Mutex::default() })
    }

    /// A place for a connection from there, or none and a word in the log.
    pub(super) fn take(self: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let limited = self.limit_loopback || !peer.ip().to_canonical().is_loopback();
        let counted = limited.then(|| counted(peer.ip()));
        match self.count(counted) {
            Ok(()) => return Some(Place { places: Arc::clone(self), counted }),
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

    fn count(&self, counted: Option<IpAddr>) -> Result<(), Full> {
        let mut taken = self.taken();
        taken.all.look(self.most).map_err(|tell| Full { limit: self.most, from: None, tell })?;
        if let Some(address) = counted {
            let held = taken.by_address.entry(address).or_default();
            let limit = self.most_per_address;
            held.look(limit).map_err(|tell| Full { limit, from: Some(address), tell })?;
            held.connections += 1;
        }
        taken.all.connections += 1;
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

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all.connections -= 1;
        let Some(address) = self.counted else { return };
        if let Some(held) = taken.by_address.get_mut(&address) {
            held.connections -= 1;
            if held.connections == 0 {
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
        let places = Places::new(4, 2, false);
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
        let places = Places::new(2, 1, true);
        let place = places.take(at("127.0.0.1")).unwrap();
        assert!(places.take(at("127.0.0.1")).is_none());
        assert_eq!(places.taken().by_address.len(), 1);
        drop(place);
        let taken = places.taken();
        assert_eq!((taken.all.connections, taken.by_address.len()), (0, 0));
    }

    #[test]
    fn loopback_is_limited_only_if_it_is_said() {
        for (limit, expected) in [(false, 3), (true, 1)] {
            for address in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
                let places = Places::new(10, 1, limit);
                let taken: Vec<_> = (0..3).filter_map(|_| places.take(at(address))).collect();
                assert_eq!(taken.len(), expected, "{address}");
            }
        }
    }

    #[test]
    fn a_refusal_is_told_once_until_there_is_a_place_again() {
        let places = Places::new(10, 1, false);
        let address = Some("192.0.2.1".parse().unwrap());
        let tells = || places.count(address).map_err(|full| full.tell);
        let again = || drop(Place { places: Arc::clone(&places), counted: address });
        assert_eq!([tells(), tells(), tells()], [Ok(()), Err(true), Err(false)]);
        again();
        assert_eq!([tells(), tells(), tells()], [Ok(()), Err(true), Err(false)]);
        let other = places.count(Some("192.0.2.2".parse().unwrap()));
        assert!(other.is_ok(), "another's place");
    }
}

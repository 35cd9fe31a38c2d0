//! The limits on open connections: in total, and from one address.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::caller::network;

/// Minimum interval between warnings about refused connections, so that refused clients cannot fill the log.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Counts the open connections of a server.
#[derive(Debug)]
pub(super) struct ConnectionLimit {
    max: usize,
    max_per_address: usize,
    limit_loopback: bool,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    /// Only of addresses with open connections.
    by_address: HashMap<IpAddr, usize>,
    warned_at: Option<Instant>,
}

/// The place of one connection among the open ones, until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    limit: Arc<ConnectionLimit>,
    /// The address or network under which it is counted. `None` if that is not limited.
    address: Option<IpAddr>,
}

/// A limit is reached.
#[derive(Debug)]
struct Full {
    limit: usize,
    /// The address whose limit it is. `None` for the total.
    address: Option<IpAddr>,
    /// Whether a warning is due.
    warn: bool,
}

impl ConnectionLimit {
    pub(super) fn new(max: usize, max_per_address: usize, limit_loopback: bool) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, limit_loopback, open: Mutex::default() })
    }

    /// Counts a connection from `peer`. If a limit is reached, returns `None` and logs a warning when one is due.
    pub(super) fn acquire(self: &Arc<Self>, peer: SocketAddr) -> Option<ConnectionPermit> {
        let is_limited = self.limit_loopback || !peer.ip().to_canonical().is_loopback();
        let address = is_limited.then(|| network(peer.ip()));
        match self.count(address, Instant::now()) {
            Ok(()) => return Some(ConnectionPermit { limit: Arc::clone(self), address }),
            Err(Full { warn: false, .. }) => {}
            Err(Full { limit, address: None, .. }) => {
                tracing::warn!(%peer, limit, "refusing connections: the limit of open connections is reached");
            }
            Err(Full { limit, address: Some(address), .. }) => {
                tracing::warn!(%address, limit, "refusing connections: the limit of open connections from this address is reached");
            }
        }
        None
    }

    fn count(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Full> {
        let mut open = self.open();
        let from_address = address.and_then(|address| open.by_address.get(&address).copied()).unwrap_or_default();
        let full = if open.total >= self.max {
            Some((self.max, None))
        } else {
            (from_address >= self.max_per_address).then_some((self.max_per_address, address))
        };
        if let Some((limit, address)) = full {
            let warn = open.warned_at.is_none_or(|at| now.saturating_duration_since(at) >= WARNING_INTERVAL);
            open.warned_at = if warn { Some(now) } else { open.warned_at };
            return Err(Full { limit, address, warn });
        }
        open.total += 1;
        if let Some(address) = address {
            open.by_address.insert(address, from_address + 1);
        }
        Ok(())
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.limit.open();
        open.total -= 1;
        let Some(address) = self.address else { return };
        if let Some(count) = open.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&address);
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
    fn connections_are_limited_by_address_and_in_total() {
        let limit = ConnectionLimit::new(4, 2, false);
        let first = limit.acquire(at("192.0.2.1")).unwrap();
        let _second = limit.acquire(at("::ffff:192.0.2.1")).unwrap();
        assert!(limit.acquire(at("192.0.2.1")).is_none(), "the same address in another notation");
        let _network = [limit.acquire(at("2001:db8::1")).unwrap(), limit.acquire(at("2001:db8::2")).unwrap()];
        assert!(limit.acquire(at("192.0.2.2")).is_none(), "the limit of all addresses");
        drop(first);
        assert!(limit.acquire(at("2001:db8::3")).is_none(), "one network counts as one address");
        assert!(limit.acquire(at("192.0.2.1")).is_some());
    }

    #[test]
    fn an_address_without_open_connections_uses_no_memory() {
        let limit = ConnectionLimit::new(2, 1, true);
        let permit = limit.acquire(at("127.0.0.1")).unwrap();
        assert!(limit.acquire(at("127.0.0.1")).is_none());
        assert_eq!(limit.open().by_address.len(), 1);
        drop(permit);
        let open = limit.open();
        assert_eq!((open.total, open.by_address.len()), (0, 0));
    }

    #[test]
    fn loopback_is_limited_only_if_it_is_configured() {
        for (limit_loopback, expected) in [(false, 3), (true, 1)] {
            for address in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
                let limit = ConnectionLimit::new(10, 1, limit_loopback);
                let acquired: Vec<_> = (0..3).filter_map(|_| limit.acquire(at(address))).collect();
                assert_eq!(acquired.len(), expected, "{address}");
            }
        }
    }

    #[test]
    fn refusals_are_logged_at_most_once_a_minute() {
        let limit = ConnectionLimit::new(10, 1, false);
        let address = Some("192.0.2.1".parse().unwrap());
        let began = Instant::now();
        let warns = |seconds| limit.count(address, began + Duration::from_secs(seconds)).map_err(|full| full.warn);
        assert_eq!([warns(0), warns(0), warns(59)], [Ok(()), Err(true), Err(false)]);
        drop(ConnectionPermit { limit: Arc::clone(&limit), address });
        assert_eq!([warns(59), warns(59), warns(60)], [Ok(()), Err(false), Err(true)]);
        let other = limit.count(Some("192.0.2.2".parse().unwrap()), began);
        assert!(other.is_ok(), "another address");
    }
}

//! The caller of a request: what the connection and the layers found out, for the handlers.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use uuid::Uuid;

/// The role of administrators, who manage users.
pub const ADMIN: &str = "admin";

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its IP address.
    pub address: IpAddr,
    /// The name in its certificate. `None` if it did not have to present one.
    pub certificate: Option<Arc<str>>,
}

impl Default for Peer {
    fn default() -> Self {
        Self { address: Ipv4Addr::UNSPECIFIED.into(), certificate: None }
    }
}

/// The address or network under which a peer is counted: for IPv6 the /64, which is what one customer gets (RFC 6177).
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// Whether a host of a URL or an authority is this machine.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let name = host.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The caller of a request. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The connection's other end.
    pub peer: Peer,
    /// Its identity: a token's `sub`, or in open mode the name in its certificate. `None` if it is not known.
    pub id: Option<Arc<str>>,
    /// What it may do.
    pub standing: Standing,
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// Everything: the server runs without tokens.
    Open,
    /// What needs no token.
    #[default]
    Anonymous,
    /// What its roles allow.
    Authenticated {
        /// The user of this server that it is. `None` for tokens of other issuers and of operators.
        user: Option<Uuid>,
        /// Whether it has the role [`ADMIN`].
        admin: bool,
    },
}

impl Caller {
    /// Whether it manages users.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        matches!(self.standing, Standing::Open | Standing::Authenticated { admin: true, .. })
    }

    /// Whether it may see and change everything about this user: it is the user itself, or an admin.
    #[must_use]
    pub fn answers_for(&self, id: Uuid) -> bool {
        self.is_admin() || matches!(self.standing, Standing::Authenticated { user: Some(user), .. } if user == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_oneself_and_admins_answer_for_a_user() {
        let (ada, bob) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let caller = |standing| Caller { standing, ..Caller::default() };
        let user = |admin| Standing::Authenticated { user: Some(ada), admin };
        assert!(caller(user(false)).answers_for(ada) && !caller(user(false)).answers_for(bob));
        assert!(caller(user(true)).answers_for(bob) && caller(Standing::Open).answers_for(bob));
        assert!(caller(Standing::Authenticated { user: None, admin: true }).answers_for(bob));
        assert!(!caller(Standing::Anonymous).answers_for(ada));
        assert!(!caller(Standing::Authenticated { user: None, admin: false }).answers_for(ada));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_counted_as_one() {
        let count = |address: &str| network(address.parse().unwrap()).to_string();
        assert_eq!(count("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(count("2001:db8:1:2::9"), "2001:db8:1:2::");
        assert_eq!(count("192.0.2.7"), "192.0.2.7");
        assert_eq!(count("::ffff:192.0.2.7"), "192.0.2.7");
    }
}

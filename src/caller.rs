//! Who calls: what connection and layers found out, and what the handlers may know of it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use uuid::Uuid;

/// The role that manages users.
pub const ADMIN: &str = "admin";

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Where it is.
    pub address: IpAddr,
    /// Whom its certificate names, if it had to show one.
    pub certificate: Option<Arc<str>>,
}

impl Default for Peer {
    fn default() -> Self {
        Self { address: Ipv4Addr::UNSPECIFIED.into(), certificate: None }
    }
}

/// The address under which a peer is counted: of IPv6 the /64, which is what one customer has (RFC 6177).
#[must_use]
pub fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// A host, as it stands in a URL or an authority, is this machine.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let name = host.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Who makes a call. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The connection's other end.
    pub peer: Peer,
    /// What it is called: a token's `sub`, or in open mode whom its certificate names. Absent: nobody knows.
    pub id: Option<Arc<str>>,
    /// What it may do.
    pub standing: Standing,
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// Everything: no tokens are asked for.
    Open,
    /// What anybody may: there is no token.
    #[default]
    Nobody,
    /// What its roles allow.
    Somebody {
        /// Which of our own users it is, if it is one.
        user: Option<Uuid>,
        /// It has the role [`ADMIN`].
        admin: bool,
    },
}

impl Caller {
    /// It manages users.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        matches!(self.standing, Standing::Open | Standing::Somebody { admin: true, .. })
    }

    /// It is this user, or manages users: it sees what others do not, and may change it.
    #[must_use]
    pub fn answers_for(&self, id: Uuid) -> bool {
        self.is_admin() || matches!(self.standing, Standing::Somebody { user: Some(user), .. } if user == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_oneself_and_admins_answer_for_a_user() {
        let (ada, bob) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let caller = |standing| Caller { standing, ..Caller::default() };
        let user = |admin| Standing::Somebody { user: Some(ada), admin };
        assert!(caller(user(false)).answers_for(ada) && !caller(user(false)).answers_for(bob));
        assert!(caller(user(true)).answers_for(bob) && caller(Standing::Open).answers_for(bob));
        assert!(caller(Standing::Somebody { user: None, admin: true }).answers_for(bob));
        assert!(!caller(Standing::Nobody).answers_for(ada));
        assert!(!caller(Standing::Somebody { user: None, admin: false }).answers_for(ada));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_counted_as_one() {
        let count = |address: &str| counted(address.parse().unwrap()).to_string();
        assert_eq!(count("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(count("2001:db8:1:2::9"), "2001:db8:1:2::");
        assert_eq!(count("192.0.2.7"), "192.0.2.7");
        assert_eq!(count("::ffff:192.0.2.7"), "192.0.2.7");
    }
}

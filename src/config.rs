//! The configuration: sections, each of which declares its settings once, with their documentation, defaults and ranges.
//!
//! A file, the environment and the command line are merged by [`load`]. [`Config::check`] compares settings with their ranges and with each
//! other.

mod check;
mod error;
mod load;
mod names;
mod render;
mod section;

mod auth;
mod http;
mod limits;
mod logging;
mod rates;
mod retention;
mod rooms;
mod storage;
mod tls;
mod users;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::PathBuf};

pub use auth::{Auth, AuthMode, Issuer};
pub use error::{Error, Problem, Source};
pub use http::Http;
pub use limits::Limits;
pub use load::{Assignment, DEFAULT_FILE, ENV_PREFIX, Loaded, load};
pub use logging::{LogFormat, Logging};
pub use rates::Rates;
pub use render::example;
pub use retention::{Retained, Retention};
pub use rooms::Rooms;
pub use section::{Limit, Setting};
pub use storage::Storage;
pub use tls::Tls;
pub use users::Users;

use section::section;

/// The name of a section, what describes it, and its settings.
type Section = (&'static str, &'static [&'static str], &'static [Setting]);

section! {
    /// All settings.
    pub struct Config in "" {
        /// Address to listen on. Port 0 takes any free port.
        ///
        /// An address that is not loopback also needs `auth.mode = "token"` and TLS, or `insecure`.
        pub listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 50051));
        /// Folder of the data file and the signing key. `:memory:` uses a temporary folder, which is removed at shutdown.
        pub data: PathBuf = "./rialto-data".into();
        /// Listen on an address that is not loopback even without authentication, or with tokens but without TLS. Use it only behind a proxy
        /// that terminates TLS, or in a network where every peer is trusted.
        pub insecure: bool = false;
        /// Time in seconds from the signal to shut down until the process exits, whatever clients do. The first three quarters are for
        /// streams to end on their own. With 0 they are dropped at once.
        pub drain_seconds: u64 = 30, 0..=MAX_SECONDS;
    }
    sections {
        http: Http,
        tls: Tls,
        auth: Auth,
        rates: Rates,
        limits: Limits,
        rooms: Rooms,
        users: Users,
        storage: Storage,
        retention: Retention,
        logging: Logging,
    }
}

/// The longest time of most settings, about 12 days.
const MAX_SECONDS: u64 = 1 << 20;
/// The largest count of most settings.
const MAX_COUNT: u64 = 1 << 30;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// All settings: first those without a section, then those of each section.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    Config::SETTINGS.iter().chain(Config::SECTIONS.iter().flat_map(|(_, _, settings)| *settings))
}

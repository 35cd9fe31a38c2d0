//! All settings: those without a section, and the sections.

use std::{net::SocketAddr, path::PathBuf};

use toml::{Table, Value};

use super::{
    auth::Auth,
    http::Http,
    limits::Limits,
    logging::Logging,
    rates::Rates,
    retention::Retention,
    rooms::Rooms,
    section::{MAX_SECONDS, Setting, section},
    storage::Storage,
    tls::Tls,
    users::Users,
};

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

impl Config {
    pub(super) fn to_table(&self) -> Table {
        Table::try_from(self).unwrap_or_default()
    }
}

/// All settings: first those without a section, then those of each section.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    Config::SETTINGS.iter().chain(Config::SECTIONS.iter().flat_map(|(_, _, settings)| *settings))
}

/// The value of a setting in a table of all settings.
pub(super) fn value<'a>(table: &'a Table, setting: &Setting) -> Option<&'a Value> {
    match setting.section {
        "" => table.get(setting.key),
        section => table.get(section)?.get(setting.key),
    }
}

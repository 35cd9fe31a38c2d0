//! The settings, and where each comes from: defaults, then the file, then the environment, then the flags.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Env, Format, Serialized, Toml},
    value::{Dict, Map},
};
use serde::{Deserialize, Serialize};

/// Every setting. The names are those of the file; in the environment they are upper case, behind `RIALTO_`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Port 0: any free port.
    pub listen: SocketAddr,
    /// The folder of the data file; `:memory:` is a private folder that is removed at the end.
    pub data: PathBuf,
    /// Serve others than this machine although nobody has to say who he is.
    pub insecure: bool,
    /// `text`, `json`, or `auto`: text on a terminal.
    pub log_format: LogFormat,
    /// What to log: a level, or directives of `tracing_subscriber::EnvFilter`.
    pub log: String,
    /// Seconds from the signal to the end of the process, whatever the clients do.
    pub drain_seconds: u64,

    /// Connections at once; what comes above is closed.
    pub max_connections: usize,
    /// Chat streams at once, of all connections.
    pub max_streams: usize,
    /// Streams at once on one connection.
    pub max_streams_per_connection: u32,
    /// Bytes of the data file; beyond, writes are refused as on a full disk. 0: as the disk allows.
    pub max_file_bytes: u64,
    /// Rooms that may exist.
    pub max_rooms: usize,
    /// Rooms that somebody is in; each takes about 3 KiB, and 2 KiB more if somebody asked who is there.
    pub max_open_rooms: usize,
    /// Rooms that one stream may be in.
    pub max_rooms_per_stream: usize,
    /// Places in rooms, of all streams.
    pub max_memberships: usize,
    /// Members of a room up to which those who ask are told each by name; above, only how many there are.
    pub presence_max: usize,
    /// `ListUsers` with `watch` at once; as many `ListRooms`.
    pub max_watchers: usize,
    /// Users that may have changed since a watcher last read; one that is further behind is ended, and lists anew. Kept once for all watchers.
    /// The same for rooms.
    pub max_waiting_changes: usize,

    /// Seconds that a message is kept. 0: for ever.
    pub retain_seconds: u64,
    /// Messages that a room keeps: the last so many. 0: all.
    pub retain_messages: u64,
    /// Rooms for which these two are others. What is not named is 0:
    /// `retain_rooms = { audit = {}, "build.log" = { seconds = 86400, messages = 1000 } }`
    pub retain_rooms: BTreeMap<String, Retained>,
    /// Seconds between two looks for messages that are to be kept no longer.
    pub retain_interval_seconds: u64,

    /// Bytes of a message's text.
    pub max_text_bytes: usize,
    /// Bytes of a chat message as it is sent.
    pub max_chat_frame_bytes: usize,
    /// Bytes of any other request.
    pub max_frame_bytes: usize,
    /// Bytes of a reply. Below the 4 MiB that gRPC clients take by default.
    pub max_reply_bytes: usize,
    /// `CreateUsers` at once; each may hold a few MiB.
    pub max_bulk_calls: usize,
    /// Elements of one `CreateUsers`.
    pub max_users_per_call: usize,
    /// Elements of one `CreateUsers` with a password, each of which is hashed.
    pub max_passwords_per_call: usize,
    /// Hashes computed at once; each takes 19 MiB and a core.
    pub max_concurrent_hashes: NonZeroUsize,

    /// Messages of one stream on their way to the log; then the stream is not read.
    pub max_inflight_per_stream: usize,
    /// Messages of all streams that wait for the log.
    pub max_queued_messages: usize,
    /// Bytes of these.
    pub max_queued_bytes: usize,
    /// Committed groups that wait for the hub.
    pub max_queued_groups: usize,
    /// Joins that wait for the hub.
    pub max_queued_joins: usize,
    /// Batches that a room keeps for its slowest subscriber. Below 32 a single group of the log can fill it.
    pub max_ring_batches: usize,
    /// Bytes that the rings of all rooms keep; beyond, the oldest batches are given up, and who had not read them has lagged.
    pub max_ring_bytes: usize,
    /// Bytes of a page read from the log.
    pub max_page_bytes: usize,
    /// Bytes of pages that are kept for those who resume or lag.
    pub max_history_bytes: usize,
    /// Connections that read the data file.
    pub max_readers: NonZeroUsize,

    /// Seconds for a new connection to show that it speaks HTTP, and for HTTP/1 headers.
    pub first_bytes_seconds: u64,
    /// Seconds of silence after which a client is asked whether it is there.
    pub keepalive_interval_seconds: u64,
    /// Seconds for its answer.
    pub keepalive_timeout_seconds: u64,
    /// Seconds for a client to take what its stream has for it, a batch of up to 64 KiB; then the stream is reset.
    pub slow_reader_seconds: u64,
    /// Streams reset for a client's errors before its connection is closed (CVE-2025-8671).
    pub max_local_error_resets: usize,
    /// Streams that a client reset before they were accepted, before its connection is closed (CVE-2023-44487).
    pub max_pending_accept_resets: usize,
    /// Bytes of a request's headers.
    pub max_header_list_bytes: u32,
    /// Bytes that the sender of one stream may have under way.
    pub stream_window_bytes: u32,
    /// Bytes that the senders of one connection may have under way.
    pub connection_window_bytes: u32,
    /// Bytes of one stream that may wait for the socket.
    pub send_buffer_bytes: usize,
}

/// What one room keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retained {
    /// In place of `retain_seconds`.
    pub seconds: u64,
    /// In place of `retain_messages`.
    pub messages: u64,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 50051)),
            data: "./rialto-data".into(),
            insecure: false,
            log_format: LogFormat::Auto,
            log: "info,rusqlite_migration=warn".into(),
            drain_seconds: 30,

            max_connections: 20_000,
            max_streams: 200_000,
            max_streams_per_connection: 128,
            max_file_bytes: 0,
            max_rooms: 100_000,
            max_open_rooms: 100_000,
            max_rooms_per_stream: 1_000,
            max_memberships: 1_000_000,
            presence_max: 200,
            max_watchers: 1_000,
            max_waiting_changes: 100_000,

            retain_seconds: 0,
            retain_messages: 0,
            retain_rooms: BTreeMap::new(),
            retain_interval_seconds: 10,

            max_text_bytes: 4 * KIB,
            max_chat_frame_bytes: 64 * KIB,
            max_frame_bytes: 256 * KIB,
            max_reply_bytes: 3 * MIB,
            max_bulk_calls: 16,
            max_users_per_call: 10_000,
            max_passwords_per_call: 100,
            max_concurrent_hashes: cores,

            max_inflight_per_stream: 64,
            max_queued_messages: 8_192,
            max_queued_bytes: 4 * MIB,
            max_queued_groups: 8,
            max_queued_joins: 1_024,
            max_ring_batches: 64,
            max_ring_bytes: 256 * MIB,
            max_page_bytes: 256 * KIB,
            max_history_bytes: 16 * MIB,
            max_readers: NonZeroUsize::MIN.saturating_add(3),

            first_bytes_seconds: 10,
            keepalive_interval_seconds: 20,
            keepalive_timeout_seconds: 10,
            slow_reader_seconds: 300,
            max_local_error_resets: 1_024,
            max_pending_accept_resets: 20,
            max_header_list_bytes: 16 * 1024,
            stream_window_bytes: 64 * 1024,
            connection_window_bytes: 8 * 1024 * 1024,
            send_buffer_bytes: 64 * KIB,
        }
    }
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The prefix of the environment's variables.
pub const ENV_PREFIX: &str = "RIALTO_";

/// The file that is read when none is named, if it is there.
pub const DEFAULT_FILE: &str = "rialto.toml";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The named file is not there.
    #[error("the configuration file {0} does not exist")]
    NoFile(PathBuf),
    /// Settings are unknown or have values that they cannot have.
    #[error("the configuration is wrong: {0}")]
    Wrong(Box<figment::Error>),
    /// A setting has a value of the right kind that makes no sense.
    #[error("the configuration is wrong: {name} {reason}")]
    Senseless {
        /// Which setting.
        name: &'static str,
        /// What it must be.
        reason: String,
    },
}

/// A configuration that knows where each of its settings came from.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    figment: Figment,
}

/// Merges defaults, file, environment and flags, the later over the earlier.
pub fn load(file: Option<&Path>, flags: Dict) -> Result<Loaded, Error> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    match file {
        Some(named) if !named.is_file() => return Err(Error::NoFile(named.to_owned())),
        Some(named) => figment = figment.merge(Toml::file_exact(named)),
        None if Path::new(DEFAULT_FILE).is_file() => figment = figment.merge(Toml::file_exact(DEFAULT_FILE)),
        None => {}
    }
    // Other programs may have variables behind our prefix, so those that are no settings are left alone.
    let known = names();
    let environment = Env::prefixed(ENV_PREFIX).filter(move |name| known.iter().any(|known| name == known.as_str()));
    let figment = figment.merge(environment).merge(Flags(flags));
    let config: Config = figment.extract().map_err(|error| Error::Wrong(Box::new(error)))?;
    config.check()?;
    Ok(Loaded { config, figment })
}

/// What was given on the command line.
struct Flags(Dict);

impl Provider for Flags {
    fn metadata(&self) -> Metadata {
        Metadata::named("flags")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.0.clone()))
    }
}

/// The names of all settings.
fn names() -> Vec<String> {
    Config::default().to_table().keys().cloned().collect()
}

impl Config {
    fn to_table(&self) -> toml::Table {
        toml::Table::try_from(self).unwrap_or_default()
    }

    fn check(&self) -> Result<(), Error> {
        let ranges = [
            ("max_bulk_calls", self.max_bulk_calls as u64, 1 << 20),
            ("max_inflight_per_stream", self.max_inflight_per_stream as u64, 1 << 20),
            ("max_queued_messages", self.max_queued_messages as u64, 1 << 24),
            ("max_queued_bytes", self.max_queued_bytes as u64, 1 << 31),
            ("max_queued_groups", self.max_queued_groups as u64, 1 << 20),
            ("max_queued_joins", self.max_queued_joins as u64, 1 << 24),
            ("max_ring_batches", self.max_ring_batches as u64, 1 << 16),
            ("max_ring_bytes", self.max_ring_bytes as u64, 1 << 40),
            ("max_watchers", self.max_watchers as u64, 1 << 20),
            ("max_waiting_changes", self.max_waiting_changes as u64, 1 << 24),
            ("slow_reader_seconds", self.slow_reader_seconds, 1 << 20),
            ("max_memberships", self.max_memberships as u64, 1 << 30),
            ("max_text_bytes", self.max_text_bytes as u64, 1 << 30),
            ("max_streams_per_connection", self.max_streams_per_connection.into(), u32::MAX.into()),
            ("retain_interval_seconds", self.retain_interval_seconds, 1 << 20),
            ("first_bytes_seconds", self.first_bytes_seconds, 1 << 20),
            ("keepalive_interval_seconds", self.keepalive_interval_seconds, 1 << 20),
            ("keepalive_timeout_seconds", self.keepalive_timeout_seconds, 1 << 20),
            // HTTP/2's own limit of a window (RFC 9113, section 6.9.1).
            ("stream_window_bytes", self.stream_window_bytes.into(), (1 << 31) - 1),
            ("connection_window_bytes", self.connection_window_bytes.into(), (1 << 31) - 1),
            ("send_buffer_bytes", self.send_buffer_bytes as u64, u32::MAX.into()),
        ];
        for (name, value, most) in ranges {
            if !(1..=most).contains(&value) {
                return Err(Error::Senseless { name, reason: format!("must be at least 1 and at most {most}") });
            }
        }
        if self.max_chat_frame_bytes < self.max_text_bytes {
            return Err(Error::Senseless {
                name: "max_chat_frame_bytes",
                reason: "must be at least max_text_bytes".into(),
            });
        }
        if !self.listen.ip().is_loopback() && !self.insecure {
            return Err(Error::Senseless {
                name: "listen",
                reason: "is not a loopback address, and nobody has to say who he is: give --insecure if that is meant"
                    .into(),
            });
        }
        Ok(())
    }
}

impl Loaded {
    /// Every setting as a line of the configuration file, with its source behind it.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut lines = String::new();
        for (name, value) in self.config.to_table() {
            let source = self.figment.find_metadata(&name).map_or("default", |metadata| match metadata.name.as_ref() {
                "flags" => "flag",
                name if name.contains("environment") => "environment",
                name if name.contains("TOML") => "file",
                _ => "default",
            });
            lines.push_str(&format!("{name} = {value}  # {source}\n"));
        }
        lines
    }
}

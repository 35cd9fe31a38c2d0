//! The settings: what they are called, what they mean, and what they are if nobody says otherwise.

mod check;
mod load;

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroUsize, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use load::{DEFAULT_FILE, ENV_PREFIX, Loaded, load};

/// Every setting. The names are those of the file; in the environment they are upper case, behind `RIALTO_`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Port 0: any free port.
    pub listen: SocketAddr,
    /// The folder of the data file; `:memory:` is a private folder that is removed at the end.
    pub data: PathBuf,
    /// Serve others than this machine although nobody has to say who he is, or although tokens and passwords would be sent in the clear
    /// (which is right only behind a proxy that does TLS).
    pub insecure: bool,
    /// `text`, `json`, or `auto`: text on a terminal.
    pub log_format: LogFormat,
    /// What to log: a level, or directives of `tracing_subscriber::EnvFilter`.
    pub log: String,
    /// Seconds from the signal to the end of the process, whatever the clients do.
    pub drain_seconds: u64,

    /// The certificate of the server and those that lead to its root, for TLS: a PEM file. It is read again on SIGHUP, and when it changes.
    /// Empty: no TLS.
    pub tls_cert: PathBuf,
    /// The private key of the certificate: a PEM file.
    pub tls_key: PathBuf,
    /// Take only clients with a certificate of one of these authorities: a PEM file. The common name of a client's certificate says who it
    /// is, which must be who its token says it is. Empty: clients need no certificate.
    pub tls_client_ca: PathBuf,
    /// Seconds between two looks whether these files have changed.
    pub tls_reload_seconds: u64,

    /// `open`: nobody has to say who he is, and everybody may do everything. `token`: every call needs a token, and has the rights of its
    /// roles.
    pub auth: AuthMode,
    /// Whom tokens are for: what must be in their `aud`.
    pub audience: String,
    /// What this server's own tokens have in their `iss`.
    pub issuer: String,
    /// Other issuers whose tokens are taken, by the keys that they publish or by a shared secret (HS256) in a file. Their claim `roles` counts.
    /// `issuers = [{ issuer = "https://id.example", jwks_url = "https://id.example/jwks.json" }, { issuer = "old", hs256_secret_file = "old.key" }]`
    pub issuers: Vec<Issuer>,
    /// Seconds between two looks at the keys of an issuer, at least, whatever tokens come.
    pub jwks_interval_seconds: u64,
    /// Seconds for which an access token of this server is good.
    pub access_token_seconds: u64,
    /// Seconds for which a refresh token of this server is good, if it is not used before.
    pub refresh_token_seconds: u64,
    /// Sessions of one user; a login above ends the oldest.
    pub max_sessions_per_user: usize,
    /// In token mode, let anybody create a user for himself.
    pub open_registration: bool,
    /// In token mode, seconds for a call that shows no token, such as a login.
    pub without_token_seconds: u64,

    /// In token mode, calls that one caller may make a second, over time. This and the next: 0 is without limit.
    pub max_calls_per_second_per_caller: u32,
    /// In token mode, calls that may come from one address a second, over time. IPv6 addresses of one /64 are one.
    pub max_calls_per_second_per_address: u32,
    /// In token mode, messages that one caller may send a second, over time, on all streams and by `Publish`.
    pub max_messages_per_second_per_caller: u32,
    /// In token mode, messages that may come from one address a second, over time.
    pub max_messages_per_second_per_address: u32,
    /// Seconds of these rates that may come at once.
    pub rate_burst_seconds: u32,
    /// Logins that may be tried a minute for one username, from wherever.
    pub max_logins_per_minute_per_user: u32,
    /// Of these, from one address.
    pub max_logins_per_minute_per_user_and_address: u32,
    /// Logins that may be tried a minute from one address.
    pub max_logins_per_minute_per_address: u32,
    /// In token mode with `open_registration`, users that may be registered from one address per hour; half of them may come at once. IPv6
    /// addresses of one /64 are one. Admins are not limited. 0 is without limit.
    pub max_registrations_per_hour_per_address: u32,
    /// Counters of each of these rates, 8 bytes each. Callers or addresses that happen to fall on the same one share it.
    pub rate_counters: usize,

    /// Connections at once; what comes above is closed.
    pub max_connections: usize,
    /// Connections at once from one address. IPv6 addresses of one /64 are one.
    pub max_connections_per_address: usize,
    /// Limit connections from loopback addresses as those from any other.
    pub limit_loopback: bool,
    /// Streams at once, of every method and all connections.
    pub max_streams: usize,
    /// Streams that go on (Chat, Subscribe, watches) at once of one caller that is known.
    pub max_streams_per_caller: usize,
    /// Streams at once on one connection.
    pub max_streams_per_connection: u32,
    /// Bytes of the data file; beyond, writes are refused as on a full disk. 0: as the disk allows.
    pub max_file_bytes: u64,
    /// Rooms that may exist.
    pub max_rooms: usize,
    /// In token mode, rooms that one user may have brought into being by a first message.
    pub max_rooms_per_user: usize,
    /// Rooms that somebody is in; each takes about 3 KiB, and 2 KiB more if somebody asked who is there.
    pub max_open_rooms: usize,
    /// Rooms that one stream may be in.
    pub max_rooms_per_stream: usize,
    /// Places in one room.
    pub max_members_per_room: usize,
    /// In token mode, places in rooms of one caller.
    pub max_memberships_per_caller: usize,
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
    /// Bytes of messages of more than 8 KiB that have come only in part, of all streams; beyond, such a message is refused.
    pub max_unfinished_bytes: usize,
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
    /// Passwords that may wait for that, beside those of `CreateUsers`.
    pub max_queued_hashes: usize,
    /// Passwords of logins that are checked at once, beside these.
    pub max_concurrent_logins: NonZeroUsize,
    /// Logins that may wait for that.
    pub max_queued_logins: usize,

    /// Messages of one stream on their way to the log; at this limit the stream is not read.
    pub max_inflight_per_stream: usize,
    /// Bytes of these messages; at this limit the stream is not read either. A single message may be larger.
    pub max_inflight_bytes_per_stream: usize,
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

    /// Seconds for the TLS handshake of a new connection.
    pub tls_handshake_seconds: u64,
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

/// Whether callers have to say who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// They need not.
    Open,
    /// By a token, on every call.
    Token,
}

/// Somebody else whose tokens are taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Issuer {
    /// What its tokens have in their `iss`.
    pub issuer: String,
    /// What its tokens must have in their `aud`; empty: as the setting `audience`.
    pub audience: String,
    /// Where it publishes its keys, a JWK Set (RFC 7517). `https`, or `http` on a loopback address.
    pub jwks_url: String,
    /// Instead: the file of a secret of 32 bytes or more, which signs by HS256.
    pub hs256_secret_file: PathBuf,
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
            // What a peer can make a library say, it could fill the log with.
            log: "info,h2=error,rustls=error,rusqlite_migration=warn".into(),
            drain_seconds: 30,

            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            tls_client_ca: PathBuf::new(),
            tls_reload_seconds: 10,

            auth: AuthMode::Open,
            audience: "rialto".into(),
            issuer: "rialto".into(),
            issuers: Vec::new(),
            jwks_interval_seconds: 30,
            access_token_seconds: 15 * MINUTE,
            refresh_token_seconds: 30 * 24 * 60 * MINUTE,
            max_sessions_per_user: 32,
            open_registration: false,
            without_token_seconds: 30,

            max_calls_per_second_per_caller: 100,
            max_calls_per_second_per_address: 1_000,
            max_messages_per_second_per_caller: 100,
            max_messages_per_second_per_address: 1_000,
            rate_burst_seconds: 10,
            max_logins_per_minute_per_user: 60,
            max_logins_per_minute_per_user_and_address: 10,
            max_logins_per_minute_per_address: 60,
            max_registrations_per_hour_per_address: 10,
            rate_counters: 65_536,

            max_connections: 20_000,
            max_connections_per_address: 256,
            limit_loopback: false,
            max_streams: 200_000,
            max_streams_per_caller: 256,
            max_streams_per_connection: 128,
            max_file_bytes: 0,
            max_rooms: 100_000,
            max_rooms_per_user: 1_000,
            max_open_rooms: 100_000,
            max_rooms_per_stream: 1_000,
            max_members_per_room: 100_000,
            max_memberships_per_caller: 2_000,
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
            max_unfinished_bytes: 64 * MIB,
            max_reply_bytes: 3 * MIB,
            max_bulk_calls: 16,
            max_users_per_call: 10_000,
            max_passwords_per_call: 100,
            max_concurrent_hashes: cores,
            max_queued_hashes: 256,
            max_concurrent_logins: cores,
            max_queued_logins: 256,

            max_inflight_per_stream: 512,
            max_inflight_bytes_per_stream: 256 * KIB,
            max_queued_messages: 8_192,
            max_queued_bytes: 4 * MIB,
            max_queued_groups: 8,
            max_queued_joins: 1_024,
            max_ring_batches: 64,
            max_ring_bytes: 256 * MIB,
            max_page_bytes: 256 * KIB,
            max_history_bytes: 16 * MIB,
            max_readers: NonZeroUsize::MIN.saturating_add(3),

            tls_handshake_seconds: 5,
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

const MINUTE: u64 = 60;
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

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

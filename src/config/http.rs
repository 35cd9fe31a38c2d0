//! The section `[http]`.

use super::section::{KIB, MAX_COUNT, MAX_SECONDS, section};

/// HTTP/2 allows no larger flow-control window (RFC 9113, section 6.9.1).
const MAX_WINDOW: u64 = (1 << 31) - 1;

section! {
    /// Connections, and HTTP/2 on each of them.
    pub struct Http in "http" {
        /// Connections open at once; the server closes new ones above this number. Each takes a file descriptor and about 24 KiB: raise it
        /// together with the open-file limit of the process.
        pub max_connections: usize = 20_000, 1..=MAX_COUNT;
        /// Connections open at once from one address. Addresses of one IPv6 /64 network count as one. Raise it behind a proxy, where all
        /// clients share the proxy's address.
        pub max_connections_per_address: usize = 256, 1..=MAX_COUNT;
        /// Whether `max_connections_per_address` also applies to loopback addresses.
        pub limit_loopback: bool = false;
        /// Time in seconds that a new connection has to send its HTTP/2 preface, or complete HTTP/1 headers. It bounds how long idle
        /// sockets can hold connection slots.
        pub first_bytes_seconds: u64 = 10, 1..=MAX_SECONDS;
        /// Time in seconds without traffic from a client after which the server sends it a PING. Shorter intervals find dead
        /// connections sooner and cost idle clients more traffic.
        pub keepalive_interval_seconds: u64 = 20, 1..=MAX_SECONDS;
        /// Time in seconds that a client has to answer that PING; then its connection is closed.
        pub keepalive_timeout_seconds: u64 = 10, 1..=MAX_SECONDS;
        /// Requests and streams open at once on one connection (SETTINGS_MAX_CONCURRENT_STREAMS). Clients wait when they reach it.
        pub max_streams_per_connection: u32 = 128, 1..=u32::MAX as u64;
        /// Flow-control window in bytes of what a client sends on one stream. Larger windows speed up uploads over long distances; each
        /// stream may hold this much memory.
        pub stream_window_bytes: u32 = 64 * 1024, 1..=MAX_WINDOW;
        /// Flow-control window in bytes of what a client sends on all streams of one connection. HTTP/2 closes a connection whose
        /// unread small frames exceed half of it.
        pub connection_window_bytes: u32 = 8 * 1024 * 1024, 1..=MAX_WINDOW;
        /// Bytes of one stream that may be buffered for the socket.
        pub send_buffer_bytes: usize = 64 * KIB, 1..=u32::MAX as u64;
        /// Size in bytes of a request's headers (SETTINGS_MAX_HEADER_LIST_SIZE).
        pub max_header_list_bytes: u32 = 16 * 1024, 1..=u32::MAX as u64;
        /// Streams that a client may reset before the server has accepted them; above, its connection is closed (CVE-2023-44487).
        pub max_pending_accept_resets: usize = 20, 0..=MAX_COUNT;
        /// Streams that the server may reset for errors of a client before it closes the connection (CVE-2025-8671).
        pub max_local_error_resets: usize = 1_024, 0..=MAX_COUNT;
    }
}

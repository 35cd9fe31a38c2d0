//! The limits and deadlines of connections.

use std::time::Duration;

/// Limits and deadlines of connections.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Maximum number of open connections.
    pub connections: usize,
    /// Maximum number of open connections from one address.
    pub connections_per_address: usize,
    /// Whether `connections_per_address` also applies to loopback addresses.
    pub limit_loopback: bool,
    /// Deadline of the TLS handshake.
    pub tls_handshake: Duration,
    /// How long a client may take to send the first bytes of HTTP.
    pub first_bytes: Duration,
    /// Maximum number of concurrent streams of one connection.
    pub concurrent_streams: u32,
    /// Maximum number of streams that the server has reset because of an error of the peer, before it closes the connection (CVE-2025-8671).
    pub local_error_resets: usize,
    /// Maximum number of streams that the peer has reset before they were accepted, before the server closes the connection (CVE-2023-44487).
    pub pending_accept_resets: usize,
    /// Maximum size of a request's headers, in bytes.
    pub header_list_bytes: u32,
    /// Flow-control window of a stream, in bytes.
    pub stream_window: u32,
    /// Flow-control window of a connection, in bytes. h2 closes a connection whose unread small frames exceed half of it.
    pub connection_window: u32,
    /// Maximum number of bytes that a stream may buffer for the socket.
    pub send_buffer: usize,
    /// Idle time after which the server sends a PING.
    pub keepalive_interval: Duration,
    /// How long the peer may take to answer a PING, before the server closes the connection.
    pub keepalive_timeout: Duration,
}

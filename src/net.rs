//! The transport: the accept loop, connections with their limits and deadlines, TLS, and the tasks of HTTP/2 streams.
//!
//! Rialto has an accept loop of its own, because tonic's transport removes hyper's limits on concurrent streams and local resets, waits
//! without limit at shutdown for a peer that sends nothing, and spins when file descriptors run out.

mod accept;
mod coalesce;
mod connection;
mod connection_limit;
mod connections;
mod observed;
mod socket;
mod tls;

pub(crate) use accept::{Tasks, serve};
pub(crate) use tls::Tls;
pub use tls::{TlsError, TlsFiles};

/// Why a connection or a response failed, as hyper wants it: only ever logged.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[cfg(test)]
mod tests;

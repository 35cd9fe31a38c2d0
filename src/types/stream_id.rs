//! The identity of a stream.

/// Names a stream uniquely across all nodes of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId {
    /// The server process, by a number that it draws at random when it starts.
    pub node: u64,
    /// The stream within that process. Never reused.
    pub number: u64,
}

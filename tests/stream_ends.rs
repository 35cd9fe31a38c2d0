//! Streams end in every way that a client can go away, and leave nothing behind.

//! The users, over the wire.

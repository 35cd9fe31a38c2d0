//! The table of methods: what the server has to know about each, in one place.
//!
//! Access rules, routing, what ends with its token, compression of replies, and the health services are derived from it. [`check`] compares it
//! with the descriptors when the server starts, and a test does: a method without a row does not start.

mod check;
mod own_bodies;
mod table;

pub use check::MethodsError;
pub(crate) use check::check;
pub(crate) use own_bodies::{CHAT, SUBSCRIBE};
pub use table::{METHODS, Method, Streaming};
pub(crate) use table::{access, find, health_services};

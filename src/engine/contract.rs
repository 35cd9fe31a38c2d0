//! A complete engine, and how it ends.

use async_trait::async_trait;

use super::{log::Log, sessions::Sessions, signals::Signals, users::Users};

/// A complete engine: everything that survives a crash, and the signals that do not.
///
/// # Failure
///
/// An engine that can no longer guarantee durability fails every write with [`Error::Stopped`](super::Error::Stopped) until it is
/// reopened; it never retries a failed commit and then acknowledges it. Reads continue.
#[async_trait]
pub trait Engine: Log + Users + Sessions + Signals {
    /// Resolves when the engine can no longer write, for any reason; immediately if it already cannot.
    async fn stopped(&self);

    /// Resolves when all threads and tasks of the engine have ended: with the name of the one that panicked, or with `None` after
    /// [`close`](Self::close).
    async fn ended(&self) -> Option<&'static str>;

    /// Stops accepting drafts: later ones fail with [`Error::Sealed`](super::Error::Sealed). Drafts accepted before are committed and
    /// emitted, then the rooms' feed ends. Users and sessions can still be written. Resolves when every accepted draft is committed.
    async fn seal(&self);

    /// Closes the engine: commits what was accepted, then closes its files. Later calls fail with
    /// [`Error::Stopped`](super::Error::Stopped). Closing twice is harmless.
    async fn close(&self);
}

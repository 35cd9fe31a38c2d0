//! Why an operation on a room failed.

use super::rights::{Denied, UserMismatch};
use crate::{engine, hub};

/// Why an operation on a room failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller lacks the right to it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The caller named another user than itself.
    #[error(transparent)]
    UserMismatch(#[from] UserMismatch),
    /// The hub refused it.
    #[error(transparent)]
    Hub(#[from] hub::Error),
    /// The log refused it, or failed.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

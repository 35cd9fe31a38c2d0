//! The users: a read model in memory that follows the engine's feed, and the calls that change users.
//!
//! Invariants:
//! - Only the task that follows the feed changes the model, so the model never has what is not durable.
//! - A call that changes users returns after the model has applied the change, so that a later call sees it.

mod batch_create;
mod error;
mod fields;
mod handle;
mod model;
mod password;
mod start;
mod watch;
mod watched_model;

pub use batch_create::BatchCreate;
pub use error::{Error, HashingFailed};
pub use fields::{InvalidField, NewUser, UserUpdate, login_key, parse_id, roles as check_roles};
pub use handle::Users;
pub use start::start;
pub use watch::{UserWatch, WatchError};

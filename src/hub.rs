//! Delivers each room's messages to all of its subscribers, in order; a slow subscriber delays no other.
//!
//! One [actor] owns all rooms. A [`Handle`] sends it commands; a [`Subscription`] is what one stream receives.

mod actor;
mod budget;
mod command;
mod directory;
mod error;
mod handle;
mod history;
mod join;
mod message;
#[cfg(test)]
mod model;
mod presence;
mod room;
mod settings;
mod spawned;
mod subscription;

pub use command::Counts;
pub use directory::Changes;
pub use error::Error;
pub use handle::{Handle, start};
pub use join::{JoinOptions, JoinStart, JoinedRoom};
pub use message::message;
pub use settings::Settings;
pub use spawned::spawned;
pub use subscription::{Removed, Subscription, SubscriptionError};

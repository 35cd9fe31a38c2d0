//! The server: composes the parts, supervises them, and shuts them down.

mod error;
mod handle;
mod health;
mod listening;
mod routes;
mod settings;
mod shutdown;
mod start;
mod supervisor;

pub use error::Error;
pub use handle::{Counts, Server};
pub use start::start;
pub use supervisor::ActorFailure;

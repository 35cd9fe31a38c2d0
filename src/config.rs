//! The configuration: sections, each of which declares its settings once, with their documentation, defaults and ranges.
//!
//! A file, the environment and the command line are merged by [`load`]. [`Config::check`] compares settings with their ranges and with each
//! other.

mod check;
mod error;
mod load;
mod names;
mod render;
mod section;
mod settings;

mod auth;
mod http;
mod limits;
mod logging;
mod rates;
mod retention;
mod rooms;
mod storage;
mod tls;
mod users;

#[cfg(test)]
mod tests;

pub use auth::{Auth, AuthMode, Issuer};
pub use error::{Error, Problem, Source};
pub use http::Http;
pub use limits::Limits;
pub use load::{Assignment, DEFAULT_FILE, Loaded, load};
pub use logging::{LogFormat, Logging};
pub use names::ENV_PREFIX;
pub use rates::Rates;
pub use render::example;
pub use retention::{Retained, Retention};
pub use rooms::Rooms;
pub use section::{Limit, Setting};
pub use settings::{Config, settings};
pub use storage::Storage;
pub use tls::Tls;
pub use users::Users;

//! The one way to the rooms: join, publish, type, read history, and list. Every operation checks the caller's [rights](rights).

mod error;
mod handle;
mod history;
mod list;
mod publish;
mod rights;

pub use error::Error;
pub use handle::Rooms;
pub use history::{HistoryPage, HistoryRange};
pub use list::{RoomSummary, RoomsPage};
pub use publish::{Published, Submission};
pub use rights::{Denied, UserMismatch, speaks_as};

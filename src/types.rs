//! Values that all modules share: room names and times.

mod room_name;
mod time;

pub use room_name::{BadRoomName, RoomName};
pub use time::Time;

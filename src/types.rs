//! Values that all modules share: room names, stream ids and times.

mod room_name;
mod stream_id;
mod time;

pub use room_name::{BadRoomName, RoomName};
pub use stream_id::StreamId;
pub use time::Time;

//! Errors of the engine and of values that it stores.

use tonic::Code;

use super::Failure;
use crate::{changes::Lagged, engine::Error, types::BadRoomName};

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::TooManyRooms { .. } => Self::exhausted("TOO_MANY_ROOMS", detail).retry_after(60),
            Error::TooManyRoomsOfUser { .. } => Self::exhausted("TOO_MANY_ROOMS_PER_USER", detail).retry_after(60),
            // Waiting does not help: only an administrator can delete users or raise the limit.
            Error::TooManyUsers { .. } => Self::exhausted("TOO_MANY_USERS", detail),
            Error::DiskFull => Self::exhausted("DISK_FULL", detail).retry_after(30),
            Error::Sealed => Self::draining(),
            Error::Stopped => Self::new(Code::Unavailable, "LOG_STOPPED", detail).retry_after(30),
            Error::Unavailable(_) => Self::new(Code::Unavailable, "LOG_UNAVAILABLE", detail).retry_after(1),
            Error::Damaged(_) => Self::new(Code::DataLoss, "LOG_DAMAGED", detail),
        }
    }
}

impl From<BadRoomName> for Failure {
    fn from(error: BadRoomName) -> Self {
        Self::invalid("room", "INVALID_ROOM", error.to_string())
    }
}

impl From<Lagged> for Failure {
    fn from(_: Lagged) -> Self {
        let detail = "more changes are pending than the server keeps for a watcher; list anew, and read faster";
        Self::exhausted("SLOW_WATCHER", detail).retry_after(1)
    }
}

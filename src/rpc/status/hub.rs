//! Errors of the hub.

use tonic::Code;

use super::Failure;
use crate::hub::Error;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::AlreadyJoined(_) => Self::new(Code::AlreadyExists, "ALREADY_IN_ROOM", detail),
            Error::TooManyRooms { .. } => Self::exhausted("TOO_MANY_ROOMS_PER_STREAM", detail).retry_after(1),
            Error::TooManyOpenRooms { .. } => Self::exhausted("TOO_MANY_OPEN_ROOMS", detail).retry_after(10),
            Error::RoomFull { .. } => Self::exhausted("ROOM_FULL", detail).retry_after(10),
            Error::TooManyMembershipsOfCaller { .. } => {
                Self::exhausted("TOO_MANY_MEMBERSHIPS_PER_CALLER", detail).retry_after(10)
            }
            Error::TooManyMemberships { .. } => Self::exhausted("TOO_MANY_MEMBERSHIPS", detail).retry_after(10),
            Error::TooManyWatchers { .. } => Self::exhausted("TOO_MANY_WATCHERS", detail).retry_after(10),
            Error::Stopped => Self::new(Code::Unavailable, "HUB_STOPPED", detail).retry_after(30),
            Error::Engine(error) => error.into(),
        }
    }
}

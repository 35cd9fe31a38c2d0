//! Reasons for which the server ends a request.

use super::{Failure, RequestError};
use crate::{auth, lifecycle::EndReason};

impl From<EndReason> for Failure {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::SlowReader => {
                let detail = "the client has not read from the stream for too long; resume after its last seq";
                Self::exhausted("SLOW_READER", detail).retry_after(1)
            }
            EndReason::DeadlineExceeded => RequestError::DeadlineExceeded.into(),
            EndReason::TokenExpired => auth::Error::TokenExpired.into(),
            EndReason::UserDeleted => auth::Error::UserDeleted.into(),
            EndReason::RightsLost => auth::Error::RoleRevoked.into(),
        }
    }
}

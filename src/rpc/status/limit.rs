//! Rate limits.

use super::Failure;
use crate::limit::Limited;

impl From<Limited> for Failure {
    fn from(limited: Limited) -> Self {
        Self { retry_after: Some(limited.after), ..Self::exhausted("RATE_LIMITED", limited.to_string()) }
    }
}

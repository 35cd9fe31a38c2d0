//! What a command ends with.

use std::error::Error;

/// The outcome of a command; its error is printed, and the process ends with a failure.
pub(super) type Outcome = Result<(), Box<dyn Error>>;

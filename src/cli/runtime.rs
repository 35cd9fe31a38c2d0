//! The runtime of a command.

use tokio::runtime::{Builder, Runtime};

/// Builds a runtime with one worker per core.
pub(super) fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

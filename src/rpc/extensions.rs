//! What the layers leave in a request's extensions.

use http::Extensions;

use crate::{caller::Caller, lifecycle::RequestHandle};

/// The caller of a request, as the layers have found out. Without layers, an anonymous one.
pub(super) fn caller(extensions: &Extensions) -> Caller {
    extensions.get().cloned().unwrap_or_default()
}

/// The handle of a request. Without `net`, one of its own.
pub(super) fn handle(extensions: &Extensions) -> RequestHandle {
    extensions.get().cloned().unwrap_or_default()
}

//! The layers that limit calls by address and by caller.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use super::{Limited, RateLimits};
use crate::caller::{Caller, Peer};

/// State of both layers.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The rate limits.
    pub limits: RateLimits,
    /// Renders a refusal.
    pub refuse: fn(Limited) -> Response,
}

/// Layer function that limits calls by their address. It comes before authentication, so that invalid tokens count too.
pub async fn by_address(State(layer): State<Layer>, request: Request, next: Next) -> Response {
    let unknown = Peer::default();
    match layer.limits.call_from(request.extensions().get().unwrap_or(&unknown)) {
        Ok(()) => next.run(request).await,
        Err(limited) => (layer.refuse)(limited),
    }
}

/// Layer function that limits calls by their caller. It comes after authentication.
pub async fn by_caller(State(layer): State<Layer>, request: Request, next: Next) -> Response {
    let anonymous = Caller::default();
    match layer.limits.call_by(request.extensions().get().unwrap_or(&anonymous)) {
        Ok(()) => next.run(request).await,
        Err(limited) => (layer.refuse)(limited),
    }
}

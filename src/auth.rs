//! Authentication and authorization: tokens, the rules for every method, and login sessions.
//!
//! Invariants:
//! - A handler never sees a token. The layer removes it from the request and inserts a [`Caller`](crate::caller::Caller). Only the fresh
//!   tokens that a Chat stream receives pass through a handler, to [`Auth::renew`].
//! - The issuer of a token and the configuration decide which keys verify it. Nothing in the token's header does.

mod error;
mod handle;
mod issuer;
mod jwks;
mod layer;
mod rules;
mod sessions;
mod settings;
mod signing_key;
mod start;
mod token;
mod verification_key;

pub use error::Error;
pub use handle::Auth;
pub use issuer::{Issuer, IssuerError, KeySource};
pub use layer::{Layer, identify};
pub use rules::{Who, may_change, may_set_roles};
pub use sessions::{Sessions, TokenPair};
pub use settings::Settings;
pub use signing_key::{KeyError, SigningKey};
pub use start::{StartError, Started, start};
pub use token::{OperatorToken, sign_operator_token};

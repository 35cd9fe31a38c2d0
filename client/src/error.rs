//! Errors of opening a connection.

use std::error::Error as StdError;

/// An error of a [`Connector`](crate::Connector).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hub's address does not parse.
    #[error("{0:?} is not a URL: write one such as http://127.0.0.1:50051")]
    Url(String),
    /// The token has characters that a header cannot carry.
    #[error("the token has characters that a header cannot carry")]
    TokenNotSendable,
    /// The token would cross a network without encryption.
    #[error("the token would be sent to {0} in the clear: use https")]
    TokenInTheClear(String),
    /// The certificates or the key cannot be used.
    #[error("TLS cannot be set up{}", causes(.0))]
    Tls(#[source] tonic::transport::Error),
    /// The connection failed.
    #[error("no hub answers at {server}{}", causes(.cause))]
    Unreachable {
        /// The URL that was tried.
        server: String,
        /// What failed.
        #[source]
        cause: tonic::transport::Error,
    },
}

/// The causes of an error, outermost first, each after a colon.
fn causes(error: &dyn StdError) -> String {
    let mut causes = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    causes
}

//! Why a server does not start.

use std::{io, net::SocketAddr};

use crate::{auth, config, engine, engine::embedded, net, rpc};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is out of range, or contradicts another.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The server cannot listen on the address.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The system's error.
        cause: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] net::TlsError),
    /// The temporary folder for `:memory:` cannot be created.
    #[error("cannot create a temporary data folder: {0}")]
    Temporary(io::Error),
    /// The data folder cannot be opened.
    #[error(transparent)]
    Open(#[from] embedded::OpenError),
    /// The users cannot be loaded from the data folder.
    #[error("cannot load the users: {0}")]
    Load(#[from] engine::Error),
    /// Authentication cannot be set up.
    #[error(transparent)]
    Auth(#[from] auth::StartError),
    /// The table of methods does not match the descriptors.
    #[error(transparent)]
    Methods(#[from] rpc::MethodsError),
    /// The descriptors for reflection cannot be parsed.
    #[error("cannot set up reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

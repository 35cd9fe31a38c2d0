//! TLS: the server's certificate, and the verification of clients' certificates.
//!
//! The files may be replaced while the server runs. New connections use the new ones; open connections are not affected.

mod files;
mod name;

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Notify,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{BoxError, socket::Socket};
use files::Digest;
pub use files::{TlsError, TlsFiles};

/// The files, and the configuration that was last read from them. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Tls(Arc<State>);

#[derive(Debug)]
struct State {
    files: TlsFiles,
    current: RwLock<Current>,
    requested: Notify,
}

#[derive(Debug)]
struct Current {
    read: Digest,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let contents = files.read()?;
        let current = Current { read: contents.digest(), config: Arc::new(files.parse(&contents)?) };
        files.warn_of_others();
        let (files, current) = (files.clone(), RwLock::new(current));
        Ok(Self(Arc::new(State { files, current, requested: Notify::new() })))
    }

    /// Makes [`watch`](Self::watch) read the files now.
    pub(crate) fn reload(&self) {
        self.0.requested.notify_one();
    }

    /// Reads the files again at every `every`, until the drain. If they cannot be used, the previous configuration stays and the error is
    /// logged: only once while it stays the same, but always after [`reload`](Self::reload).
    pub(crate) async fn watch(self, every: Duration, drain: CancellationToken) {
        let mut last_error = None;
        loop {
            let requested = tokio::select! {
                () = drain.cancelled() => return,
                () = self.0.requested.notified() => true,
                () = sleep(every) => false,
            };
            let tls = self.clone();
            // Fails only if the runtime is shutting down.
            let Ok(refreshed) = spawn_blocking(move || tls.refresh()).await else { return };
            last_error = match refreshed {
                Ok(changed) => {
                    if changed {
                        tracing::info!("new connections use the new certificate");
                    } else if requested {
                        tracing::info!("the certificate has not changed");
                    }
                    None
                }
                Err(error) => {
                    let error = error.to_string();
                    if requested || last_error.as_ref() != Some(&error) {
                        tracing::warn!(error, "cannot load the new certificate; new connections use the previous one");
                    }
                    Some(error)
                }
            };
        }
    }

    /// Reads the files and uses them if they have changed: all of them, or none. Returns whether they have. A certificate and a key that do not
    /// match, because only one of them has been replaced so far, are an error of this call and not of the next. Blocks on the file system.
    fn refresh(&self) -> Result<bool, TlsError> {
        let State { files, current, .. } = &*self.0;
        let contents = files.read()?;
        let read = contents.digest();
        if current.read().unwrap_or_else(PoisonError::into_inner).read == read {
            return Ok(false);
        }
        let config = Arc::new(files.parse(&contents)?);
        *current.write().unwrap_or_else(PoisonError::into_inner) = Current { read, config };
        files.warn_of_others();
        Ok(true)
    }

    fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    /// Performs the TLS handshake; fails after `within`. Returns the name in the client's certificate, if the client had to present one.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        within: Duration,
    ) -> Result<(Box<TlsStream<TcpStream>>, Option<Arc<str>>), BoxError> {
        let handshake = TlsAcceptor::from(self.config()).accept(stream).into_fallible();
        let stream = match timeout(within, handshake).await {
            Ok(Ok(stream)) => Box::new(stream),
            Ok(Err((error, stream))) => {
                // Lets the client receive the alert that explains the failure.
                close(stream).await;
                return Err(error.into());
            }
            Err(_) => return Err("the TLS handshake did not complete in time".into()),
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        match certificate.map(|certificate| name::of(certificate)).transpose() {
            Ok(name) => Ok((stream, name)),
            Err(bad) => {
                close(stream).await;
                Err(bad.into())
            }
        }
    }
}

/// Closes a connection after a failed handshake.
async fn close(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut socket = Socket::new(stream, Duration::ZERO);
    _ = poll_fn(|cx| Pin::new(&mut socket).poll_shutdown(cx)).await;
}

#[cfg(test)]
mod tests;

//! TLS: the certificate that the server shows, and the clients that it takes by theirs. The files may be replaced while it runs: new
//! connections see what is in them now, running ones are left alone.

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

use super::{Fault, socket::Socket};
use files::Digest;
pub use files::{TlsError, TlsFiles};

/// The files and what was last read from them. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Tls(Arc<State>);

#[derive(Debug)]
struct State {
    files: TlsFiles,
    current: RwLock<Current>,
    asked: Notify,
}

#[derive(Debug)]
struct Current {
    read: Digest,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files for the first time.
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let contents = files.read()?;
        let current = Current { read: contents.digest(), config: Arc::new(files.parse(&contents)?) };
        files.warn_of_others();
        let (files, current) = (files.clone(), RwLock::new(current));
        Ok(Self(Arc::new(State { files, current, asked: Notify::new() })))
    }

    /// Asks [`watch`](Self::watch) to look at the files now.
    pub(crate) fn reload(&self) {
        self.0.asked.notify_one();
    }

    /// Looks at the files again and again, until the drain. Where they cannot be used, what was read before stays, and the log says why:
    /// once, as long as it is the same, unless it was asked.
    pub(crate) async fn watch(self, every: Duration, drain: CancellationToken) {
        let mut complaint = None;
        loop {
            let asked = tokio::select! {
                () = drain.cancelled() => return,
                () = self.0.asked.notified() => true,
                () = sleep(every) => false,
            };
            let tls = self.clone();
            // Fails only if the runtime is going down.
            let Ok(looked) = spawn_blocking(move || tls.look()).await else { return };
            complaint = match looked {
                Ok(changed) => {
                    if changed {
                        tracing::info!("new connections get the new certificate");
                    } else if asked {
                        tracing::info!("the certificate is as it was");
                    }
                    None
                }
                Err(error) => {
                    let error = error.to_string();
                    if asked || complaint.as_ref() != Some(&error) {
                        tracing::warn!(error, "new connections get the certificate of before");
                    }
                    Some(error)
                }
            };
        }
    }

    /// Reads the files, and takes what is in them if it is new: all of them, or none. Two of one pair that do not fit, because one was
    /// replaced and the other not yet, are an error of this look and not of the next.
    fn look(&self) -> Result<bool, TlsError> {
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

    /// Makes a connection a secret one, in so much time: with whom its client's certificate names, if it had to show one.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        within: Duration,
    ) -> Result<(Box<TlsStream<TcpStream>>, Option<Arc<str>>), Fault> {
        let handshake = TlsAcceptor::from(self.config()).accept(stream).into_fallible();
        let stream = match timeout(within, handshake).await {
            Ok(Ok(stream)) => Box::new(stream),
            Ok(Err((error, stream))) => {
                // The alert says why, to a client that gets it.
                close(stream).await;
                return Err(error.into());
            }
            Err(_) => return Err("the TLS handshake took too long".into()),
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

/// Ends a connection that nobody was let in by.
async fn close(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut socket = Socket::new(stream, Duration::ZERO);
    _ = poll_fn(|cx| Pin::new(&mut socket).poll_shutdown(cx)).await;
}

#[cfg(test)]
mod tests;

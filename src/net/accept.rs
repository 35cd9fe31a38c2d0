//! The accept loop.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{either::Either, sync::CancellationToken};
use tower::Service;

use super::{
    BoxError, Tls,
    connection::{Http, Wire},
    connection_limit::{ConnectionLimit, ConnectionPermit},
    connections::{ConnectionHandle, Connections},
    observed::Observe,
};
use crate::{
    caller::Peer,
    config,
    lifecycle::{Requests, TaskGroup},
};

/// What a running accept loop has started, and the ways to end it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    /// The open connections.
    pub(crate) connections: Connections,
    /// The tasks of HTTP/2 streams.
    pub(crate) streams: TaskGroup,
    /// The running requests.
    pub(crate) requests: Requests,
    /// Stops the accept loop when it is cancelled. Connections and requests are drained by themselves.
    pub(crate) drain: CancellationToken,
}

/// Accepts connections until `tasks.drain` is cancelled. Every request has its [`Peer`] and its
/// [`RequestHandle`](crate::lifecycle::RequestHandle) in its extensions.
pub(crate) async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    settings: config::Http,
    tls: Option<Tls>,
    tls_handshake: Duration,
    tasks: Tasks,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let limit =
        ConnectionLimit::new(settings.max_connections, settings.max_connections_per_address, settings.limit_loopback);
    let server = Arc::new(Server {
        http: Http::new(&settings, tasks.streams.clone()),
        service,
        settings,
        tls,
        tls_handshake,
        tasks: tasks.clone(),
    });
    loop {
        let accepted = tokio::select! {
            () = tasks.drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                if let Some(permit) = limit.acquire(address) {
                    Server::spawn(&server, stream, address, permit);
                }
            }
            Err(error) => pause_if_exhausted(&error, &tasks.drain).await,
        }
    }
}

/// What all connections share.
struct Server<S> {
    http: Http,
    service: S,
    settings: config::Http,
    tls: Option<Tls>,
    /// Deadline of the TLS handshake.
    tls_handshake: Duration,
    tasks: Tasks,
}

impl<S, B> Server<S>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Serves a connection in a task of its own.
    fn spawn(server: &Arc<Self>, stream: TcpStream, address: SocketAddr, permit: ConnectionPermit) {
        if let Err(error) = stream.set_nodelay(true) {
            return tracing::debug!(peer = %address, %error, "a connection was lost before it was served");
        }
        let peer = Peer { address: address.ip().to_canonical(), certificate: None };
        if let Some(tls) = server.tls.clone() {
            let server = Arc::clone(server);
            server.tasks.connections.clone().spawn(|connection| {
                until_closed(permit, address, async move { server.run_with_tls(tls, stream, peer, connection).await })
            });
        } else {
            server
                .tasks
                .connections
                .spawn(|connection| until_closed(permit, address, server.run(Either::Left(stream), peer, connection)));
        }
    }

    fn run(
        &self,
        wire: Wire,
        peer: Peer,
        connection: ConnectionHandle,
    ) -> impl Future<Output = Result<(), BoxError>> + Send + use<S, B> {
        let service = Observe::new(self.service.clone(), self.tasks.requests.clone(), peer);
        self.http.run(wire, service, Duration::from_secs(self.settings.first_bytes_seconds), connection)
    }

    /// Performs the handshake in the connection's task, so that a slow client delays no other.
    async fn run_with_tls(
        &self,
        tls: Tls,
        stream: TcpStream,
        mut peer: Peer,
        connection: ConnectionHandle,
    ) -> Result<(), BoxError> {
        // Boxed, because it is large and short.
        let handshake = Box::pin(tls.accept(stream, self.tls_handshake));
        let accepted = self.tasks.drain.run_until_cancelled(handshake).await;
        let (stream, certificate) = accepted.unwrap_or_else(|| Err("the server is shutting down".into()))?;
        peer.certificate = certificate;
        self.run(Either::Right(stream), peer, connection).await
    }
}

/// Holds the permit of a connection until it has ended, and logs how it ended.
#[expect(clippy::manual_async_fn, reason = "an `async fn` would hold its arguments twice, for each connection")]
fn until_closed<C>(permit: ConnectionPermit, peer: SocketAddr, connection: C) -> impl Future<Output = ()> + use<C>
where
    C: Future<Output = Result<(), BoxError>>,
{
    async move {
        match connection.await {
            Ok(()) => tracing::debug!(%peer, "connection ended"),
            Err(error) => tracing::debug!(%peer, %error, "connection failed"),
        }
        drop(permit);
    }
}

/// Pauses unless only one connection failed: if descriptors or memory have run out, accepting again at once would fail again.
async fn pause_if_exhausted(error: &io::Error, drain: &CancellationToken) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return tracing::debug!(%error, "a connection was lost before it was accepted");
    }
    tracing::warn!(%error, "cannot accept connections; trying again in 100 ms. Is the limit of open files too low?");
    drain.run_until_cancelled(tokio::time::sleep(Duration::from_millis(100))).await;
}

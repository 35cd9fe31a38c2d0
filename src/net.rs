//! The accept loop: connections, their limits and deadlines, TLS, and the tasks of their streams.
//!
//! It is ours and not tonic's, whose transport removes hyper's limits on concurrent streams and local resets, waits for ever at shutdown on
//! a peer that sends nothing, and spins when descriptors run out.

mod coalesce;
mod connection_limit;
mod observed;
mod socket;
mod tls;

use std::{
    future::{Future, poll_fn},
    io, mem,
    net::SocketAddr,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, rt::Executor};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_util::{either::Either, sync::CancellationToken};
use tower::{Service, ServiceExt};

use crate::{
    caller::Peer,
    lifecycle::{RequestHandle, Requests},
};
use coalesce::coalesce;
use connection_limit::{ConnectionLimit, ConnectionPermit};
use observed::ObservedBody;
pub(crate) use observed::Tell;
use socket::Socket;
pub(crate) use tls::Tls;
pub use tls::{TlsError, TlsFiles};

/// Limits and deadlines of connections.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address.
    pub connections_per_address: usize,
    /// Limit those from loopback addresses too.
    pub limit_loopback: bool,
    /// How long a client may take for the TLS handshake.
    pub tls_handshake: Duration,
    /// How long a client may take to show that it speaks HTTP.
    pub first_bytes: Duration,
    /// Streams of one connection at once.
    pub concurrent_streams: u32,
    /// Streams that this side reset for an error of the peer, before the connection is closed (CVE-2025-8671).
    pub local_error_resets: usize,
    /// Streams that the peer reset before they were accepted, before the connection is closed (CVE-2023-44487).
    pub pending_accept_resets: usize,
    /// Bytes of a request's headers.
    pub header_list_bytes: u32,
    /// Bytes that a stream's sender may have under way.
    pub stream_window: u32,
    /// Bytes that a connection's senders may have under way. h2 closes a connection whose unread small frames exceed half of it.
    pub connection_window: u32,
    /// Bytes that a stream may leave for the socket.
    pub send_buffer: usize,
    /// Idle time after which the peer is asked whether it is there.
    pub keepalive_interval: Duration,
    /// How long the peer may take to answer that.
    pub keepalive_timeout: Duration,
}

/// Everything that a running accept loop started, and the ways to end it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    /// Connections.
    pub(crate) connections: Requests,
    /// Streams of all connections.
    pub(crate) streams: Requests,
    /// No new connections or streams; what runs may end by itself.
    pub(crate) drain: CancellationToken,
}

/// Accepts until it is told to drain. Every request has its [`Peer`] among its extensions. `tell` says why a stream ends, where something
/// from outside ends it.
pub(crate) async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    tell: Tell,
    settings: Settings,
    tls: Option<Tls>,
    tasks: Tasks,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<Fault>,
    B: http_body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    // When the response is there, the stream's task runs.
    let service = service.map_response(move |response| response.map(|body| ObservedBody::new(body, tell)));
    let http = Arc::new(http(&settings, &tasks));
    let connection_limit =
        ConnectionLimit::new(settings.connections, settings.connections_per_address, settings.limit_loopback);
    loop {
        let accepted = tokio::select! {
            () = tasks.drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_if_exhausted(&error, &tasks.drain).await;
                continue;
            }
        };
        let Some(place) = connection_limit.take(address) else { continue };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(peer = %address, %error, "connection lost before it began");
            continue;
        }
        let mut peer = Peer { address: address.ip().to_canonical(), certificate: None };
        let Some(tls) = tls.clone() else {
            let connection = begin(&http, service.clone(), Either::Left(stream), peer, settings.first_bytes);
            tasks.connections.spawn(run(place, address, connection));
            continue;
        };
        let (http, service, drain) = (Arc::clone(&http), service.clone(), tasks.drain.clone());
        let (first_bytes, handshake) = (settings.first_bytes, settings.tls_handshake);
        // In the connection's task: a client that is slow at it holds up nobody.
        let connection = async move {
            // Boxed, because it is large and soon over.
            let accepted = Box::pin(drain.run_until_cancelled_owned(tls.accept(stream, handshake))).await;
            let (stream, certificate) = accepted.unwrap_or_else(|| Err("the server is shutting down".into()))?;
            peer.certificate = certificate;
            begin(&http, service, Either::Right(stream), peer, first_bytes).await
        };
        tasks.connections.spawn(run(place, address, connection));
    }
}

/// Keeps the place of a connection until its end, and says how it ended.
#[expect(clippy::manual_async_fn, reason = "an `async fn` would hold what it is given twice, for each connection")]
fn run<C>(place: ConnectionPermit, peer: SocketAddr, connection: C) -> impl Future<Output = ()> + use<C>
where
    C: Future<Output = Result<(), Fault>>,
{
    async move {
        match connection.await {
            Ok(()) => tracing::debug!(%peer, "connection ended"),
            Err(error) => tracing::debug!(%peer, %error, "connection failed"),
        }
        drop(place);
    }
}

/// Bytes that an HTTP/1 connection may buffer. No call comes that way.
const HTTP_1_BUFFER: usize = 16 * 1024;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// How a connection's bytes come: as they are, or through TLS, which is large and therefore elsewhere.
type Wire = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// What runs a connection to its end, which a drain brings near.
fn begin<S, B>(
    http: &auto::Builder<StreamExecutor>,
    service: S,
    wire: Wire,
    peer: Peer,
    first_bytes: Duration,
) -> impl Future<Output = Result<(), Fault>> + Send + use<S, B>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Fault>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Fault>,
{
    let service = service.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request
    });
    let (io, turn) = coalesce(Socket::new(wire, first_bytes));
    // Boxed before it goes into the task, which would hold it twice: as what it is given, and as what it runs.
    let mut connection =
        Box::pin(http.serve_connection(TokioIo::new(io), TowerToHyperService::new(service)).into_owned());
    async move {
        // Not a token: every look at one takes a lock that all connections share, and a delivery is a look.
        let handle = RequestHandle::current();
        let mut told = false;
        poll_fn(|cx| {
            handle.register(cx.waker());
            if handle.is_draining() && !mem::replace(&mut told, true) {
                connection.as_mut().graceful_shutdown();
            }
            let ended = connection.as_mut().poll(cx);
            // Also of its last turn, if nobody has shut the socket down: as much of it as the system takes.
            match turn.poll_end(cx) {
                Poll::Ready(Err(error)) if ended.is_pending() => Poll::Ready(Err(error.into())),
                _ => ended,
            }
        })
        .await
    }
}

fn http(settings: &Settings, tasks: &Tasks) -> auto::Builder<StreamExecutor> {
    let mut http = auto::Builder::new(StreamExecutor { streams: tasks.streams.clone() });
    http.http1().timer(TokioTimer::new()).header_read_timeout(settings.first_bytes).max_buf_size(HTTP_1_BUFFER);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.concurrent_streams)
        .max_local_error_reset_streams(settings.local_error_resets)
        .max_pending_accept_reset_streams(settings.pending_accept_resets)
        .max_header_list_size(settings.header_list_bytes)
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .adaptive_window(false)
        .max_send_buf_size(settings.send_buffer)
        .keep_alive_interval(settings.keepalive_interval)
        .keep_alive_timeout(settings.keepalive_timeout);
    http
}

/// Unless it was only the one connection that failed, accepting again at once would fail again: descriptors or memory have run out.
async fn pause_if_exhausted(error: &io::Error, drain: &CancellationToken) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return tracing::debug!(%error, "a connection was lost before it was accepted");
    }
    tracing::warn!(%error, "not accepting connections for a moment: is the limit of open files too low?");
    drain.run_until_cancelled(tokio::time::sleep(Duration::from_millis(100))).await;
}

/// Runs the streams of HTTP/2 connections where they are counted, awaited, and dropped if the drain takes too long.
#[derive(Debug, Clone)]
struct StreamExecutor {
    streams: Requests,
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        self.streams.spawn(stream);
    }
}

#[cfg(test)]
mod tests;

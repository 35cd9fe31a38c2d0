//! The accept loop: connections, their limits and deadlines, and the tasks of their streams.
//!
//! It is ours and not tonic's, whose transport removes hyper's limits on concurrent streams and local resets, waits for ever at shutdown on
//! a peer that sends nothing, and spins when descriptors run out.

mod socket;
mod together;
mod watched;

use std::{
    future::{Future, poll_fn},
    io, mem,
    pin::Pin,
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
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use crate::hub::{Stream, Streams};
use socket::Socket;
use together::{Together, Turn, together};
use watched::Watched;

/// Limits and deadlines of connections.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Connections at once.
    pub connections: usize,
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
    pub(crate) connections: Streams,
    /// Streams of all connections.
    pub(crate) streams: Streams,
    /// No new connections or streams; what runs may end by itself.
    pub(crate) drain: CancellationToken,
}

/// Accepts until it is told to drain.
pub(crate) async fn serve<S, B>(listener: TcpListener, service: S, settings: Settings, tasks: Tasks)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // When the response is there, the stream's task runs.
    let service = service.map_response(|response| response.map(Watched::new));
    let http = Arc::new(http(&settings, &tasks));
    let places = Arc::new(Semaphore::new(settings.connections.min(Semaphore::MAX_PERMITS)));
    // Said once until there is a place again, so that whoever is refused cannot fill the log.
    let mut full = false;
    loop {
        let accepted = tokio::select! {
            () = tasks.drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_if_exhausted(&error, &tasks.drain).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            if !mem::replace(&mut full, true) {
                tracing::warn!(%peer, limit = settings.connections, "refusing connections: there are as many as may be");
            }
            continue;
        };
        full = false;
        let io = match prepare(stream, settings.first_bytes) {
            Ok(io) => io,
            Err(error) => {
                tracing::debug!(%peer, %error, "connection lost before it began");
                continue;
            }
        };
        let (io, turn) = together(io);
        // Boxed before it goes into the task, which would hold it twice: as what it is given, and as what it runs.
        let connection =
            Box::pin(http.serve_connection(TokioIo::new(io), TowerToHyperService::new(service.clone())).into_owned());
        tasks.connections.spawn(async move {
            let _place = place;
            match drive(connection, turn).await {
                Ok(()) => tracing::debug!(%peer, "connection ended"),
                Err(error) => tracing::debug!(%peer, %error, "connection failed"),
            }
        });
    }
}

/// Bytes that an HTTP/1 connection may buffer. No call comes that way.
const HTTP_1_BUFFER: usize = 16 * 1024;

type Io = Socket<TcpStream>;

type Connection<S> = auto::Connection<'static, TokioIo<Together<Io>>, TowerToHyperService<S>, StreamExecutor>;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Runs a connection to its end, which a drain brings near.
async fn drive<S, B>(mut connection: Pin<Box<Connection<S>>>, turn: Turn<Io>) -> Result<(), Fault>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Fault>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Fault>,
{
    // Not a token: every look at one takes a lock that all connections share, and a delivery is a look.
    let handle = Stream::current();
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

fn prepare(stream: TcpStream, first_bytes: Duration) -> io::Result<Socket<TcpStream>> {
    stream.set_nodelay(true)?;
    Ok(Socket::new(stream, first_bytes))
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
    streams: Streams,
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
